"""Queries on aliases: other names for models, each tenant's own."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import model_aliases
from shared.adapters.database.upsert import upsert
from shared.domain.models import ModelAlias


class ModelAliases:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, tenant: str, alias: str) -> ModelAlias | None:
        query = sa.select(model_aliases).where(model_aliases.c.tenant == tenant, model_aliases.c.alias == alias)
        found = self._connection.execute(query).first()
        return ModelAlias(**found._mapping) if found else None

    def all(self, tenant: str) -> list[ModelAlias]:
        query = sa.select(model_aliases).where(model_aliases.c.tenant == tenant).order_by(model_aliases.c.alias)
        return [ModelAlias(**row._mapping) for row in self._connection.execute(query)]

    def set(self, alias: ModelAlias) -> None:
        """Add it, or let it stand for another model from now on."""
        self._connection.execute(upsert(self._connection, model_aliases, asdict(alias), {"name": alias.name}))

    def delete(self, tenant: str, alias: str) -> bool:
        """False when there is none."""
        where = sa.and_(model_aliases.c.tenant == tenant, model_aliases.c.alias == alias)
        return bool(self._connection.execute(sa.delete(model_aliases).where(where)).rowcount)

    def delete_of(self, tenant: str, name: str) -> None:
        """All that stand for a model."""
        where = sa.and_(model_aliases.c.tenant == tenant, model_aliases.c.name == name)
        self._connection.execute(sa.delete(model_aliases).where(where))
