"""Queries on the limits of tenants."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import jobs, tenant_limits
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

    def jobs_kept_too_long(
        self, now: float, keep: float, limit: int = 500, *, lock: bool = False
    ) -> list[tuple[str, str]]:
        """Return (id, blob) of jobs that ended longer ago than their tenant's jobs are kept, or `keep` seconds.

        With `lock` other transactions cannot move them until this one ends; jobs that another is moving are left out.
        """
        found: list[tuple[str, str]] = []
        for tenant, oldest, own in self._connection.execute(_OLDEST_ENDS):
            ended_before = now - (keep if own is None else own)
            if oldest is not None and oldest < ended_before and len(found) < limit:
                old = sa.select(jobs.c.id, jobs.c.blob).where(
                    jobs.c.tenant == tenant, jobs.c.finished_at < ended_before
                )
                old = old.limit(limit - len(found))
                query = old.with_for_update(skip_locked=True) if lock else old
                found += [(row.id, row.blob) for row in self._connection.execute(query)]
        return found


def _oldest_ends() -> sa.Select[Any]:
    """Return the query of each tenant with the end of its oldest job, and the seconds for which it keeps them."""
    # The tenants one after the other, and the oldest of each, from an index. One query for all old jobs was rejected:
    # every few seconds it would read all jobs of a tenant that keeps them longer than the others.
    names = sa.select(sa.func.min(jobs.c.tenant).label("tenant")).cte("names", recursive=True)
    following = sa.select(sa.func.min(jobs.c.tenant)).where(jobs.c.tenant > names.c.tenant).scalar_subquery()
    names = names.union_all(sa.select(following).where(names.c.tenant.is_not(None)))
    oldest = sa.select(sa.func.min(jobs.c.finished_at)).where(jobs.c.tenant == names.c.tenant).scalar_subquery()
    own = sa.select(tenant_limits.c.keep_jobs).where(tenant_limits.c.tenant == names.c.tenant).scalar_subquery()
    return sa.select(names.c.tenant, oldest, own)


_OLDEST_ENDS = _oldest_ends()
