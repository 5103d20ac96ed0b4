"""The faults: each is a block in which something is broken, and mended again at its end."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import psycopg

from bench.chaos import ways
from bench.chaos.journal import POISON, Journal
from bench.chaos.load import Load
from bench.chaos.system import MARK, System
from bench.chaos.ways import Caller


@dataclass(frozen=True)
class Scene:
    """What a fault may use: the installation, the load on it, and the dice of the run."""

    system: System
    load: Load
    chance: random.Random

    @property
    def journal(self) -> Journal:
        """What was sent so far."""
        return self.load.journal


Inject = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    name: str
    seconds: float
    """How long it lasts; 0 if it is over at once."""
    inject: Inject
    why_not: Callable[[System], str] = lambda _: ""
    """Returns why it cannot be injected here, empty if it can."""
    by_name_only: bool = False
    """True for a fault that must lead to a loss; it shows that losses are seen."""


# processes


@contextmanager
def killed(scene: Scene, kind: str) -> Iterator[None]:
    """Kill one process of a kind; the supervisor starts it again."""
    scene.system.signal(scene.system.some(kind, scene.chance), signal.SIGKILL)
    yield


@contextmanager
def stopped(scene: Scene, kind: str) -> Iterator[None]:
    """Stop one process of a kind and let it go on at the end, as a machine that swaps or a paused virtual machine."""
    part = scene.system.some(kind, scene.chance)
    scene.system.signal(part, signal.SIGSTOP)
    try:
        yield
    finally:
        scene.system.signal(part, signal.SIGCONT)


# Redis


@contextmanager
def flushed(scene: Scene) -> Iterator[None]:
    """Empty Redis while it runs."""
    scene.system.command_redis("FLUSHALL")
    yield


@contextmanager
def restarted(scene: Scene, *, keeps: bool) -> Iterator[None]:
    """Kill Redis; it comes back with what it had written, or with nothing."""
    if not keeps:
        files = scene.system.own_redis_files()
        files.rename(files.with_name(f"gone-{time.monotonic_ns()}"))
    scene.system.signal("valkey", signal.SIGKILL)
    yield


@contextmanager
def redis_frozen(scene: Scene) -> Iterator[None]:
    """Let Redis take connections and answer nothing."""
    scene.system.redis.freeze()
    try:
        yield
    finally:
        scene.system.redis.thaw()


@contextmanager
def redis_away(scene: Scene) -> Iterator[None]:
    """Break all connections to Redis and refuse others."""
    scene.system.redis.vanish()
    try:
        yield
    finally:
        scene.system.redis.appear()


@contextmanager
def redis_full(scene: Scene) -> Iterator[None]:
    """Let Redis refuse whatever needs memory."""
    before = scene.system.command_redis("CONFIG GET maxmemory").split()[-2]
    scene.system.command_redis("CONFIG SET maxmemory 1")
    try:
        yield
    finally:
        scene.system.command_redis(f"CONFIG SET maxmemory {before}")


# the database


@contextmanager
def database_frozen(scene: Scene) -> Iterator[None]:
    """Let PostgreSQL take connections and answer nothing."""
    assert scene.system.database
    scene.system.database.freeze()
    try:
        yield
    finally:
        scene.system.database.thaw()


@contextmanager
def database_away(scene: Scene) -> Iterator[None]:
    """Break all connections to PostgreSQL and refuse others."""
    assert scene.system.database
    scene.system.database.vanish()
    try:
        yield
    finally:
        scene.system.database.appear()


@contextmanager
def connections_ended(scene: Scene) -> Iterator[None]:
    """Let PostgreSQL itself end every connection of the service, as at its restart."""
    url = scene.system.database_url
    with psycopg.connect(url, autocommit=True) as server:
        mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        server.execute(mine, [urlsplit(url).path.strip("/")])
    yield


@contextmanager
def sqlite_locked(scene: Scene) -> Iterator[None]:
    """Hold the lock of SQLite, so that nothing can be written."""
    with contextlib.closing(sqlite3.connect(scene.system.sqlite, timeout=30, isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        yield
        held.execute("ROLLBACK")


# files


@contextmanager
def storage_away(scene: Scene) -> Iterator[None]:
    """Take the folder of blobs away; a file in its place keeps the service from making another."""
    folder = scene.system.blobs
    away = folder.with_name("blobs-away")
    folder.rename(away)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


@contextmanager
def disk_full(scene: Scene) -> Iterator[None]:
    """Fill the small file system on which blobs and SQLite are."""
    ballast = scene.system.disk / "ballast"
    block = bytes(64 * 1024)
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(block):
            pass
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


# the clock


@contextmanager
def clock_wrong(scene: Scene, seconds: float) -> Iterator[None]:
    """Let the clocks of all parts jump, and jump back at the end."""
    scene.system.set_clock(seconds)
    try:
        yield
    finally:
        scene.system.set_clock(0.0)


# callers


@contextmanager
def poison(scene: Scene) -> Iterator[None]:
    """Send an archive with a picture that kills every worker that opens it, and wait for its end."""
    request = scene.journal.begin("native, poison", ("3", POISON, "7"))
    caller = Caller(scene.system.urls)
    ways.send(caller, request, partial(ways.poisoned, mark=MARK.encode()), scene.journal.now)
    caller.close()
    yield


@contextmanager
def silent_receiver(scene: Scene) -> Iterator[None]:
    """Submit jobs whose receiver takes the callback and does not answer until the end; then it does."""
    receiver = scene.system.receiver
    url = receiver.url("/moody")
    way = partial(ways.polled, webhook=url)
    receiver.speaks.clear()
    try:
        with contextlib.closing(Caller(scene.system.urls)) as caller:
            for _ in range(3):
                scene.load.once(caller, "native, silent receiver", way, callback=url)
        yield
    finally:
        receiver.speaks.set()


@contextmanager
def bad_callers(scene: Scene, *, count: int = 20) -> Iterator[None]:
    """Keep slow callers connected, who send a byte now and then, and let others vanish before their answer."""
    body = ways.sample(7)
    head = (
        f"POST /v1/classify?model={ways.MODEL} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    with ExitStack() as connections:
        slow = [connections.enter_context(_connected(scene.chance.choice(scene.system.urls))) for _ in range(count)]
        for connection in slow:
            connection.sendall(head + body[:10])
        for _ in range(count):
            with _connected(scene.chance.choice(scene.system.urls)) as connection:
                connection.sendall(head + body)
                # Closed with a reset instead of a farewell.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        yield
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.sendall(body[10:20])


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10)


# the check of the check


@contextmanager
def job_dropped(scene: Scene) -> Iterator[None]:
    """Delete an accepted job from the database behind the service's back."""
    job_id = next(r.job_id for r in reversed(scene.journal.requests) if r.job_id and r.is_right)
    statements = f"DELETE FROM items WHERE job_id = '{job_id}'", f"DELETE FROM jobs WHERE id = '{job_id}'"
    if scene.system.database_url:
        with psycopg.connect(scene.system.database_url, autocommit=True) as server:
            for statement in statements:
                server.execute(statement.encode())
    else:
        with contextlib.closing(sqlite3.connect(scene.system.sqlite, timeout=30, isolation_level=None)) as file:
            for statement in statements:
                file.execute(statement)
    yield


