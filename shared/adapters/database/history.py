"""Queries on the history: counts by the minute, older ones by the quarter of an hour."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import history
from shared.adapters.database.upsert import upsert
from shared.domain.history import LEVELS, Counted, Measure


class History:
    """The table of counts, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, counts: Mapping[Counted, int]) -> None:
        """Add to the counts."""
        self._write(counts, history.c.number + _NUMBER)

    def set(self, counts: Mapping[Counted, int]) -> None:
        """Replace the counts."""
        self._write(counts, _NUMBER)

    def keep_most(self, counts: Mapping[Counted, int]) -> None:
        """Replace the counts that are lower."""
        self._write(counts, _MOST)

    def counts(self, since: int, until: int, measures: Collection[Measure]) -> dict[Counted, int]:
        """Return the counts of these measures from one minute to before another, without their steps."""
        key = (history.c.minute, history.c.tenant, history.c.version_id, history.c.measure)
        query = sa.select(*key, sa.func.sum(history.c.number)).where(
            history.c.minute >= since, history.c.minute < until, history.c.measure.in_(measures)
        )
        rows = self._connection.execute(query.group_by(*key))
        return {Counted(minute, tenant, id_, Measure(kind)): int(sum_) for minute, tenant, id_, kind, sum_ in rows}

    def sums(self, since: int, until: int, tenants: Collection[str] | None) -> list[tuple[int, Measure, int, int, int]]:
        """Return (minute, measure, step, the sum over all streams, the most of one) from one minute to before another.

        Only of these tenants; None is all. The database adds up the streams: a service may have thousands of them.
        """
        key = (history.c.minute, history.c.measure, history.c.step)
        query = sa.select(*key, sa.func.sum(history.c.number), sa.func.max(history.c.number)).where(
            history.c.minute >= since, history.c.minute < until
        )
        if tenants is not None:
            query = query.where(history.c.tenant.in_(tenants))
        rows = self._connection.execute(query.group_by(*key).order_by(*key))
        return [(minute, Measure(measure), step, int(sum_), int(most)) for minute, measure, step, sum_, most in rows]

    def fold(self, before: int, minutes: int) -> None:
        """Add up all counts before a minute so that one is left for each `minutes`; of levels the most is left."""
        old = sa.and_(history.c.minute < before, history.c.minute % minutes != 0)
        first = (history.c.minute - history.c.minute % minutes).label("first")
        key = (first, history.c.tenant, history.c.version_id, history.c.measure, history.c.step)
        for is_level, of_all, change in (
            (True, sa.func.max, _MOST),
            (False, sa.func.sum, history.c.number + _NUMBER),
        ):
            kind = history.c.measure.in_(LEVELS) if is_level else history.c.measure.not_in(LEVELS)
            rows = self._connection.execute(sa.select(*key, of_all(history.c.number)).where(old, kind).group_by(*key))
            folded = {
                Counted(minute, tenant, id_, Measure(measure), step): int(number)
                for minute, tenant, id_, measure, step, number in rows
            }
            self._write(folded, change)
        self._connection.execute(sa.delete(history).where(old))

    def drop(self, before: int) -> None:
        """Delete the counts of all minutes before this one."""
        self._connection.execute(sa.delete(history).where(history.c.minute < before))

    def _write(self, counts: Mapping[Counted, int], change: Any) -> None:
        if counts:
            statement = upsert(self._connection, history, _VALUES, {"number": change})
            self._connection.execute(statement, list(_rows(counts)))


_NUMBER: sa.BindParameter[int] = sa.bindparam("b_number", type_=sa.BigInteger())
_MOST = sa.case((history.c.number > _NUMBER, history.c.number), else_=_NUMBER)
_VALUES: dict[str, Any] = {
    name: sa.bindparam(f"b_{name}") for name in ("tenant", "minute", "version_id", "measure", "step")
} | {"number": _NUMBER}


def _rows(counts: Mapping[Counted, int]) -> Iterable[dict[str, Any]]:
    """Yield the rows in the order of their key, so that two processes that write them cannot deadlock."""
    for counted in sorted(counts):
        yield {f"b_{name}": value for name, value in counted._asdict().items()} | {"b_number": counts[counted]}
