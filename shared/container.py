"""The container holds the adapters in one object; each process builds it once and passes it to every use-case.

Services import the types of adapters from this module only, and never import the adapters themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from shared.adapters import http_fetch, pauses
from shared.adapters.absences import Absences
from shared.adapters.database.unit_of_work import CACHE_KIB, SMALL_CACHE_KIB, Database, UnitOfWork
from shared.adapters.grouped_calls import GroupedCalls
from shared.adapters.last_uses import LastUses
from shared.adapters.lookups import Lookups
from shared.adapters.pauses import Waiting
from shared.adapters.postponed_calls import PostponedCalls
from shared.adapters.queue.pushes import Pushed
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import LOOKUPS, Waiters
from shared.adapters.rate_limits import RateLimits
from shared.adapters.storage import MarkerRecord, Storage, Writer
from shared.adapters.tracing import Tracing
from shared.settings import Settings

__all__ = ["Container", "Pushed", "Storage", "UnitOfWork", "Waiting", "Writer", "build", "own_storage", "pauses"]
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
    last_uses: LastUses = field(default_factory=LastUses)
    absences: Absences = field(default_factory=Absences)
    tracing: Tracing = field(default_factory=Tracing)
    _groups: dict[Callable[..., Any], GroupedCalls[Any, Any]] = field(default_factory=dict, init=False, compare=False)
    _postponed: dict[Callable[..., Any], PostponedCalls[Any]] = field(default_factory=dict, init=False, compare=False)
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

    def postponed(self, run: Callable[[Container, Sequence[V]], None]) -> PostponedCalls[V]:
        """Return the calls of that use-case, which is run once for the values of some seconds."""
        found = self._postponed.get(run)
        return found or self._postponed.setdefault(run, PostponedCalls(partial(run, self)))

    def close(self) -> None:
        """Do what is postponed, and close all connections."""
        for calls in self._postponed.values():
            calls.close()
        self.waiters.close()
        self.queue.close()
        self.database.close()
        self.tracing.close()


def _ended_among(database: Database, job_ids: Collection[str]) -> Collection[str]:
    """Return those of the jobs that have ended or are deleted."""
    with database.read() as uow:
        return set(job_ids) - {job.id for job in uow.jobs.live_among(job_ids)}


def build(settings: Settings, *, is_small: bool = False) -> Container:
    """Build the container that the settings describe; each adapter connects when it is first used. One that `is_small`
    keeps less of an SQLite file in memory: for a process that looks at all of it, and that no caller waits for."""
    queue, lookups = Queue(settings), Lookups()
    cache_kib = SMALL_CACHE_KIB if is_small else CACHE_KIB
    database = Database(settings.database_url, durability=settings.durability, cache_kib=cache_kib)
    return Container(
        database=database,
        queue=queue,
        storage=own_storage(settings, database),
        now=queue.clock.now,
        settings=settings,
        waiters=Waiters(queue, lookups.clear, partial(_ended_among, database)),
        rate_limits=RateLimits(settings, circuit=queue.connection.circuit),
        lookups=lookups,
        tracing=start_tracing(settings, queue.clock.now),
    )


def start_tracing(settings: Settings, now: Callable[[], float]) -> Tracing:
    """Return the tracing that the settings ask for; `now` returns Unix seconds. Raises ValueError if its extra is not
    installed."""
    if not settings.otlp_endpoint:
        return Tracing()
    try:
        from shared.adapters.otlp import OtlpTracing
    except ImportError as error:
        raise ValueError(
            "INFERQ_OTLP_ENDPOINT needs the extra `tracing`, which is not installed: pip install '.[tracing]'"
        ) from error
    return OtlpTracing(settings, now)


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
