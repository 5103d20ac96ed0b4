"""Limits of tenants."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.schemas.common import Answer, Request

_LONGEST = 100 * 365 * 24 * 3600
_MOST_BYTES = 2**53


class LimitsRequest(Request, kw_only=True):
    """All limits of a tenant; for one that is left out, the setting applies."""

    keep_jobs: (
        Annotated[float, Meta(description="Seconds for which a finished job is kept.", ge=0, le=_LONGEST)] | None
    ) = None
    max_queued: Annotated[int, Meta(description="Pictures that may wait for one model version.", ge=0)] | None = None
    pictures_per_minute: Annotated[int, Meta(description="Pictures in new jobs.", ge=1)] | None = None
    max_bytes: (
        Annotated[int, Meta(description="Bytes of pictures, archives and weights kept in all.", ge=0, le=_MOST_BYTES)]
        | None
    ) = None


class LimitsInEffect(Answer, kw_only=True):
    """What applies to a tenant: its own limits, else the settings."""

    keep_jobs: Annotated[float, Meta(description="Seconds for which a finished job is kept.")]
    max_queued: Annotated[int, Meta(description="Pictures that may wait for one model version.")]
    pictures_per_minute: Annotated[int | None, Meta(description="Pictures in new jobs; null is no limit.")]
    max_bytes: Annotated[int | None, Meta(description="Bytes kept in all; null is no limit.")]


class TenantLimits(Answer, kw_only=True):
    """The limits that are set for a tenant, null where none is, those in effect, and how much it keeps."""

    tenant: str
    keep_jobs: float | None
    max_queued: int | None
    pictures_per_minute: int | None
    max_bytes: int | None
    in_effect: LimitsInEffect
    kept_bytes: Annotated[
        int,
        Meta(description="Bytes that the tenant keeps: pictures of jobs, stored images, datasets, uploads, weights."),
    ]


class TenantLimitsList(Answer, kw_only=True):
    """The tenants that have limits of their own."""

    tenants: list[TenantLimits]
