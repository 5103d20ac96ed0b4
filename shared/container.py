"""The adapters in one object, built once per process and handed to every use-case.

Services import the types of adapters from here only, and the adapters themselves from nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.adapters import http_fetch
from shared.adapters.database.unit_of_work import Database, UnitOfWork
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.adapters.storage import Storage, Writer
from shared.settings import Settings

__all__ = ["Container", "Storage", "UnitOfWork", "Writer", "build"]


def _download(*about: Any, **bounds: Any) -> None:
    http_fetch.fetch_to(*about, **bounds)


@dataclass(frozen=True)
class Container:
    """Everything that a use-case reaches the outside with."""

    database: Database
    queue: Queue
    storage: Storage
    now: Callable[[], float]
    """Unix seconds."""
    settings: Settings
    waiters: Waiters
    rate_limits: RateLimits
    open_storage: Callable[[str], Storage] = Storage
    """Another store than `storage`, by its fsspec URL."""
    download: Callable[..., None] = _download
    """Fetches a public URL into a file; see shared/adapters/http_fetch.py."""

    def close(self) -> None:
        """Close all connections."""
        self.waiters.close()
        self.queue.close()
        self.database.close()


def build(settings: Settings) -> Container:
    """The container that the settings describe; nothing is connected to before it is used."""
    queue = Queue(settings)
    return Container(
        database=Database(settings.database_url),
        queue=queue,
        storage=Storage(settings.storage_url),
        now=time.time,
        settings=settings,
        waiters=Waiters(queue),
        rate_limits=RateLimits(settings),
    )
