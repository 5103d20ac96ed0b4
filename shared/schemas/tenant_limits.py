"""Limits of tenants."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.schemas.common import Answer, Request

_LONGEST = 100 * 365 * 24 * 3600


class LimitsRequest(Request, kw_only=True):
    """All limits of a tenant; for one that is left out, the setting applies."""

    keep_jobs: (
        Annotated[float, Meta(description="Seconds for which a finished job is kept.", ge=0, le=_LONGEST)] | None
    ) = None
    max_queued: Annotated[int, Meta(description="Pictures that may wait for one model version.", ge=0)] | None = None
    pictures_per_minute: Annotated[int, Meta(description="Pictures in new jobs.", ge=1)] | None = None


class LimitsInEffect(Answer, kw_only=True):
    """What applies to a tenant: its own limits, else the settings."""

    keep_jobs: Annotated[float, Meta(description="Seconds for which a finished job is kept.")]
    max_queued: Annotated[int, Meta(description="Pictures that may wait for one model version.")]
    pictures_per_minute: Annotated[int | None, Meta(description="Pictures in new jobs; null is no limit.")]


class TenantLimits(Answer, kw_only=True):
    """The limits that are set for a tenant, null where none is, and those in effect."""

    tenant: str
    keep_jobs: float | None
    max_queued: int | None
    pictures_per_minute: int | None
    in_effect: LimitsInEffect


class TenantLimitsList(Answer, kw_only=True):
    """The tenants that have limits of their own."""

    tenants: list[TenantLimits]
