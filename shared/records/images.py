"""Queries on stored images."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.gallery import Image
from shared.tables import images


class Images:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, image: Image) -> None:
        self._connection.execute(sa.insert(images), asdict(image))

    def get(self, tenant: str, image_id: str) -> Image | None:
        query = sa.select(images).where(images.c.tenant == tenant, images.c.id == image_id)
        found = self._connection.execute(query).first()
        return Image(**found._mapping) if found else None

    def page(self, tenant: str, *, before: str = "", limit: int = 50) -> list[Image]:
        """Newest first; `before` is the last id of the page before."""
        query = sa.select(images).where(images.c.tenant == tenant).order_by(images.c.id.desc()).limit(limit)
        if before:
            query = query.where(images.c.id < before)
        return [Image(**row._mapping) for row in self._connection.execute(query)]

    def delete(self, tenant: str, image_id: str) -> None:
        self._connection.execute(sa.delete(images).where(images.c.tenant == tenant, images.c.id == image_id))
