"""Queries on the indexes of searches."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.learning_tables import datasets, model_versions, search_indexes
from shared.adapters.database.upsert import upsert
from shared.domain.searches import Collection, SearchIndex


class SearchIndexes:
    """The table of search indexes, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, collection: Collection, version_id: str) -> SearchIndex | None:
        """Return the index of a collection by a version, or None."""
        where = sa.and_(_of(collection), search_indexes.c.version_id == version_id)
        row = self._connection.execute(sa.select(search_indexes).where(where)).first()
        return SearchIndex(**row._mapping) if row else None

    def save(self, index: SearchIndex) -> None:
        """Insert an index, or update all of its columns."""
        values = asdict(index)
        changed = {name: value for name, value in values.items() if not search_indexes.c[name].primary_key}
        self._connection.execute(upsert(self._connection, search_indexes, values, changed))

    def wanted(self) -> list[SearchIndex]:
        """Return the indexes of all tenants on which a trainer is to work, in the order in which they were wanted."""
        query = sa.select(search_indexes).where(search_indexes.c.wanted_at.is_not(None))
        return self._all(query.order_by(search_indexes.c.wanted_at))

    def want_again(self, collection: Collection, now: float) -> None:
        """Want all indexes of a collection from which pictures were removed, for all versions."""
        values = {"wanted_at": now, "attempts": 0}
        self._connection.execute(sa.update(search_indexes).where(_of(collection)).values(values))

    def orphans(self) -> list[SearchIndex]:
        """Return the indexes of all tenants whose version or dataset does not exist any more."""
        gone = sa.or_(
            search_indexes.c.version_id.not_in(sa.select(model_versions.c.id)),
            sa.and_(search_indexes.c.dataset_id != 0, search_indexes.c.dataset_id.not_in(sa.select(datasets.c.id))),
        )
        return self._all(sa.select(search_indexes).where(gone))

    def delete(self, index: SearchIndex) -> None:
        """Delete an index; its blobs are the caller's to remove."""
        where = sa.and_(_of(index.collection), search_indexes.c.version_id == index.version_id)
        self._connection.execute(sa.delete(search_indexes).where(where))

    def _all(self, query: sa.Select[Any]) -> list[SearchIndex]:
        return [SearchIndex(**row._mapping) for row in self._connection.execute(query)]


def _of(collection: Collection) -> sa.ColumnElement[bool]:
    return sa.and_(*(search_indexes.c[name] == value for name, value in asdict(collection).items()))
