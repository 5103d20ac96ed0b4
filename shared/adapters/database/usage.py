"""Queries on what was used in each month."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import usage
from shared.adapters.database.upsert import upsert


class Usage:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tenant: str, meter: str, month: str) -> int:
        """Count one more, in one statement so that none is lost; how many there are with this one."""
        return int(self._connection.execute(self._one_more(tenant, meter, month)).scalar_one())

    def take(self, tenant: str, meter: str, month: str, limit: int) -> int | None:
        """The same while there are less than `limit`, which is at least 1; else None."""
        more = self._one_more(tenant, meter, month, usage.c.used < limit)
        found: int | None = self._connection.execute(more).scalar()
        return found

    def give_back(self, tenant: str, meter: str, month: str) -> None:
        where = sa.and_(usage.c.tenant == tenant, usage.c.meter == meter, usage.c.month == month, usage.c.used > 0)
        self._connection.execute(sa.update(usage).where(where).values(used=usage.c.used - 1))

    def _one_more(
        self, tenant: str, meter: str, month: str, where: sa.ColumnElement[bool] | None = None
    ) -> sa.Executable:
        first = {"tenant": tenant, "meter": meter, "month": month, "used": 1}
        return upsert(self._connection, usage, first, {"used": usage.c.used + 1}, where).returning(usage.c.used)

    def used(self, tenant: str, meter: str, month: str) -> int:
        """0 where nothing was counted."""
        where = sa.and_(usage.c.tenant == tenant, usage.c.meter == meter, usage.c.month == month)
        return self._connection.execute(sa.select(usage.c.used).where(where)).scalar() or 0
