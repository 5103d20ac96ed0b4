"""Limits of tenants: how long their jobs are kept, and how much they may send and keep."""

from __future__ import annotations

from collections.abc import Sequence

from inferq.client import http
from inferq.client.blocking import Blocking, blocking
from inferq.client.connection import Connection, read
from shared.schemas.tenant_limits import TenantLimits, TenantLimitsList
from shared.schemas.tenant_usage import TenantUsage, TenantUsageList


class AsyncTenants:
    """The tenants that the key's tenant may see; the tenant `default` sees all, and sets their limits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def limits(self, tenant: str) -> TenantLimits:
        """Return the limits of a tenant: those that are set for it, and those in effect."""
        return read(TenantLimits, await self._connection.get(_path(tenant)))

    async def set_limits(
        self,
        tenant: str,
        *,
        keep_jobs: float | None = None,
        max_queued: int | None = None,
        pictures_per_minute: int | None = None,
        max_bytes: int | None = None,
    ) -> TenantLimits:
        """Set all limits of a tenant; for None, the setting of the service applies. `keep_jobs` is in seconds."""
        given = {
            "keep_jobs": keep_jobs,
            "max_queued": max_queued,
            "pictures_per_minute": pictures_per_minute,
            "max_bytes": max_bytes,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return read(TenantLimits, await self._connection.request("PUT", _path(tenant), json=body))

    async def list(self) -> list[TenantLimits]:
        """Return the tenants that have limits of their own."""
        return read(TenantLimitsList, await self._connection.get("/v1/tenants")).tenants

    async def usage(self) -> Sequence[TenantUsage]:
        """Return what each tenant uses, beside its limits, also of those without limits of their own."""
        return read(TenantUsageList, await self._connection.get("/v1/usage")).tenants


class Tenants(Blocking[AsyncTenants]):
    """The tenants that the key's tenant may see; the tenant `default` sees all, and sets their limits."""

    limits = blocking(AsyncTenants.limits)
    set_limits = blocking(AsyncTenants.set_limits)
    list = blocking(AsyncTenants.list)
    usage = blocking(AsyncTenants.usage)


def _path(tenant: str) -> str:
    return f"/v1/tenants/{http.word(tenant)}/limits"
