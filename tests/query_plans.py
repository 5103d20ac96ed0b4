"""How a database finds the answer of a query: from an index, or by looking at every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from shared.adapters.database.unit_of_work import Database, UnitOfWork


def plan(database: Database, ask: Callable[[UnitOfWork], object]) -> list[str]:
    """Return the lines in which the database says how it finds the answer of the last query that `ask` makes."""
    asked: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", keep)
    with database.read() as uow:
        ask(uow)
    sa.event.remove(database.engine, "before_cursor_execute", keep)
    statement, parameters = asked[-1]
    with _unwilling(database) as connection:
        word = "EXPLAIN QUERY PLAN" if database.engine.dialect.name == "sqlite" else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{word} {statement}", parameters).all()
    return [str(row[-1]).strip() for row in rows]


@contextmanager
def _unwilling(database: Database) -> Iterator[sa.Connection]:
    """A connection on which PostgreSQL, which reads small tables whole, does so only if no index can serve."""
    with database.engine.connect() as connection:
        if database.engine.dialect.name != "sqlite":
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        yield connection


def conditions(database: Database, lines: list[str]) -> list[str]:
    """Return by which columns each part of the query finds jobs in an index of its tenant."""
    if database.engine.dialect.name == "sqlite":
        found = [line.partition("(")[2] for line in lines if line.startswith("SEARCH jobs ")]
        return [condition for condition in found if "tenant" in condition]  # the others are by id
    return [line for line in lines if line.startswith("Index Cond:") and "tenant" in line]


def reads_more_than_it_shows(line: str) -> bool:
    """Return True for a step that looks at every row, sorts, or drops rows that it has read."""
    return line.startswith(
        ("SCAN jobs", "SCAN items", "Filter:", "Seq Scan", "->  Seq Scan", "USE TEMP B-TREE FOR LAST")
    )
