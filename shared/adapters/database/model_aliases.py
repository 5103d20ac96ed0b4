"""Queries on aliases: alternative names for models, separate for each tenant."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.learning_tables import model_aliases
from shared.adapters.database.upsert import upsert
from shared.domain.models import ModelAlias


class ModelAliases:
    """The table of aliases, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: str, alias: str) -> ModelAlias | None:
        """Return an alias of the tenant, or None."""
        query = sa.select(model_aliases).where(model_aliases.c.tenant == tenant, model_aliases.c.alias == alias)
        row = self._connection.execute(query).first()
        return ModelAlias(**row._mapping) if row else None

    def all(self, tenant: str) -> list[ModelAlias]:
        """Return the tenant's aliases, sorted by alias."""
        query = sa.select(model_aliases).where(model_aliases.c.tenant == tenant).order_by(model_aliases.c.alias)
        return [ModelAlias(**row._mapping) for row in self._connection.execute(query)]

    def set(self, alias: ModelAlias) -> None:
        """Insert an alias, or change the model that it stands for."""
        self._connection.execute(upsert(self._connection, model_aliases, asdict(alias), {"name": alias.name}))

    def delete(self, tenant: str, alias: str) -> bool:
        """Delete an alias; returns False if there is none."""
        where = sa.and_(model_aliases.c.tenant == tenant, model_aliases.c.alias == alias)
        return bool(self._connection.execute(sa.delete(model_aliases).where(where)).rowcount)

    def delete_of(self, tenant: str, name: str) -> None:
        """Delete all aliases of a model."""
        where = sa.and_(model_aliases.c.tenant == tenant, model_aliases.c.name == name)
        self._connection.execute(sa.delete(model_aliases).where(where))
