"""Queries on the items of jobs that pages show: the first ones of a list of jobs, and the failed ones of a job."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database.tables import items
from shared.domain.jobs import Item
from shared.domain.rejection import Verdict

SHOWN = [column for column in items.c if column.name not in ("picture", "explanation_size")]
"""The columns of Item; the picture and the size of its heat map are in no answer."""


class Items:
    """The table of items, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def first(self, job_ids: Collection[str]) -> dict[str, Item]:
        """Return job id -> its first item."""
        query = sa.select(*SHOWN).where(items.c.job_id.in_(job_ids), items.c.position == 0)
        return {row.job_id: item_of(row) for row in self._connection.execute(query)}

    def first_names(self, job_ids: Collection[str]) -> dict[str, str]:
        """Return job id -> the name of its first item."""
        query = sa.select(items.c.job_id, items.c.name).where(items.c.job_id.in_(job_ids), items.c.position == 0)
        return {row.job_id: row.name for row in self._connection.execute(query)}

    def failed(self, job_id: str, start: int, limit: int) -> list[Item]:
        """Return the failed items of a job from a position on, in upload order; it reads items of this job only."""
        query = sa.select(*SHOWN).where(items.c.job_id == job_id, items.c.position >= start, items.c.error_code != "")
        return [item_of(row) for row in self._connection.execute(query.order_by(items.c.position).limit(limit))]


def item_of(row: Row[Any]) -> Item:
    """Return the item of a row with the columns SHOWN."""
    values = row._mapping
    if verdict := values["verdict"]:
        return Item(**{**values, "verdict": Verdict(*verdict)})
    return Item(**values)
