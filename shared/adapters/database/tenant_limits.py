"""Queries on the limits of tenants."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import tenant_limits
from shared.adapters.database.upsert import upsert
from shared.domain.tenant_limits import TenantLimits as Limits


class TenantLimits:
    """The table of tenants' limits, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, tenant: str) -> Limits:
        """Return the limits of a tenant; without a row, none is set."""
        row = self._connection.execute(sa.select(tenant_limits).where(tenant_limits.c.tenant == tenant)).first()
        return Limits(**row._mapping) if row else Limits(tenant)

    def all(self) -> list[Limits]:
        """Return the limits of the tenants that have any, by name."""
        rows = self._connection.execute(sa.select(tenant_limits).order_by(tenant_limits.c.tenant))
        return [Limits(**row._mapping) for row in rows]

    def set(self, limits: Limits) -> None:
        """Replace the limits of a tenant."""
        values = asdict(limits)
        self._connection.execute(upsert(self._connection, tenant_limits, values, values))

    def delete(self, tenant: str) -> None:
        """Remove the limits of a tenant, so that the settings apply."""
        self._connection.execute(sa.delete(tenant_limits).where(tenant_limits.c.tenant == tenant))
