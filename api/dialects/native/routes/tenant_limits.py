"""`/v1/tenants`: how long a tenant's jobs are kept, how much it may send and keep, and how much it keeps."""

from __future__ import annotations

from flask import Response

from api.context import caller, container, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests.common import parse_json
from api.dialects.native.serializers.common import respond
from shared.domain.tenant_limits import TenantLimits
from shared.schemas import tenant_limits as schemas
from shared.services import kept_bytes, tenant_limits

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


def _answer(limits: TenantLimits) -> schemas.TenantLimits:
    applied = tenant_limits.in_effect(container(), limits.tenant)
    return schemas.TenantLimits(
        tenant=limits.tenant,
        keep_jobs=limits.keep_jobs,
        max_queued=limits.max_queued,
        pictures_per_minute=limits.pictures_per_minute,
        max_bytes=limits.max_bytes,
        in_effect=schemas.LimitsInEffect(
            keep_jobs=applied.keep_jobs,
            max_queued=applied.max_queued,
            pictures_per_minute=applied.pictures_per_minute,
            max_bytes=applied.max_bytes,
        ),
        kept_bytes=kept_bytes.used(container(), limits.tenant),
    )
