"""Queries on stored images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database import kept_bytes
from shared.adapters.database.tables import stored_images
from shared.domain.stored_images import StoredImage


class StoredImages:
    """The table of stored images, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, image: StoredImage) -> None:
        """Insert a stored image."""
        self._connection.execute(sa.insert(stored_images), asdict(image))
        kept_bytes.count(self._connection, [(image.tenant, image.size)])

    def find(self, image_id: str) -> StoredImage | None:
        """Return a stored image of any tenant, or None; the use-case checks who may see it."""
        row = self._connection.execute(sa.select(stored_images).where(stored_images.c.id == image_id)).first()
        return StoredImage(**row._mapping) if row else None

    def page(self, tenant: str, stage: str, *, first: str = "", limit: int = 50) -> list[StoredImage]:
        """Return stored images, newest first, starting with the id `first`, or with the newest."""
        query = self._of(tenant, stage).order_by(stored_images.c.id.desc()).limit(limit)
        return self._all(query.where(stored_images.c.id <= first) if first else query)

    def newer(self, tenant: str, stage: str, *, than: str, limit: int) -> list[StoredImage]:
        """Return the images directly before the id `than` in that list, nearest first."""
        return self._all(
            self._of(tenant, stage).where(stored_images.c.id > than).order_by(stored_images.c.id).limit(limit)
        )

    def made_before(self, stage: str, when: float, limit: int) -> list[StoredImage]:
        """Return the images of all tenants that were created before `when` (Unix seconds), oldest first."""
        query = sa.select(stored_images).where(stored_images.c.stage == stage, stored_images.c.created_at < when)
        return self._all(query.order_by(stored_images.c.created_at).limit(limit))

    def known(self, image_ids: Collection[str]) -> set[str]:
        """Return the ids that exist."""
        candidates, known_ids = list(image_ids), set[str]()
        for start in range(0, len(candidates), 500):  # databases limit the parameters of a statement
            known_ids |= set(self._connection.execute(_KNOWN, {"ids": candidates[start : start + 500]}).scalars())
        return known_ids

    def held(self, image_ids: Collection[str]) -> set[str]:
        """Return the ids that exist; their images are locked, so that none is deleted before the transaction ends."""
        candidates, held_ids = sorted(image_ids), set[str]()
        for start in range(0, len(candidates), 500):  # as in `known`
            query = sa.select(stored_images.c.id).where(stored_images.c.id.in_(candidates[start : start + 500]))
            locked = query.order_by(stored_images.c.id).with_for_update(read=True)
            held_ids |= set(self._connection.execute(locked).scalars())
        return held_ids

    def ids(self, tenant: str, stage: str) -> list[str]:
        """Return the ids of all stored images of a tenant and stage, oldest first."""
        query = sa.select(stored_images.c.id).where(stored_images.c.tenant == tenant, stored_images.c.stage == stage)
        return list(self._connection.execute(query.order_by(stored_images.c.id)).scalars())

    def some(self, image_ids: Collection[str]) -> list[StoredImage]:
        """Return those of the images that exist, of any tenant; the ids come from `ids`."""
        candidates = list(image_ids)
        return [
            image
            for start in range(0, len(candidates), 500)  # as in `known`
            for image in self._all(
                sa.select(stored_images).where(stored_images.c.id.in_(candidates[start : start + 500]))
            )
        ]

    def delete(self, image_ids: Sequence[str]) -> None:
        """Delete stored images."""
        gone = sa.delete(stored_images).where(stored_images.c.id.in_(image_ids))
        rows = self._connection.execute(gone.returning(stored_images.c.tenant, stored_images.c.size))
        kept_bytes.count(self._connection, [(tenant, -size) for tenant, size in rows])

    def _of(self, tenant: str, stage: str) -> sa.Select[Any]:
        return sa.select(stored_images).where(stored_images.c.tenant == tenant, stored_images.c.stage == stage)

    def _all(self, query: sa.Select[Any]) -> list[StoredImage]:
        return [StoredImage(**row._mapping) for row in self._connection.execute(query)]


# A statement that is built with its values is a cycle, which keeps them until the garbage collector finds it.
_KNOWN = sa.select(stored_images.c.id).where(stored_images.c.id.in_(sa.bindparam("ids", expanding=True)))
