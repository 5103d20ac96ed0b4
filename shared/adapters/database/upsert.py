"""Add a row or change the one that is there, in one statement, so that two who do so at once do not collide."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


def upsert(
    connection: Connection, table: sa.Table, values: dict[str, Any], change: dict[str, Any],
    where: sa.ColumnElement[bool] | None = None,
) -> postgresql.Insert | sqlite.Insert:  # fmt: skip
    """The statement: insert `values`, or set `change` where the primary key is taken (and `where` holds)."""
    # The same words in both languages, which SQLAlchemy spells in one class each.
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    first = insert(table).values(**values)
    return first.on_conflict_do_update(index_elements=list(table.primary_key), set_=change, where=where)
