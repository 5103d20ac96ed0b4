"""Queries on the bytes that each tenant keeps: changes are rows, their sum is the count.

The transaction that adds or removes pictures, archives or weights adds a row with the difference. A counter that is
updated in place was rejected: all commits of a tenant would wait for its row. Maintenance folds many rows into one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
import uuid6
from sqlalchemy.engine import Connection

from shared.adapters.database.learning_tables import datasets, model_versions, seen_choices, seen_pictures
from shared.adapters.database.tables import items, jobs, kept_bytes, stored_images

CHUNK = 500
"""Bound parameters per statement; SQLite accepts 32766, PostgreSQL 65535."""


class KeptBytes:
    """The table of changes, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, tenant: str) -> int:
        """Return the bytes that a tenant keeps."""
        return max(0, int(self._connection.execute(_SUM, {"tenant": tenant}).scalar_one()))

    def unfolded(self, more_than: int) -> list[str]:
        """Return the tenants that have more than so many rows."""
        query = sa.select(kept_bytes.c.tenant).group_by(kept_bytes.c.tenant).having(sa.func.count() > more_than)
        return list(self._connection.execute(query).scalars())

    def fold(self, tenant: str, limit: int) -> int:
        """Replace rows of a tenant, at most `limit`, by one with their sum; return their number. Those that another
        transaction folds are left out."""
        query = sa.select(kept_bytes.c.id, kept_bytes.c.bytes).where(kept_bytes.c.tenant == tenant).limit(limit)
        rows = self._connection.execute(query.with_for_update(skip_locked=True)).all()
        for start in range(0, len(rows), CHUNK):
            ids = [row.id for row in rows[start : start + CHUNK]]
            self._connection.execute(
                sa.delete(kept_bytes).where(kept_bytes.c.tenant == tenant, kept_bytes.c.id.in_(ids))
            )
        count(self._connection, [(tenant, sum(row.bytes for row in rows))])
        return len(rows)

    def missing(self) -> list[tuple[str, int]]:
        """Return (tenant, bytes) where the count differs from what the rows of all nouns say: bytes to be added.

        A single statement, so that both sides are of the same moment: what is committed meanwhile is in both or in
        none, and the difference stays right. It reads all items.
        """
        return [(row[0], int(row[1])) for row in self._connection.execute(_MISSING)]

    def add(self, changes: Iterable[tuple[str, int]]) -> None:
        """Add (tenant, bytes), negative for those that are removed."""
        count(self._connection, changes)


def count(connection: Connection, changes: Iterable[tuple[str, int]]) -> None:
    """Add (tenant, bytes) to the counts, as one row for each tenant whose count changes."""
    sums = Counter[str]()
    for tenant, size in changes:
        sums[tenant] += size
    rows = [{"tenant": tenant, "id": _new_id(), "bytes": size} for tenant, size in sums.items() if size]
    if rows:
        connection.execute(_ADD, rows)


def discount_jobs(connection: Connection, job_ids: Sequence[str]) -> None:
    """Take the pictures of jobs and their heat maps off the counts; this transaction has locked the jobs, and is to
    delete them."""
    own = (
        sa.select(jobs.c.tenant, sa.literal(_new_id()), -sa.func.sum(_OF_ITEM))
        .join_from(jobs, items, items.c.job_id == jobs.c.id)
        .where(jobs.c.id.in_(job_ids))
        .group_by(jobs.c.tenant)
        .having(sa.func.sum(_OF_ITEM) > 0)
    )
    connection.execute(sa.insert(kept_bytes).from_select(["tenant", "id", "bytes"], own))


def _new_id() -> str:
    return str(uuid6.uuid7())


# The pictures of a job lie in its blob, or with their items, where both names are empty. Others are stored images.
_OF_ITEM = sa.case((items.c.blob == jobs.c.blob, items.c.size), else_=0) + items.c.explanation_size
_ADD = sa.insert(kept_bytes)
_SUM = sa.select(sa.func.coalesce(sa.func.sum(kept_bytes.c.bytes), 0)).where(
    kept_bytes.c.tenant == sa.bindparam("tenant")
)


def _missing() -> sa.Select[Any]:
    parts = sa.union_all(
        sa.select(jobs.c.tenant, sa.func.sum(_OF_ITEM).label("bytes"))
        .join_from(jobs, items, items.c.job_id == jobs.c.id)
        .group_by(jobs.c.tenant),
        sa.select(seen_choices.c.tenant, sa.func.sum(seen_pictures.c.size))
        .join_from(seen_choices, seen_pictures)
        .group_by(seen_choices.c.tenant),
        *(
            sa.select(table.c.tenant, sa.func.sum(table.c.size)).group_by(table.c.tenant)
            for table in (stored_images, datasets, model_versions)
        ),
        sa.select(kept_bytes.c.tenant, -sa.func.sum(kept_bytes.c.bytes)).group_by(kept_bytes.c.tenant),
    ).subquery()
    difference = sa.func.sum(parts.c.bytes)
    return sa.select(parts.c.tenant, difference).group_by(parts.c.tenant).having(difference != 0)


_MISSING = _missing()
