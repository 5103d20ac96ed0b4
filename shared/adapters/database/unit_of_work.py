"""The unit of work: one transaction with the queries of each noun; no other module sends SQL.

    with container.database.write() as uow:      one commit at the end of the block; an exception rolls back
        uow.jobs.add([(job, items)])
    with container.database.read() as uow:       changes nothing
        job = uow.jobs.find(tenant, job_id)

Every query takes the tenant first, except the queries of workers, which have ids from the queue.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Engine

from shared import errors
from shared.adapters.database.blobs import Blobs
from shared.adapters.database.comparisons import Comparisons
from shared.adapters.database.datasets import Datasets
from shared.adapters.database.dead_letters import DeadLetters
from shared.adapters.database.drift import Drift
from shared.adapters.database.history import History
from shared.adapters.database.items import Items
from shared.adapters.database.job_traces import JobTraces
from shared.adapters.database.jobs import Jobs
from shared.adapters.database.kept_bytes import KeptBytes
from shared.adapters.database.key_values import KeyValues
from shared.adapters.database.keys import Keys, KeyUses
from shared.adapters.database.model_aliases import ModelAliases
from shared.adapters.database.model_versions import ModelVersions, VersionLocks
from shared.adapters.database.promotions import Promotions
from shared.adapters.database.search_indexes import SearchIndexes
from shared.adapters.database.seen_pictures import SeenPictures
from shared.adapters.database.sqlite_write_lock import SqliteWriteLock
from shared.adapters.database.stored_images import StoredImages
from shared.adapters.database.tenant_limits import TenantLimits
from shared.adapters.database.tenant_usage import TenantUsage
from shared.adapters.database.trainings import Trainings
from shared.adapters.database.usage import Usage
from shared.adapters.database.webhook_deliveries import WebhookDeliveries, WebhookSecrets
from shared.domain.diagnosis import DatabaseFacts

LOOKED_UP = ("keys", "model_versions", "model_aliases", "key_values", "promotions", "tenant_limits")
"""The nouns of which requests keep rows in memory."""
CACHE_KIB, SMALL_CACHE_KIB = 8000, 1000
"""KiB of pages that a connection to SQLite keeps, and that one of a process keeps which no caller waits for."""
LOCK_TIMEOUT = 15.0
"""Seconds that a statement waits on PostgreSQL for a row that another transaction has locked, as on SQLite."""


class UnitOfWork:
    """All nouns on one connection, inside one transaction; each is made when it is first used."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self._connection)

    @cached_property
    def items(self) -> Items:
        return Items(self._connection)

    @cached_property
    def job_traces(self) -> JobTraces:
        return JobTraces(self._connection)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self._connection)

    @cached_property
    def webhook_deliveries(self) -> WebhookDeliveries:
        return WebhookDeliveries(self._connection)

    @cached_property
    def webhook_secrets(self) -> WebhookSecrets:
        return WebhookSecrets(self._connection)

    @cached_property
    def stored_images(self) -> StoredImages:
        return StoredImages(self._connection)

    @cached_property
    def model_versions(self) -> ModelVersions:
        return ModelVersions(self._connection)

    @cached_property
    def version_locks(self) -> VersionLocks:
        return VersionLocks(self._connection)

    @cached_property
    def model_aliases(self) -> ModelAliases:
        return ModelAliases(self._connection)

    @cached_property
    def promotions(self) -> Promotions:
        return Promotions(self._connection)

    @cached_property
    def datasets(self) -> Datasets:
        return Datasets(self._connection)

    @cached_property
    def trainings(self) -> Trainings:
        return Trainings(self._connection)

    @cached_property
    def comparisons(self) -> Comparisons:
        return Comparisons(self._connection)

    @cached_property
    def search_indexes(self) -> SearchIndexes:
        return SearchIndexes(self._connection)

    @cached_property
    def seen_pictures(self) -> SeenPictures:
        return SeenPictures(self._connection)

    @cached_property
    def drift(self) -> Drift:
        return Drift(self._connection)

    @cached_property
    def keys(self) -> Keys:
        return Keys(self._connection)

    @cached_property
    def key_uses(self) -> KeyUses:
        return KeyUses(self._connection)

    @cached_property
    def tenant_limits(self) -> TenantLimits:
        return TenantLimits(self._connection)

    @cached_property
    def tenant_usage(self) -> TenantUsage:
        return TenantUsage(self._connection)

    @cached_property
    def kept_bytes(self) -> KeptBytes:
        return KeptBytes(self._connection)

    @cached_property
    def usage(self) -> Usage:
        return Usage(self._connection)

    @cached_property
    def history(self) -> History:
        return History(self._connection)

    @cached_property
    def blobs(self) -> Blobs:
        return Blobs(self._connection)

    @cached_property
    def key_values(self) -> KeyValues:
        return KeyValues(self._connection)

    def has_used(self, nouns: Collection[str]) -> bool:
        """Return True if any of these nouns was used."""
        return not self.__dict__.keys().isdisjoint(nouns)


