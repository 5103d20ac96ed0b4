"""Queries on what was decided once for the whole installation."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.tables import facts


class Facts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> str:
        """The value, or an empty text."""
        return self._connection.execute(sa.select(facts.c.value).where(facts.c.name == name)).scalar() or ""

    def set(self, name: str, value: str) -> None:
        if not self._connection.execute(sa.update(facts).where(facts.c.name == name).values(value=value)).rowcount:
            self._connection.execute(sa.insert(facts), {"name": name, "value": value})
