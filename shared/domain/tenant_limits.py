"""Limits of tenants: how long jobs are kept and how much may be sent, where that differs from the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TenantLimits:
    """The limits of one tenant. As they are stored, None means that the setting applies."""

    tenant: str
    keep_jobs: float | None = None
    """Seconds for which a finished job is kept."""
    max_queued: int | None = None
    """Pictures that may wait for one model version."""
    pictures_per_minute: int | None = None
    """Pictures in new jobs; None is no limit, as there is no setting."""
    max_bytes: int | None = None
    """Bytes that may be kept in all; None is no limit, as there is no setting."""


@dataclass(frozen=True)
class LimitsInEffect:
    """What applies to a tenant: its own limits, else the settings."""

    keep_jobs: float
    max_queued: int
    pictures_per_minute: int | None
    max_bytes: int | None
