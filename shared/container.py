"""The container holds the adapters in one object; each process builds it once and passes it to every use-case.

Services import the types of adapters from this module only, and never import the adapters themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from shared.adapters import http_fetch
from shared.adapters.database.unit_of_work import Database, UnitOfWork
from shared.adapters.grouped_calls import GroupedCalls
from shared.adapters.lookups import Lookups
from shared.adapters.queue.pushes import Pushed
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import LOOKUPS, Waiters
from shared.adapters.rate_limits import RateLimits
from shared.adapters.storage import MarkerRecord, Storage, Writer
from shared.settings import Settings

__all__ = ["Container", "Pushed", "Storage", "UnitOfWork", "Writer", "build", "own_storage"]
V = TypeVar("V")
R = TypeVar("R")

_STORAGE = "storage"
"""The name of the key-value pair that is set once the storage has its marker."""


def _download(*about: Any, **bounds: Any) -> None:
    http_fetch.fetch_to(*about, **bounds)


def _call_back(*about: Any, **bounds: Any) -> tuple[int, str]:
    return http_fetch.post(*about, **bounds)


@dataclass(frozen=True)
class Container:
    """The container holds every adapter through which a use-case reaches the outside."""

    database: Database
    queue: Queue
    storage: Storage
    now: Callable[[], float]
    """The clock returns the current time in Unix seconds; it is the same on all machines, see queue/clock.py."""
    settings: Settings
    waiters: Waiters
    rate_limits: RateLimits
    lookups: Lookups = field(default_factory=Lookups)
    _groups: dict[Callable[..., Any], GroupedCalls[Any, Any]] = field(default_factory=dict, init=False, compare=False)
    open_storage: Callable[[str], Storage] = Storage
    """The function opens a store other than `storage`, by its fsspec URL."""
    download: Callable[..., None] = _download
    """The function fetches a public URL into a file; see shared/adapters/http_fetch.py."""
    call_back: Callable[..., tuple[int, str]] = _call_back
    """The function sends a callback to a public URL; it is `post` of shared/adapters/http_fetch.py."""

    def __post_init__(self) -> None:
        self.database.when_lookups_change = self._clear_lookups

    def _clear_lookups(self) -> None:
        """Forget what requests keep in memory, in this process and by event in the others."""
        self.lookups.clear()
        self.queue.events.publish([LOOKUPS])

    def grouped(
        self, run: Callable[[Container, Sequence[V]], Sequence[R | Exception | None]]
    ) -> GroupedCalls[V, R | None]:
        """Return the calls of that use-case, by which many requests are handled as one."""
        found = self._groups.get(run)
        # setdefault is atomic: of two threads that make it at once, both use the first.
        return found or self._groups.setdefault(run, GroupedCalls(partial(run, self)))

    def close(self) -> None:
        """Close all connections."""
        self.waiters.close()
        self.queue.close()
        self.database.close()


def _ended_among(database: Database, job_ids: Collection[str]) -> Collection[str]:
    """Return those of the jobs that have ended or are deleted."""
    with database.read() as uow:
        return set(job_ids) - {job.id for job in uow.jobs.live_among(job_ids)}


def build(settings: Settings) -> Container:
    """Build the container that the settings describe; each adapter connects when it is first used."""
    queue, lookups = Queue(settings), Lookups()
    database = Database(settings.database_url, durability=settings.durability)
    return Container(
        database=database,
        queue=queue,
        storage=own_storage(settings, database),
        now=queue.clock.now,
        settings=settings,
        waiters=Waiters(queue, lookups.clear, partial(_ended_among, database)),
        rate_limits=RateLimits(settings, circuit=queue.connection.circuit),
        lookups=lookups,
    )


def own_storage(settings: Settings, database: Database) -> Storage:
    """Return the storage of the installation; the database knows whether it has its marker."""

    def is_set() -> bool:
        with database.read() as uow:
            return bool(uow.key_values.get(_STORAGE))

    def set_it() -> None:
        with database.write() as uow:
            uow.key_values.set(_STORAGE, "marked")

    def expects_blobs() -> bool:
        with database.read() as uow:
            return uow.blobs.any()

    record = MarkerRecord(is_set, set_it, expects_blobs)
    return Storage(settings.storage_url, durability=settings.durability, record=record)
