"""`/v1/tenants` and `/v1/usage`: what tenants may send and keep, for how long, and what they use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response

from api.context import caller, container, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests.common import parse_json
from api.dialects.native.serializers.common import respond
from shared.domain.tenant_limits import TenantLimits
from shared.schemas import tenant_limits as schemas
from shared.schemas.tenant_usage import TenantUsage, TenantUsageList
from shared.services import kept_bytes, tenant_limits, tenant_usage

bp = OperationsBlueprint("native-tenant-limits", __name__)


@bp.get("/v1/tenants")
@scope("keys")
@operation("listTenantLimits", "Tenants", {200: ("The tenants.", schemas.TenantLimitsList)})
def listing() -> Response:
    """List the tenants that have limits of their own.

    The tenant `default` sees all; other tenants, themselves.
    """
    found = tenant_limits.list_limits(container(), caller().tenant)
    return respond(schemas.TenantLimitsList(tenants=[_answer(limits) for limits in found]))


@bp.get("/v1/tenants/<tenant>/limits")
@scope("keys")
@operation("getTenantLimits", "Tenants", {200: ("The limits.", schemas.TenantLimits)})
def show(tenant: str) -> Response:
    """Look at the limits of a tenant.

    Its own, else the settings of the service; and at the bytes that it keeps. 403 for those of another tenant, except
    with a key of `default`.
    """
    return respond(_answer(tenant_limits.get(container(), caller().tenant, tenant)))


@bp.put("/v1/tenants/<tenant>/limits")
@scope("keys")
@operation(
    "setTenantLimits",
    "Tenants",
    {200: ("The limits.", schemas.TenantLimits)},
    body=Body(json=schemas.LimitsRequest, example={"keep_jobs": 86400}),
)
def replace(tenant: str) -> Response:
    """Set the limits of a tenant.

    Needs a key of the tenant `default`. For what is left out, the settings of the service apply. A shorter time also
    removes jobs that have ended before; a smaller `max_bytes` removes nothing, but nothing is added then.
    """
    wanted = parse_json(schemas.LimitsRequest)
    limits = TenantLimits(tenant, wanted.keep_jobs, wanted.max_queued, wanted.pictures_per_minute, wanted.max_bytes)
    return respond(_answer(tenant_limits.replace(container(), caller().tenant, limits)))


@bp.get("/v1/usage")
@scope("keys")
@operation("listUsage", "Tenants", {200: ("The tenants.", TenantUsageList)})
def usage() -> Response:
    """List what tenants use.

    The tenant `default` sees all, also those without limits of their own; other tenants, themselves. Pictures are
    counted for a day, all else as long as it is kept.
    """
    found = tenant_usage.list_usage(container(), caller().tenant)
    return respond(
        TenantUsageList(
            tenants=[
                TenantUsage(**_fields(tenant_limits.get(container(), caller().tenant, each.tenant)) | asdict(each))
                for each in found
            ]
        )
    )


def _answer(limits: TenantLimits) -> schemas.TenantLimits:
    return schemas.TenantLimits(**_fields(limits))


def _fields(limits: TenantLimits) -> dict[str, Any]:
    applied = tenant_limits.in_effect(container(), limits.tenant)
    return asdict(limits) | {
        "in_effect": schemas.LimitsInEffect(**asdict(applied)),
        "kept_bytes": kept_bytes.used(container(), limits.tenant),
    }
