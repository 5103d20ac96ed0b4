"""The databases that tests use one after the other: each test finds one that is as new."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import postgres_url
from tests.postgres_databases import MANY, Databases

pytestmark = pytest.mark.postgres


def say(name: str, statement: str) -> list[tuple[object, ...]]:
    """Send a statement to a database; return its rows."""
    with psycopg.connect(postgres_url(name), autocommit=True) as connection:
        answer = connection.execute(statement.encode())
        return answer.fetchall() if answer.description else []


def test_a_database_is_taken_again_without_its_rows(postgres_databases: Databases) -> None:
    with postgres_databases.one() as first:
        say(first, "INSERT INTO facts (name, value) VALUES ('a', 'b')")
    with postgres_databases.one() as second:
        assert second == first
        assert say(second, "SELECT * FROM facts") == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE facts ADD COLUMN other text",
        "CREATE INDEX another ON facts (value)",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
        f"CREATE TABLE filled AS SELECT generate_series(0, {MANY}) AS number",
    ],
)
def test_a_database_that_is_not_as_new_is_dropped(postgres_databases: Databases, change: str) -> None:
    with postgres_databases.one() as first:
        say(first, change)
    with postgres_databases.one() as second:
        assert second != first
