"""Queries on what tenants use: counts over the rows of other nouns, none of them stored."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.keys import is_valid
from shared.adapters.database.learning_tables import trainings
from shared.adapters.database.tables import history, jobs, keys, tenant_limits
from shared.domain.history import Measure


class TenantUsage:
    """The counts of tenants, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self, tenant: str | None, *, now: float, since: int) -> dict[str, dict[str, float]]:
        """Return tenant -> the fields of shared/domain/tenant_usage.py that SQL knows; None is all tenants.

        `now` is in Unix seconds; pictures are counted since the minute `since`. Tenants without any row are left out.
        """
        spent = sa.func.coalesce(trainings.c.finished_at, now) - trainings.c.started_at
        measured = {name: sa.case((history.c.measure == name, history.c.number), else_=0) for name in _MEASURES}
        queries: tuple[tuple[sa.Table, dict[str, Any], sa.ColumnElement[bool]], ...] = (
            (keys, {"keys": sa.func.count()}, is_valid(now)),
            (tenant_limits, {}, sa.true()),
            (jobs, {"jobs": sa.func.count()}, sa.true()),
            (trainings, {"trainings": sa.func.count(), "training_seconds": sa.func.sum(spent)}, sa.true()),
            (
                history,
                {name: sa.func.sum(number) for name, number in measured.items()},
                sa.and_(history.c.minute >= since, history.c.measure.in_(_MEASURES), history.c.tenant != ""),
            ),
        )
        found = defaultdict[str, dict[str, float]](dict)
        for table, columns, where in queries:
            whose = table.c.tenant
            query = sa.select(whose, *(column.label(name) for name, column in columns.items())).where(where)
            if tenant is not None:
                query = query.where(whose == tenant)
            for row in self._connection.execute(query.group_by(whose)):
                # Sums are decimal numbers on PostgreSQL.
                found[row.tenant] |= {name: _KINDS.get(name, int)(row._mapping[name] or 0) for name in columns}
        return found


_KINDS: dict[str, type[float]] = {"training_seconds": float}
_MEASURES = (Measure.ANSWERED.value, Measure.FAILED.value)
