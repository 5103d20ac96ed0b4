"""PostgreSQL databases that tests use one after the other: to empty one takes a tenth of the time of making one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

MANY = 2000
"""Rows of a test after which its database is dropped: those that are deleted slow the next ones down."""
_EMPTY = f"""
DO $$
DECLARE name text; deleted bigint; total bigint := 0;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  SET LOCAL lock_timeout = '5s';
  SET LOCAL session_replication_role = replica;  -- in whatever order: foreign keys are not looked at
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
    EXECUTE format('DELETE FROM %I', name);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
  END LOOP;
  FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
    PERFORM setval(format('%I', name), (SELECT start_value FROM pg_sequences
      WHERE schemaname = 'public' AND sequencename = name), false);
  END LOOP;
  IF total > {MANY} THEN RAISE EXCEPTION 'many rows'; END IF;
END $$
"""
_SCHEMA = """
SELECT (SELECT string_agg(concat_ws(' ', c.relname, a.attname, a.atttypid, a.attnotnull, a.atthasdef), ','
                          ORDER BY c.relname, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT string_agg(indexdef, ',' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'),
       (SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database())
"""
"""All that a test may change besides rows: tables, indexes, constraints, and settings of the database."""


class Databases:
    """Databases with the schema of a template, of which the one that was given back is taken again."""

    def __init__(self, say: Callable[[str], None], template: str, url: Callable[[str], str]) -> None:
        """`say` sends a statement to the server; `url` returns the address of a database by its name."""
        self._say, self._template, self._url = say, template, url
        self._free: list[str] = []
        self._schema = self._read_schema(template)

    @contextmanager
    def one(self) -> Iterator[str]:
        """Yield the name of an empty database that nobody else uses."""
        name = self._free.pop() if self._free else self._made()
        yield name
        if self._is_emptied(name):
            self._free.append(name)
        else:
            self._drop(name)

    def close(self) -> None:
        """Drop all databases."""
        while self._free:
            self._drop(self._free.pop())

    def _made(self) -> str:
        name = f"inferq_test_{uuid.uuid4().hex[:12]}"
        self._say(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return name

    def _drop(self, name: str) -> None:
        self._say(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _is_emptied(self, name: str) -> bool:
        """Delete all rows; return False if the database is not as new then, or holds the remains of many rows."""
        try:
            with self._connected(name) as connection:
                connection.execute(_EMPTY)
                return connection.execute(_SCHEMA).fetchone() == self._schema
        except psycopg.Error:
            return False

    def _read_schema(self, name: str) -> tuple[object, ...] | None:
        with self._connected(name) as connection:
            return connection.execute(_SCHEMA).fetchone()

    def _connected(self, name: str) -> psycopg.Connection[tuple[object, ...]]:
        # Nothing of a test outlives the server, so that nothing is worth a wait for its disk.
        return psycopg.connect(self._url(name), autocommit=True, options="-c synchronous_commit=off")