def needs_own_redis(system: System) -> str:
    """Return why a fault of the process of Redis is left out."""
    return "" if system.redis_is_own else "the Redis of --redis is not started by chaos"


def needs_postgres(system: System) -> str:
    """Return why a fault of PostgreSQL is left out."""
    return "" if system.database else "the database is SQLite; --database names a PostgreSQL"


def needs_sqlite(system: System) -> str:
    """Return why a fault of SQLite is left out."""
    return "the database is PostgreSQL" if system.database else ""


def needs_small_disk(system: System) -> str:
    """Return why a full disk is left out."""
    return "" if system.disk_is_small else "this user may not mount a small file system"


SINGLE = (
    Fault("API killed", 0, partial(killed, kind="api")),
    Fault("worker killed", 0, partial(killed, kind="worker")),
    Fault("maintenance killed", 0, partial(killed, kind="maintenance")),
    Fault("API stopped", 8, partial(stopped, kind="api")),
    Fault("worker stopped", 10, partial(stopped, kind="worker")),
    Fault("maintenance stopped", 8, partial(stopped, kind="maintenance")),
    Fault("Redis flushed", 0, flushed),
    Fault("Redis restarted", 0, partial(restarted, keeps=True), needs_own_redis),
    Fault("Redis restarted empty", 0, partial(restarted, keeps=False), needs_own_redis),
    Fault("Redis frozen", 8, redis_frozen),
    Fault("Redis away", 20, redis_away),
    Fault("Redis full", 10, redis_full),
    Fault("PostgreSQL frozen", 8, database_frozen, needs_postgres),
    Fault("PostgreSQL away", 20, database_away, needs_postgres),
    Fault("PostgreSQL ends connections", 0, connections_ended, needs_postgres),
    Fault("SQLite locked", 10, sqlite_locked, needs_sqlite),
    Fault("storage away", 8, storage_away),
    Fault("disk full", 8, disk_full, needs_small_disk),
    Fault("clock ahead", 8, partial(clock_wrong, seconds=60.0)),
    Fault("clock behind", 8, partial(clock_wrong, seconds=-60.0)),
    Fault("poison picture", 0, poison),
    Fault("silent receiver", 8, silent_receiver),
    Fault("slow and vanishing callers", 8, bad_callers),
    Fault("job dropped", 0, job_dropped, by_name_only=True),
)
_TOGETHER = (
    ("worker killed", "Redis flushed"),
    ("API killed", "worker stopped"),
    ("maintenance killed", "Redis away"),
    ("worker killed", "SQLite locked"),
    ("worker stopped", "PostgreSQL away"),
    ("API killed", "storage away"),
)
"""Names of two faults that are injected at once."""


def _both(first: Fault, second: Fault) -> Fault:
    @contextmanager
    def inject(scene: Scene) -> Iterator[None]:
        with first.inject(scene), second.inject(scene):
            yield

    def why_not(system: System) -> str:
        return first.why_not(system) or second.why_not(system)

    return Fault(f"{first.name} + {second.name}", max(first.seconds, second.seconds), inject, why_not)


_BY_NAME = {fault.name: fault for fault in SINGLE}
FAULTS = {fault.name: fault for fault in (*SINGLE, *(_both(_BY_NAME[a], _BY_NAME[b]) for a, b in _TOGETHER))}
"""Name -> fault."""
