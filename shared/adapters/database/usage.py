"""Queries on usage: the count of each meter per tenant and month."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import usage
from shared.adapters.database.upsert import upsert


class Usage:
    """The table of usage counts, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tenant: str, meter: str, month: str) -> int:
        """Add 1 in a single statement, so that no count is lost; returns the new count."""
        return int(self._connection.execute(self._one_more(tenant, meter, month)).scalar_one())

    def take(self, tenant: str, meter: str, month: str, limit: int) -> int | None:
        """Add 1 and return the new count if the count is below `limit` (at least 1), else return None."""
        more = self._one_more(tenant, meter, month, usage.c.used < limit)
        count: int | None = self._connection.execute(more).scalar()
        return count

    def give_back(self, tenant: str, meter: str, month: str) -> None:
        """Subtract 1, but not below 0."""
        where = sa.and_(usage.c.tenant == tenant, usage.c.meter == meter, usage.c.month == month, usage.c.used > 0)
        self._connection.execute(sa.update(usage).where(where).values(used=usage.c.used - 1))

    def _one_more(
        self, tenant: str, meter: str, month: str, where: sa.ColumnElement[bool] | None = None
    ) -> sa.Executable:
        first = {"tenant": tenant, "meter": meter, "month": month, "used": 1}
        return upsert(self._connection, usage, first, {"used": usage.c.used + 1}, where).returning(usage.c.used)

    def used(self, tenant: str, meter: str, month: str) -> int:
        """Return the count; 0 if there is none."""
        where = sa.and_(usage.c.tenant == tenant, usage.c.meter == meter, usage.c.month == month)
        return self._connection.execute(sa.select(usage.c.used).where(where)).scalar() or 0
