"""Queries on aliases: other names for models, each tenant's own."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.models import Alias
from shared.records.upsert import upsert
from shared.tables import aliases


class Aliases:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, tenant: str, alias: str) -> Alias | None:
        query = sa.select(aliases).where(aliases.c.tenant == tenant, aliases.c.alias == alias)
        found = self._connection.execute(query).first()
        return Alias(**found._mapping) if found else None

    def all(self, tenant: str) -> list[Alias]:
        query = sa.select(aliases).where(aliases.c.tenant == tenant).order_by(aliases.c.alias)
        return [Alias(**row._mapping) for row in self._connection.execute(query)]

    def set(self, alias: Alias) -> None:
        """Add it, or let it stand for another model from now on."""
        self._connection.execute(upsert(self._connection, aliases, asdict(alias), {"name": alias.name}))

    def delete(self, tenant: str, alias: str) -> bool:
        """False when there is none."""
        where = sa.and_(aliases.c.tenant == tenant, aliases.c.alias == alias)
        return bool(self._connection.execute(sa.delete(aliases).where(where)).rowcount)

    def delete_of(self, tenant: str, name: str) -> None:
        """All that stand for a model."""
        where = sa.and_(aliases.c.tenant == tenant, aliases.c.name == name)
        self._connection.execute(sa.delete(aliases).where(where))
