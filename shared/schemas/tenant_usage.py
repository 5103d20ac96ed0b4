"""What tenants use."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.schemas.common import Answer
from shared.schemas.tenant_limits import TenantLimits


class TenantUsage(TenantLimits, kw_only=True):
    """What a tenant uses, beside its limits."""

    keys: Annotated[int, Meta(description="Keys that are neither revoked nor expired.")]
    jobs: Annotated[int, Meta(description="Jobs that are kept.")]
    trainings: Annotated[int, Meta(description="Trainings that are kept.")]
    training_seconds: Annotated[float, Meta(description="The time of these trainings, from start to end or until now.")]
    answered: Annotated[int, Meta(description="Pictures that got an outcome in the last 24 hours.")]
    failed: Annotated[int, Meta(description="Those of them that got an error.")]
    waiting: Annotated[int, Meta(description="Pictures without an outcome yet.")]
    fullest: Annotated[int, Meta(description="The most of them for one model version, which `max_queued` limits.")]


class TenantUsageList(Answer, kw_only=True):
    """The tenants that the caller may see, by name."""

    tenants: list[TenantUsage]
