"""Use-cases of the limits of tenants: the operator sets them, a tenant looks at its own, requests obey them."""

from __future__ import annotations

from shared import errors
from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT, check_tenant
from shared.domain.tenant_limits import LimitsInEffect, TenantLimits


def in_effect(container: Container, tenant: str) -> LimitsInEffect:
    """Return the limits that apply to a tenant; requests read them in memory."""
    own = container.lookups.get(("limits", tenant), lambda: _read(container, tenant))
    settings = container.settings  # read at each call: containers with other settings may share the lookups
    return LimitsInEffect(
        keep_jobs=settings.keep_jobs if own.keep_jobs is None else own.keep_jobs,
        max_queued=settings.max_queued if own.max_queued is None else own.max_queued,
        pictures_per_minute=own.pictures_per_minute,
        max_bytes=own.max_bytes,
    )


def get(container: Container, caller: str, tenant: str) -> TenantLimits:
    """Return the limits that are set for a tenant; raises Forbidden for another tenant than the caller's, unless that
    is `default`, and BadOption."""
    check_tenant(tenant)
    if caller not in (tenant, DEFAULT_TENANT):
        raise errors.Forbidden("A tenant sees its own limits; only a key of the tenant 'default' sees those of others.")
    return _read(container, tenant)


def list_limits(container: Container, caller: str) -> list[TenantLimits]:
    """Return the tenants that have limits of their own; for other tenants than `default`, only the caller's."""
    with container.database.read() as uow:
        return [limits for limits in uow.tenant_limits.all() if caller in (limits.tenant, DEFAULT_TENANT)]


def replace(container: Container, caller: str, limits: TenantLimits) -> TenantLimits:
    """Set the limits of a tenant, in place of those that it had; where all are None, the settings apply.

    Raises Forbidden unless the caller is the tenant `default`, and BadOption.
    """
    check_tenant(limits.tenant)
    if caller != DEFAULT_TENANT:
        raise errors.Forbidden("Only a key of the tenant 'default' can set limits, also its own.")
    with container.database.write() as uow:
        if limits == TenantLimits(limits.tenant):
            uow.tenant_limits.delete(limits.tenant)
        else:
            uow.tenant_limits.set(limits)
    return limits


def _read(container: Container, tenant: str) -> TenantLimits:
    with container.database.read() as uow:
        return uow.tenant_limits.get(tenant)
