"""The batch queue on Redis Streams, and the bell that Celery rings; the only file that knows Redis.

    push ──XADD──> lane ──XREADGROUP──> claim ──> run ──> finish (SQL) ──XACK, XDEL──> gone
                    │                     └─ lease: idle time of the pending entry, renewed while it is held
                    └─ version:priority:tenant, one stream each

A **bell** is a Celery task naming a version. Its key says "somebody has been told, or is watching": it is set by
whoever rings, taken away by the drain that answers, and held by a drain that watches an emptied stream. So an idle
system rings once per request, a busy one hardly ever, and a key that outlives its owner lapses by itself.

A lapsed entry is found with XPENDING IDLE and taken with XCLAIM, one at a time. XAUTOCLAIM does both in one call but
looks at only ten pending entries for each one asked for, does not tell the delivery count, and taking many at once
would count a death against pictures that had no part in it.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery
from kombu.entity import Exchange
from kombu.entity import Queue as CeleryQueue
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared import errors
from shared.settings import Settings

log = logging.getLogger(__name__)

GROUP = "workers"
BELL_SECONDS = 5.0
MESSAGE_SECONDS = 60.0
"""A Celery message that nobody heard for so long is dropped: the sweep has sent others. Clocks may differ by less."""
PRIORITIES = ("high", "normal", "low")
BELLS = "bells"
"""The Celery queue of those who run models."""
HOUSE = "house"
"""The Celery queue of the housekeeper."""
_ROUTES = {"drain": BELLS, "check": BELLS, "sweep": HOUSE, "deliver": HOUSE}


@dataclass(frozen=True)
class Entry:
    """One picture on its way: what a worker needs to run it without reading SQL first."""

    job_id: str
    position: int
    blob: str
    offset: int
    size: int
    task: str
    top_k: int
    function_to_apply: str
    exif: bool
    remember: bool = False
    id: str = ""
    """Of the stream entry; empty until it is claimed."""
    lane: str = ""
    attempts: int = 1
    """How often it was delivered, this time included."""

    def pack(self) -> dict[str, str]:
        """One field of JSON: a stream keeps field names once but every value, and this is the shortest plain text.

        What came later has fields of its own, which workers of an older version do not look at: while a fleet is
        being upgraded, one that could not read an entry would let it pass for a picture that kills.
        """
        where = (self.job_id, self.position, self.blob, self.offset, self.size)
        what = (self.task, self.top_k, self.function_to_apply, int(self.exif))
        return {"e": json.dumps(where + what, separators=(",", ":"))} | ({"r": "1"} if self.remember else {})

    @classmethod
    def unpack(cls, fields: Mapping[str, str], entry_id: str, lane: str, attempts: int = 1) -> Entry:
        job_id, position, blob, offset, size, task, top_k, function, exif = json.loads(fields["e"])
        return cls(job_id, position, blob, offset, size, task, top_k, function, bool(exif), "r" in fields, entry_id,
                   lane, attempts)  # fmt: skip

    @property
    def tenant(self) -> str:
        """Whose picture it is, as its lane says."""
        return self.lane.rpartition(":")[2]


@dataclass(frozen=True)
class Depth:
    """How much of one version waits in one priority."""

    version_id: str
    priority: str
    tenant: str
    waiting: int
    running: int
    oldest: float | None
    """Unix seconds at which the oldest entry was pushed."""


def celery_app(settings: Settings) -> Celery:
    """Celery as a doorbell: no results, no retries, early acknowledgement, since SQL and the sweep make it safe."""
    app = Celery("inferq", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        broker_transport_options={
            "global_keyprefix": settings.broker_prefix,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": True,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # The nameless exchange routes by queue name alone. A named one keeps its bindings in Redis, and after a
        # FLUSHALL every bell would be dropped without a word until all workers were restarted.
        task_queues=[CeleryQueue(name, Exchange(""), routing_key=name) for name in (BELLS, HOUSE)],  # type: ignore[no-untyped-call]
        task_default_queue=HOUSE,
        task_default_exchange="",
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        # A bell taken early and kept behind a running drain is a bell that no idle worker hears.
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


class Queue:
    """All that is kept in Redis. Every method raises Unavailable when Redis is away."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """`client` is given by tests; a stack builds its own from the settings."""
        self._settings = settings
        # Any, because redis-py types every answer as a union of all that any protocol version may return.
        # Protocol 2, because 3 nests the answer of XREADGROUP differently for no gain.
        self._redis: Any = client or redis.Redis.from_url(
            settings.redis_url, protocol=2, decode_responses=True, socket_timeout=2, socket_connect_timeout=2,
            # One more try at once, for a connection that the server has closed meanwhile. Redis-py's own three tries
            # with growing pauses would keep a caller waiting for seconds who can be told 503 now.
            retry=Retry(NoBackoff(), 1),
        )  # fmt: skip
        self._prefix = settings.prefix
        self._celery: Celery | None = None
        self._celery_lock = threading.Lock()
        self._groups: set[str] = set()

    # -- the way in

    def ping(self) -> None:
        with _answering():
            self._redis.ping()

    def held(self, version_id: str, tenant: str) -> int:
        """Pictures of the tenant, for that version, that are not done with."""
        with _answering(), self._redis.pipeline(transaction=False) as pipe:
            for priority in PRIORITIES:
                pipe.xlen(self._lane(version_id, priority, tenant))
            return sum(pipe.execute())

    def push(self, version_id: str, priority: str, tenant: str, entries: Sequence[Entry]) -> None:
        """Append to the lane and ring, unless somebody has been told already."""
        lane = self._lane(version_id, priority, tenant)
        for start in range(0, len(entries), 2000):
            # One transaction with the bell's key as its last command. A drain that watches wakes on the entries and
            # gives the key back; between the two it would find itself rung for what it has in its hands already.
            with _answering(), self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(self._key("versions"), version_id)
                pipe.sadd(self._key("lanes", version_id), f"{priority}:{tenant}")
                for entry in entries[start : start + 2000]:
                    pipe.xadd(lane, entry.pack())
                self._set_bell(pipe, version_id)
                first = pipe.execute()[-1]
            self._ring_out(version_id, bool(first))

    def ring(self, version_id: str) -> None:
        """Tell one worker that there is something to do."""
        with _answering():
            first = self._set_bell(self._redis, version_id)
        self._ring_out(version_id, bool(first))

    def _set_bell(self, client: Any, version_id: str) -> Any:
        return client.set(self._key("bell", version_id), "rung", nx=True, px=int(BELL_SECONDS * 1000))

    def _ring_out(self, version_id: str, first: bool) -> None:
        if first and not self.call("drain", version_id):
            self.answer(version_id)

    def call(self, task: str, *arguments: str) -> bool:
        """Send a Celery task; False when it could not be sent, which the sweep makes good."""
        with self._celery_lock:
            if self._celery is None:
                self._celery = celery_app(self._settings)
        try:
            self._celery.send_task(task, arguments, queue=_ROUTES[task], retry=False, expires=MESSAGE_SECONDS)
        except (OperationalError, redis.RedisError, OSError) as error:
            log.warning("could not send %s%s: %s", task, arguments, error)
            return False
        return True

    # -- the worker's side

    def answer(self, version_id: str) -> None:
        """The bell was heard; from now on a new picture rings again."""
        with _answering():
            self._redis.delete(self._key("bell", version_id))

    def claim(self, version_id: str, consumer: str, count: int) -> list[Entry]:
        """Up to `count` entries: by priority, and within one priority the same share for every tenant."""
        lanes = self._lanes(version_id)
        entries: list[Entry] = []
        for priority in PRIORITIES:
            open_lanes = [self._lane(version_id, priority, tenant) for tenant in lanes.get(priority, ())]
            random.shuffle(open_lanes)  # who is served when there are more tenants than places
            while open_lanes and (room := count - len(entries)) > 0:
                asked, later = open_lanes[:room], open_lanes[room:]
                share = room // len(asked)
                found = self._read(asked, consumer, share)
                entries += found
                full = {lane for lane in asked if sum(entry.lane == lane for entry in found) == share}
                open_lanes = [lane for lane in asked if lane in full] + later
        return entries

    def watch(self, version_id: str, consumer: str, count: int, seconds: float) -> list[Entry]:
        """Wait for something to arrive while holding the bell, so that nobody needs to ring.

        Gives up early, with nothing, when another bell waits for a worker. Looks up every 50 ms.
        """
        until = time.monotonic() + seconds
        with _answering():
            self._redis.set(self._key("bell", version_id), consumer, px=int((seconds + 0.5) * 1000))
        try:
            while (left := until - time.monotonic()) > 0:
                lanes = self._all_lanes(version_id)
                if not lanes:
                    return []
                if found := self._read(lanes, consumer, count, block=max(1, min(50, int(left * 1000)))):
                    return found
                if self._bells_waiting():
                    return []
            return []
        finally:
            self.answer(version_id)

    def claim_lapsed(self, version_id: str, consumer: str) -> Entry | None:
        """One entry whose worker has been silent for longer than the lease."""
        lease = int(self._settings.lease * 1000)
        for lane in self._all_lanes(version_id):
            with self._grouped([lane]):
                for held in self._redis.xpending_range(lane, GROUP, min="-", max="+", count=1, idle=lease):
                    for found_id, fields in self._redis.xclaim(lane, GROUP, consumer, lease, [held["message_id"]]):
                        return Entry.unpack(fields, found_id, lane, attempts=held["times_delivered"] + 1)
        return None

    def renew(self, consumer: str, entries: Iterable[Entry]) -> None:
        """Start the lease of held entries anew; JUSTID leaves their delivery count alone."""
        for lane, ids in _by_lane(entries).items():
            with self._grouped([lane]):
                self._redis.xclaim(lane, GROUP, consumer, 0, ids, justid=True)

    def acknowledge(self, entries: Iterable[Entry]) -> None:
        """They are done with, in whatever way; a stream then holds only what is not.

        Both at once: an entry acknowledged and not deleted would be counted for ever and delivered to nobody.
        """
        with _answering(), self._redis.pipeline(transaction=True) as pipe:
            for lane, ids in _by_lane(entries).items():
                pipe.xack(lane, GROUP, *ids)
                pipe.xdel(lane, *ids)
            pipe.execute()

    def backlog(self, version_id: str) -> bool:
        """Whether something waits that no worker has claimed."""
        return any(depth.waiting > 0 for depth in self.depths([version_id]))

    # -- announcements

    def announce(self, ended: Collection[str], moved: Collection[str] = ()) -> None:
        """Say which jobs have ended or made progress. Only a hint, so a Redis that is away is not an error here."""
        try:
            self._redis.publish(self._key("moved"), json.dumps([*ended, *moved]))
        except redis.RedisError as error:
            log.warning("could not announce %d jobs: %s", len(ended), error)

    def announcements(self, closed: threading.Event) -> Iterator[list[str]]:
        """Ids of jobs that have moved, as they are announced, until `closed` is set."""
        with _answering(), self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(self._key("moved"))
            while not closed.is_set():
                message = channel.get_message(timeout=1.0)
                if message:
                    yield json.loads(message["data"])

    # -- the slots of the result cache

    def put(self, slots: Mapping[str, str], seconds: float) -> None:
        """Put texts into slots, for so long or until others take their place."""
        with _answering(), self._redis.pipeline(transaction=False) as pipe:
            for slot, text in slots.items():
                pipe.set(self._key("cache", slot), text, px=int(seconds * 1000))
            pipe.execute()

    def look_up(self, slot: str) -> str | None:
        """What is in a slot."""
        with _answering():
            found: str | None = self._redis.get(self._key("cache", slot))
        return found

    # -- the fleet

    def beat(self, worker_id: str, about: Mapping[str, Any], seconds: float) -> None:
        """A worker says that it lives; it is forgotten `seconds` after its last word."""
        with _answering(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(self._key("workers"), {worker_id: time.time() + seconds})
            pipe.hset(self._key("workers", "about"), worker_id, json.dumps(about))
            pipe.execute()

    def leave(self, worker_id: str) -> None:
        with _answering(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(self._key("workers"), worker_id)
            pipe.hdel(self._key("workers", "about"), worker_id)
            pipe.execute()

    def workers(self) -> list[dict[str, Any]]:
        """What every living worker said last, with its `id`."""
        with _answering():
            living = set(self._redis.zrangebyscore(self._key("workers"), time.time(), "+inf"))
            about: dict[str, str] = self._redis.hgetall(self._key("workers", "about"))
            gone = [name for name in about if name not in living]
            if gone:
                self._redis.hdel(self._key("workers", "about"), *gone)
                self._redis.zremrangebyscore(self._key("workers"), "-inf", time.time() - 3600)
        return [
            {"id": name, **json.loads(text)} for name, text in sorted(about.items()) if name in living
        ]

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew a named lock; False when somebody else holds it."""
        key = self._key("lock", name)
        with _answering():
            if self._redis.set(key, owner, nx=True, px=int(seconds * 1000)):
                return True
            if self._redis.get(key) != owner:
                return False
            return bool(self._redis.pexpire(key, int(seconds * 1000)))

    def locked(self, name: str) -> bool:
        with _answering():
            return bool(self._redis.exists(self._key("lock", name)))

    def unlock(self, name: str, owner: str) -> None:
        """Give a lock back, unless it has lapsed and is somebody else's by now."""
        key = self._key("lock", name)
        with _answering():
            if self._redis.get(key) == owner:
                self._redis.delete(key)

    # -- for the sweep and for people

    def version_ids(self) -> list[str]:
        """Versions that have ever had a lane."""
        with _answering():
            return sorted(self._redis.smembers(self._key("versions")))

    def depths(self, version_ids: Collection[str] | None = None) -> list[Depth]:
        """What waits and runs, per lane."""
        return [
            self._depth(version_id, priority, tenant)
            for version_id in (self.version_ids() if version_ids is None else version_ids)
            for priority, tenants in self._lanes(version_id).items()
            for tenant in tenants
        ]

    def has_bell(self, version_id: str) -> bool:
        with _answering():
            return bool(self._redis.exists(self._key("bell", version_id)))

    def has_lapsed(self, version_id: str) -> bool:
        lease = int(self._settings.lease * 1000)
        for lane in self._all_lanes(version_id):
            with self._grouped([lane]):
                if self._redis.xpending_range(lane, GROUP, min="-", max="+", count=1, idle=lease):
                    return True
        return False

    def present(self, version_id: str) -> set[tuple[str, int]]:
        """(job, position) of everything on the version's streams: slow, for the sweep's second look only."""
        found: set[tuple[str, int]] = set()
        for lane in self._all_lanes(version_id):
            start = "-"
            while True:
                with _answering():
                    page = self._redis.xrange(lane, min=start, max="+", count=5000)
                if not page:
                    break
                for _, fields in page:
                    job_id, position, *_rest = json.loads(fields["e"])
                    found.add((job_id, position))
                start = f"({page[-1][0]}"
        return found

    def drop_empty_lanes(self, version_id: str, idle: float = 600.0) -> None:
        """Remove streams in which nothing has moved for `idle` seconds."""
        for priority, tenants in self._lanes(version_id).items():
            for tenant in tenants:
                lane = self._lane(version_id, priority, tenant)
                with _answering(), self._redis.pipeline(transaction=True) as pipe:
                    pipe.watch(lane)
                    if pipe.exists(lane):
                        about = pipe.xinfo_stream(lane)
                        last = int(about["last-generated-id"].split("-")[0]) / 1000
                        if about["length"] or last > time.time() - idle:
                            continue
                    pipe.multi()
                    pipe.delete(lane)
                    pipe.srem(self._key("lanes", version_id), f"{priority}:{tenant}")
                    try:
                        pipe.execute()
                    except redis.WatchError:
                        continue  # somebody has just pushed: it is in use after all
                    self._groups.discard(lane)

    def drop_gone_consumers(self, version_id: str, idle: float = 3600.0) -> None:
        """Forget workers that hold nothing and have not asked for `idle` seconds: every restart leaves a name."""
        for lane in self._all_lanes(version_id):
            with self._grouped([lane]):
                for consumer in self._redis.xinfo_consumers(lane, GROUP):
                    if not consumer["pending"] and consumer["idle"] > idle * 1000:
                        self._redis.xgroup_delconsumer(lane, GROUP, consumer["name"])

    def close(self) -> None:
        if self._celery is not None:
            self._celery.close()
        self._redis.close()

    # -- inside

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _lane(self, version_id: str, priority: str, tenant: str) -> str:
        return self._key("lane", version_id, priority, tenant)

    def _lanes(self, version_id: str) -> dict[str, list[str]]:
        """Tenants by priority, the most urgent first."""
        with _answering():
            members = self._redis.smembers(self._key("lanes", version_id))
        lanes: dict[str, list[str]] = {priority: [] for priority in PRIORITIES}
        for member in members:
            priority, _, tenant = member.partition(":")
            lanes[priority].append(tenant)
        return lanes

    def _all_lanes(self, version_id: str) -> list[str]:
        lanes = self._lanes(version_id).items()
        return [self._lane(version_id, priority, tenant) for priority, tenants in lanes for tenant in tenants]

    def _read(self, lanes: Sequence[str], consumer: str, count: int, block: int | None = None) -> list[Entry]:
        entries: list[Entry] = []
        with self._grouped(lanes):
            found = self._redis.xreadgroup(GROUP, consumer, dict.fromkeys(lanes, ">"), count=count, block=block)
            entries = [Entry.unpack(fields, entry_id, lane) for lane, page in found for entry_id, fields in page]
        return entries  # noqa: RET504 - when the group was gone, the block above was left early and these are none

    @contextmanager
    def _grouped(self, lanes: Sequence[str]) -> Iterator[None]:
        """Run with the consumer group in place; one that was flushed away is made again before the next try."""
        with _answering():
            for lane in lanes:
                if lane not in self._groups:
                    self._make_group(lane)
            try:
                yield
            except redis.ResponseError as error:
                if not any(word in str(error) for word in ("NOGROUP", "UNBLOCKED", "no longer exists")):
                    raise
                self._groups.difference_update(lanes)

    def _make_group(self, lane: str) -> None:
        try:
            self._redis.xgroup_create(lane, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._groups.add(lane)

    def _bells_waiting(self) -> bool:
        with _answering():
            return bool(self._redis.llen(f"{self._settings.broker_prefix}{BELLS}"))

    def _depth(self, version_id: str, priority: str, tenant: str) -> Depth:
        lane = self._lane(version_id, priority, tenant)
        length, running, oldest = 0, 0, None
        with self._grouped([lane]):
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.xlen(lane)
                pipe.xpending(lane, GROUP)
                pipe.xrange(lane, count=1)
                length, pending, first = pipe.execute()
            running = pending["pending"]
            oldest = int(first[0][0].split("-")[0]) / 1000 if first else None
        return Depth(version_id, priority, tenant, max(0, length - running), running, oldest)


def _by_lane(entries: Iterable[Entry]) -> dict[str, list[str]]:
    lanes: dict[str, list[str]] = {}
    for entry in entries:
        lanes.setdefault(entry.lane, []).append(entry.id)
    return lanes


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        # Not only a connection that is gone: out of memory, a replica after a failover, a disk that is full.
        if isinstance(error, redis.ResponseError):
            log.warning("Redis refuses: %s", error)
        raise errors.Unavailable("The queue does not answer; try again soon.") from error
