"""Whether the rows of any noun name a blob of the storage."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.learning_tables import examples, model_versions, seen_pictures
from shared.adapters.database.tables import jobs, stored_images

_NAMED = (
    sa.select(jobs.c.id).where(jobs.c.blob != ""),
    sa.select(stored_images.c.id).where(stored_images.c.blob != ""),
    sa.select(examples.c.id).where(examples.c.blob != ""),
    sa.select(model_versions.c.id).where(model_versions.c.weights != ""),
    sa.select(seen_pictures.c.id).where(seen_pictures.c.size > 0),
)
"""Rows that name a blob, which the storage should hold."""


class Blobs:
    """The blobs that rows name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def any(self) -> bool:
        """Return True if a job, a stored image, an example, a version or a seen picture names a blob."""
        return any(self._connection.execute(query.limit(1)).first() is not None for query in _NAMED)
