"""The installation under test: two API processes, three workers, maintenance, and stores behind proxies."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import struct
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from bench import measure, service
from bench.chaos import inside
from bench.chaos.proxy import Proxy
from bench.chaos.receiver import Receiver
from inferq.errors import CannotStart, InferqError
from inferq.stack import stack, valkey
from inferq.stack.supervisor import Supervisor

WORKERS = 3
MARK = "this one kills"
"""What a picture ends with that kills its worker."""


class System:
    """The running installation, and what a fault may do to it."""

    def __init__(self, plan: stack.Plan, supervisor: Supervisor, redis: str = "", database: str = "") -> None:
        """`redis` and `database` are URLs of servers to use instead of an own Valkey and SQLite; raises CannotStart."""
        self._supervisor = supervisor
        self.redis_url = redis or plan.redis_url
        """The address of Redis itself, not that of its proxy."""
        self.database_url = database
        """The address of PostgreSQL itself; empty for SQLite."""
        self.redis_is_own = not redis
        self.disk = plan.data / "disk"
        """The folder of database and blobs."""
        self.disk_is_small = False
        """True if the folder is a file system of its own, which may be filled."""
        self.redis = make_proxy(self.redis_url)
        self.database = make_proxy(database) if database else None
        self.receiver = Receiver()
        self._data = plan.data
        self.disk.mkdir(parents=True, exist_ok=True)
        self._clock = _clock_file(plan.data / "clock")
        self._plan = service.changed(plan, self._environment())
        if redis:
            check_redis(redis)
            self._plan = replace(self._plan, valkey=None, redis_url=redis)
        port = stack.free_port()
        first, second = self._plan.api, {"INFERQ_PORT": str(port)}
        self._second = replace(first, name="api-2", env={**first.env, **second}, log=first.log.with_name("api-2.log"))
        self.urls = [plan.url, f"http://127.0.0.1:{port}"]

    def start(self) -> None:
        """Start all parts and wait until both API processes answer; raises StartFailed, CannotStart, KeyboardInterrupt.

        To be called in the main thread, since the parts end with the thread that started them.
        """
        stack.start(self._plan, self._supervisor, lambda *_: None)
        self._supervisor.start(self._second, beside=self._plan.api)
        if not self._supervisor.watch(lambda: all(map(_is_ready, self.urls)), stack.START_LIMIT):
            raise KeyboardInterrupt if self._supervisor.stopping else InferqError("the second API is not ready")

    @property
    def sqlite(self) -> Path:
        """The file of the database, if it is SQLite."""
        return self.disk / "inferq.db"

    @property
    def blobs(self) -> Path:
        """The folder of the storage."""
        return self.disk / "blobs"

    def some(self, kind: str, chance: random.Random) -> str:
        """Return the name of one running part of a kind: `api`, `worker`, `maintenance` or `valkey`."""
        return chance.choice(sorted(name for name in self._supervisor.pids() if name.startswith(kind)))

    def signal(self, part: str, number: signal.Signals) -> None:
        """Send a signal to a part and its child processes; nothing if it is just being started again."""
        pid = self._supervisor.pids().get(part)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def set_clock(self, seconds: float) -> None:
        """Make the clocks of all parts wrong by so many seconds."""
        struct.pack_into("d", self._clock, 0, seconds)

    def command_redis(self, command: str) -> str:
        """Send an inline command to Redis itself and return its reply; raises OSError if it refuses."""
        reply = measure.redis(self.redis_url, command)
        if "\n-" in f"\n{reply}":
            raise OSError(f"Redis refuses {command.split(maxsplit=1)[0]}: {reply.strip()}")
        return reply

    def redis_answers(self) -> bool:
        """Return True if Redis itself answers."""
        return valkey.is_ready(self.redis_url)

    def own_redis_files(self) -> Path:
        """Return the folder in which the own Valkey keeps its data."""
        return self._data / "redis" / "appendonlydir"

    def _environment(self) -> dict[str, str]:
        paths = [str(Path(inside.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH", "")])]
        database = f"sqlite:///{self.sqlite}"
        if self.database:
            database = _through(self.database, urlsplit(self.database_url), "postgresql+psycopg")
        return {
            "DATABASE_URL": database,
            "REDIS_URL": _through(self.redis, urlsplit(self.redis_url)),
            "STORAGE_URL": f"file://{self.blobs}",
            "PYTHONPATH": os.pathsep.join(paths),
            "INFERQ_BENCH_CLOCK": str(self._data / "clock"),
            "INFERQ_BENCH_POISON": MARK,
            "INFERQ_WEBHOOK_PRIVATE": "true",
            "INFERQ_IMG_LIVE_RATE": "off",
            "INFERQ_WEIGHTS_URL": "http://127.0.0.1:9",  # nothing is fetched from elsewhere
        }


def make_proxy(url: str) -> Proxy:
    """Return a proxy before the server of a URL; raises CannotStart."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("redis", "postgresql"):
        raise CannotStart(f"a server is named by redis://HOST:PORT/0 or postgresql://USER@HOST:PORT/NAME, not {url!r}")
    return Proxy(parts.hostname, parts.port or {"redis": 6379, "postgresql": 5432}[parts.scheme])


def _through(proxy: Proxy, parts: SplitResult, scheme: str = "") -> str:
    """Return a URL with the address of the proxy in place of the server's."""
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(scheme=scheme or parts.scheme, netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl()


def check_redis(url: str) -> None:
    """Raise CannotStart unless the given server answers and holds nothing: it is going to be emptied."""
    try:
        held = measure.redis(url, "INFO keyspace")
    except OSError as error:
        raise CannotStart(f"no Redis answers at {url}: {error}") from error
    if "\ndb" in held:
        raise CannotStart("the Redis of --redis holds keys, and chaos empties it; name a server that holds none")


def _clock_file(path: Path) -> mmap.mmap:
    path.write_bytes(struct.pack("d", 0.0))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def _is_ready(url: str) -> bool:
    return stack.status(f"{url}/readyz") == 200