class Database:
    """The database behind a SQLAlchemy URL: SQLite (WAL) or PostgreSQL."""

    def __init__(self, url: str, *, durability: str = "process", cache_kib: int = CACHE_KIB) -> None:
        """`durability` is the setting of that name, `cache_kib` the most that a connection to SQLite keeps of the
        file."""
        self.url = url
        self._is_file = url.startswith("sqlite")
        self.engine = _sqlite(url, durability, cache_kib) if self._is_file else _server(url, durability)
        self.when_lookups_change: Callable[[], None] = lambda: None
        """Called after each commit that may have changed what requests keep in memory, see lookups.py."""
        self._write_lock = SqliteWriteLock(f"{self.engine.url.database}.turn") if self._is_file else nullcontext()

    @contextmanager
    def write(self) -> Iterator[UnitOfWork]:
        """Begin a transaction that is committed at the end of the block; raises Unavailable when the database is
        unreachable."""
        with _reachable(), self._write_lock, self.engine.begin() as connection:
            if self._is_file:
                # SQLite has a single writer at a time. A transaction that begins by reading and writes later fails at
                # once with "database is locked" if another transaction wrote in between; BEGIN IMMEDIATE waits instead.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            uow = UnitOfWork(connection)
            yield uow
        if uow.has_used(LOOKED_UP):
            self.when_lookups_change()

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """Open a connection for reading; each query sees what is committed by then.

        Raises Unavailable when the database is unreachable.
        """
        with _reachable(), self.engine.connect() as connection:
            yield UnitOfWork(connection)

    def checkpoint(self) -> None:
        """Copy SQLite's write-ahead log into its file without blocking other connections; does nothing on a server."""
        if self._is_file:
            with _reachable(), self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def ping(self) -> None:
        """Raise Unavailable when the database does not answer."""
        with _reachable(), self.engine.connect() as connection:
            connection.execute(sa.select(1))

    def facts(self, now: Callable[[], float]) -> DatabaseFacts:
        """Return what the database tells of itself; `now` returns the shared time in Unix seconds."""
        with _reachable(), self.engine.connect() as connection:
            connection.execute(sa.select(1))  # the connection may be new
            began = time.monotonic()
            connection.execute(sa.select(1))
            seconds = time.monotonic() - began
            if self._is_file:
                free = shutil.disk_usage(Path(str(self.engine.url.database)).parent).free
                return DatabaseFacts(f"SQLite {sqlite3.sqlite_version}", seconds, slowest=0.0, ahead=0.0, free=free)
            version, slowest, own_time = connection.execute(sa.text(_POSTGRES_FACTS)).one()
            return DatabaseFacts(f"PostgreSQL {version}", seconds, float(slowest), float(own_time) - now())

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


_POSTGRES_FACTS = """
SELECT current_setting('server_version'),
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND state = 'active' AND pid <> pg_backend_pid()),
       extract(epoch FROM clock_timestamp())
"""
"""The version, the seconds of the oldest query of this user in this database, and the time of the server."""


@contextmanager
def _reachable() -> Iterator[None]:
    """Raise errors of the domain in place of SQLAlchemy's."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        # A server that ended the connection over its disk may have committed all the same.
        if errors.is_disk_full(error) and not getattr(error, "connection_invalidated", False):
            raise errors.StorageFull("The disk of the database is full; make room on it.") from error
        raise errors.Unavailable("The database does not answer; try again soon.") from error
    except exc.IntegrityError as error:
        raise errors.Conflict("Another request has just done the same; look at what there is now.") from error
    except (exc.DataError, OverflowError, UnicodeEncodeError) as error:
        # NUL in PostgreSQL; an unpaired surrogate or a number of more than 64 bits in SQLite.
        raise errors.BadRequest("A value holds characters or a number that cannot be stored.") from error


def _server(url: str, durability: str) -> Engine:
    url = url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+psycopg://", 1)
    # tcp_user_timeout is in milliseconds. Without it, a request waits for minutes for a server that has vanished.
    limits = {"connect_timeout": 3, "tcp_user_timeout": 10_000}
    engine = sa.create_engine(
        url, pool_size=8, max_overflow=40, pool_timeout=5, pool_pre_ping=True, connect_args=limits
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # A statement, since connection poolers refuse options at the start of a connection.
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT:g}s'")
            if durability == "power":
                # Only if it is off: `remote_apply` waits for more.
                cursor.execute(
                    "SELECT set_config(name, 'on', false) FROM pg_settings "
                    "WHERE name = 'synchronous_commit' AND setting = 'off'"
                )
        connection.commit()

    return engine


def _sqlite(url: str, durability: str, cache_kib: int) -> Engine:
    # One connection per active thread, kept open: connecting and setting the pragmas takes longer than a small query.
    # The one that was used last is used next: in turn, each of them would fill its cache with the same pages.
    engine = sa.create_engine(
        url, poolclass=sa.QueuePool, pool_size=8, max_overflow=60, pool_timeout=10, pool_use_lifo=True,
        connect_args={"timeout": 15, "check_same_thread": False},
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # No implicit transactions: a query needs none, and `write` begins its own. A listener for SQLAlchemy's `begin`
        # event was rejected: an engine with such a listener runs every statement by a slower path.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            # NORMAL loses nothing if a process is killed; a power cut can lose the last commits, but not integrity.
            f"synchronous={'FULL' if durability == 'power' else 'NORMAL'}",
            "foreign_keys=ON",
            "busy_timeout=15000",
            f"cache_size=-{cache_kib}",
            # Maintenance copies the log into the file. A writer does so only if maintenance has not run for long: it
            # would wait for the disk twice while all other writers wait for it.
            "wal_autocheckpoint=20000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine
