"""Queries on key-value pairs: settings that were decided once for the whole installation."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import key_values
from shared.adapters.database.upsert import upsert


class KeyValues:
    """The table of key-value pairs, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> str:
        """Return the value, or an empty string."""
        return self._connection.execute(sa.select(key_values.c.value).where(key_values.c.name == name)).scalar() or ""

    def get_all(self, names: Sequence[str]) -> dict[str, str]:
        """Return name -> value for the names that are set."""
        rows = self._connection.execute(sa.select(key_values).where(key_values.c.name.in_(names)))
        return {row.name: row.value for row in rows}

    def get_prefixed(self, prefix: str) -> dict[str, str]:
        """Return name -> value for the names that begin with a text."""
        query = sa.select(key_values).where(key_values.c.name.startswith(prefix, autoescape=True))
        return {row.name: row.value for row in self._connection.execute(query)}

    def delete(self, name: str) -> None:
        """Delete a pair."""
        self._connection.execute(sa.delete(key_values).where(key_values.c.name == name))

    def set(self, name: str, value: str) -> None:
        """Set a value."""
        self._connection.execute(upsert(self._connection, key_values, {"name": name, "value": value}, {"value": value}))

    def get_or_set(self, name: str, value: str) -> str:
        """Return the existing value, or set this value and return it; concurrent callers all get the same value."""
        existing = {"value": key_values.c.value}
        self._connection.execute(upsert(self._connection, key_values, {"name": name, "value": value}, existing))
        return self.get(name)
