"""The container holds the adapters in one object; each process builds it once and passes it to every use-case.

Services import the types of adapters from this module only, and never import the adapters themselves.
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
    """The container holds every adapter through which a use-case reaches the outside."""

    database: Database
    queue: Queue
    storage: Storage
    now: Callable[[], float]
    """The clock returns the current time in Unix seconds."""
    settings: Settings
    waiters: Waiters
    rate_limits: RateLimits
    open_storage: Callable[[str], Storage] = Storage
    """The function opens a store other than `storage`, by its fsspec URL."""
    download: Callable[..., None] = _download
    """The function fetches a public URL into a file; see shared/adapters/http_fetch.py."""

    def close(self) -> None:
        """Close all connections."""
        self.waiters.close()
        self.queue.close()
        self.database.close()


def build(settings: Settings) -> Container:
    """Build the container that the settings describe; each adapter connects when it is first used."""
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
