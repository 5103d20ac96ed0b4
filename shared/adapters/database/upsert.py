"""Upsert: insert a row or change the existing row in one statement, so that concurrent writers do not conflict."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


def upsert(
    connection: Connection, table: sa.Table, values: dict[str, Any], change: dict[str, Any],
    where: sa.ColumnElement[bool] | None = None,
) -> postgresql.Insert | sqlite.Insert:  # fmt: skip
    """Return the statement that inserts `values`, or sets `change` if the primary key exists (and `where` holds)."""
    # Both dialects have the same syntax, but SQLAlchemy has a class for each.
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    first = insert(table).values(**values)
    return first.on_conflict_do_update(index_elements=list(table.primary_key), set_=change, where=where)
