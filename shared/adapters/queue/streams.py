"""The batch queue: one Redis stream per model version, priority and tenant; a picture stays on it until it is finished.

An entry with an expired lease is found with XPENDING IDLE and claimed with XCLAIM, one at a time. XAUTOCLAIM does both
in one call, but it looks at only ten pending entries for each requested entry and does not return the delivery count;
and claiming many at once would raise the attempt count of pictures that had no part in the crash.

In the names of Redis keys a stream is called `lane` and a notification `bell`, because installations that are already
running use these names.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis

from shared import errors
from shared.adapters.queue.connection import Connection, translated_errors
from shared.adapters.queue.notifications import Notifications
from shared.adapters.queue.pushes import Pushed, StreamDepth, by_stream, depth_of, pages
from shared.adapters.queue.room import Room
from shared.domain.jobs import PRIORITIES
from shared.domain.stream_entry import StreamEntry

GROUP = "workers"
"""The consumer group of every stream."""
# Words of Redis about a stream or group that does not exist, in the commands that are used here.
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED", "no longer exists", "requires the key to exist")
FRESH = 0.05
"""Seconds for which a worker that claims batch after batch need not ask which tenants there are."""
GROUP_SECONDS = 60.0
"""Seconds for which a sender relies on a stream's group: maintenance removes streams that rest for ten minutes."""


class Streams:
    """The streams of all versions. A push also notifies a worker, in the same transaction."""

    def __init__(self, connection: Connection, notifications: Notifications, room: Room) -> None:
        self._redis, self._key, self._settings = connection.redis, connection.key, connection.settings
        self._clock = connection.clock
        self._notifications, self._room = notifications, room
        self._groups: set[str] = set()
        """Streams whose consumer group exists."""
        self._served: dict[str, float] = {}
        """Stream -> when this process has last claimed from it (monotonic seconds)."""
        self._prepared: dict[str, float] = {}
        """Stream -> when this process has made its group before a push (monotonic seconds)."""
        self._lanes: dict[str, tuple[float, dict[str, list[str]]]] = {}
        """Version -> when its tenants were asked for (monotonic seconds), and the tenants by priority."""
        self._counting = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[float, int]] = {}
        """(version, tenant) -> when their unfinished pictures were counted (monotonic seconds), and their number."""

    # -- the producer's side

    def count_unfinished(self, version_id: str, tenant: str, *, max_age: float = 0.0) -> int:
        """Return the number of the tenant's waiting and running pictures for that version.

        With `max_age`, in seconds, a count of at most that age is good enough, with what this process has pushed since;
        and an older one, while another thread counts. Raises Unavailable, and QueueFull if there is no room for more:
        a full Redis is found out here, since what is pushed later is accepted already.
        """
        key = (version_id, tenant)
        counted_at, count = self._counts.get(key, (0.0, 0))
        if not self._room.is_lacking and time.monotonic() - counted_at < max_age:
            return count
        if not self._counting.acquire(blocking=not (max_age and counted_at)):
            if self._room.is_lacking:
                raise errors.QueueFull()
            return count  # another thread asks at this moment
        try:
            counted_at, count = self._counts.get(key, (0.0, 0))
            self._room.look()
            if time.monotonic() - counted_at < max_age:
                return count
            with self._room.noting(), self._redis.pipeline(transaction=False) as pipe:
                for priority in PRIORITIES:
                    pipe.xlen(self._stream(version_id, priority, tenant))
                self._room.need(pipe)
                *lengths, _ = pipe.execute()
                count = sum(lengths)
        finally:
            self._counting.release()
        if len(self._counts) >= 4096:
            self._counts.clear()
        self._counts[key] = (time.monotonic(), count)
        return count

    def push(self, pushed: Sequence[Pushed]) -> None:
        """Append entries to their streams, and notify workers of versions that have no pending notification."""
        for page in pages(pushed):
            version_ids = sorted({each.version_id for each in page})
            # One transaction, with the notifications' keys as its last commands. A consumer that polls an empty stream
            # wakes up on the entries and removes the key. If the key were set in a second call, the consumer could be
            # notified of entries that it has claimed already.
            self._make_groups(page)
            with self._room.noting(), self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(self._key("versions"), *version_ids)
                for version_id, lane in sorted({(each.version_id, f"{each.priority}:{each.tenant}") for each in page}):
                    pipe.sadd(self._key("lanes", version_id), lane)
                for each in page:
                    stream = self._stream(each.version_id, each.priority, each.tenant)
                    for entry in each.entries:
                        pipe.xadd(stream, entry.pack())
                for version_id in version_ids:
                    self._notifications.mark_pending(pipe, version_id)
                first = pipe.execute()[-len(version_ids) :]
            for each in page:
                key = (each.version_id, each.tenant)
                counted_at, count = self._counts.get(key, (0.0, 0))
                self._counts[key] = (counted_at, count + len(each.entries))
            for version_id, is_first in zip(version_ids, first, strict=True):
                self._lanes.pop(version_id, None)
                self._notifications.send_if_first(version_id, bool(is_first))

    # -- the worker's side

    def claim(self, version_id: str, consumer: str, count: int) -> list[StreamEntry]:
        """Claim up to `count` entries: by priority, and within one priority the same share for every tenant."""
        tenants = self._tenants(version_id, max_age=FRESH)
        entries: list[StreamEntry] = []
        for priority in PRIORITIES:
            open_streams = [self._stream(version_id, priority, tenant) for tenant in tenants.get(priority, ())]
            # Who is served if there are more tenants than places: those that this process has served longest ago.
            random.shuffle(open_streams)
            open_streams.sort(key=lambda stream: self._served.get(stream, 0.0))
            while open_streams and (room := count - len(entries)) > 0:
                turn, later = open_streams[:room], open_streams[room:]
                share = room // len(turn)
                claimed = self._read(turn, consumer, share)
                entries += claimed
                self._served.update(dict.fromkeys((entry.stream for entry in claimed), time.monotonic()))
                full = {stream for stream in turn if sum(entry.stream == stream for entry in claimed) == share}
                open_streams = [stream for stream in turn if stream in full] + later
        return entries

    def wait_for_entries(
        self, version_id: str, consumer: str, count: int, seconds: float, *, quiet: float = 0.0
    ) -> list[StreamEntry]:
        """Claim up to `count` entries that arrive within `seconds`; no notification is sent for the version meanwhile,
        nor for `quiet` seconds after entries were claimed.

        Returns an empty list early when another version's notification waits for a worker; this is checked every 50 ms.
        """
        until = time.monotonic() + seconds
        entries: list[StreamEntry] = []
        with suppress(errors.QueueFull):  # no notification is sent then
            self._notifications.suppress(version_id, consumer, seconds + 0.5)
        try:
            while (remaining := until - time.monotonic()) > 0:
                streams = self._all_streams(version_id)
                if not streams:
                    return []
                if entries := self._read(streams, consumer, count, block=max(1, min(50, int(remaining * 1000)))):
                    return entries
                if self._notifications.others_wait():
                    return []
            return []
        finally:
            if entries and quiet:
                with suppress(errors.QueueFull):
                    self._notifications.suppress(version_id, consumer, quiet)
            else:
                self._notifications.clear(version_id)

    def claim_expired(self, version_id: str, consumer: str) -> StreamEntry | None:
        """Claim one entry whose lease has expired; returns None if there is none."""
        lease = int(self._settings.lease * 1000)
        for stream in self._all_streams(version_id):
            with self._grouped([stream]):
                for pending in self._redis.xpending_range(stream, GROUP, min="-", max="+", count=1, idle=lease):
                    for found_id, fields in self._redis.xclaim(stream, GROUP, consumer, lease, [pending["message_id"]]):
                        return StreamEntry.unpack(fields, found_id, stream, attempts=pending["times_delivered"] + 1)
        return None

    def renew(self, consumer: str, entries: Iterable[StreamEntry]) -> None:
        """Renew the lease of claimed entries; JUSTID keeps their delivery count unchanged."""
        for stream, ids in by_stream(entries).items():
            with self._grouped([stream]):
                self._redis.xclaim(stream, GROUP, consumer, 0, ids, justid=True)

    def put_back(self, consumer: str, entries: Sequence[StreamEntry], *, at_once: bool = False) -> None:
        """Give claimed entries back without counting the attempt. They are claimed again when a lease has passed, or
        `at_once`."""
        idle = int(self._settings.lease * 1000) + 1000 if at_once else 0  # surely longer than a lease
        for entry in entries:
            with self._grouped([entry.stream]):
                self._redis.xclaim(
                    entry.stream, GROUP, consumer, 0, [entry.id], idle=idle, retrycount=entry.attempts - 1, justid=True
                )

    def requeue(self, entries: Sequence[StreamEntry]) -> None:
        """Put claimed entries that were not begun behind those that wait on their streams, without an attempt; raises
        QueueFull with nothing done for some of them.

        They are added before they are removed: a crash in between leaves them twice, and they are recorded once.
        """
        with translated_errors():
            with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    pipe.xadd(entry.stream, entry.pack())
                pipe.execute()
            with self._redis.pipeline(transaction=False) as pipe:
                for stream, ids in by_stream(entries).items():
                    pipe.xack(stream, GROUP, *ids)
                    pipe.xdel(stream, *ids)
                pipe.execute()

    def backlog(self, version_id: str) -> bool:
        """Return True if there are entries that no worker has claimed."""
        return any(depth.waiting > 0 for depth in self.depths([version_id]))

    # -- for maintenance and monitoring

    def version_ids(self) -> list[str]:
        """Return the ids of all versions that have ever had a stream."""
        with translated_errors():
            return sorted(self._redis.smembers(self._key("versions")))

    def depths(self, version_ids: Collection[str] | None = None) -> list[StreamDepth]:
        """Return the numbers of waiting and running entries, per stream; None means all versions. However many streams
        there are, it takes two or three round trips."""
        versions = self.version_ids() if version_ids is None else list(version_ids)
        with translated_errors(), self._redis.pipeline(transaction=False) as pipe:
            for version_id in versions:
                pipe.smembers(self._key("lanes", version_id))
            lanes = [
                (version_id, *lane.split(":", 1))
                for version_id, found in zip(versions, pipe.execute(), strict=True)
                for lane in sorted(found, key=_urgency)
            ]
            for lane in lanes:
                self._ask_depth(pipe, self._stream(*lane))
            answers = iter(pipe.execute(raise_on_error=False))
        return [
            # A stream without its group is asked again alone, by which it gets one.
            self._depth(*lane) if isinstance(pending, redis.ResponseError) else depth_of(lane, length, pending, first)
            for lane, length, pending, first in zip(lanes, answers, answers, answers, strict=True)
        ]

    def oldest(self) -> float | None:
        """Return the Unix seconds at which the oldest unfinished entry was pushed; None if there is none."""
        return min((depth.oldest for depth in self.depths() if depth.oldest is not None), default=None)

    def has_expired(self, version_id: str) -> bool:
        """Return True if the lease of any entry has expired."""
        lease = int(self._settings.lease * 1000)
        for stream in self._all_streams(version_id):
            with self._grouped([stream]):
                if self._redis.xpending_range(stream, GROUP, min="-", max="+", count=1, idle=lease):
                    return True
        return False

    def present(self, version_id: str) -> set[tuple[str, int]]:
        """Return (job id, position) of all entries on the version's streams.

        This reads whole streams and is slow; only the second check of maintenance uses it.
        """
        present: set[tuple[str, int]] = set()
        for stream in self._all_streams(version_id):
            start = "-"
            while True:
                with translated_errors():
                    page = self._redis.xrange(stream, min=start, max="+", count=5000)
                if not page:
                    break
                for _, fields in page:
                    job_id, position, *_rest = json.loads(fields["e"])
                    present.add((job_id, position))
                start = f"({page[-1][0]}"
        return present

    def drop_empty_streams(self, version_id: str, idle: float = 600.0) -> None:
        """Remove empty streams to which nothing was added for `idle` seconds."""
        for priority, tenants in self._tenants(version_id).items():
            for tenant in tenants:
                stream = self._stream(version_id, priority, tenant)
                with translated_errors(), self._redis.pipeline(transaction=True) as pipe:
                    pipe.watch(stream)
                    if pipe.exists(stream):
                        about = pipe.xinfo_stream(stream)
                        last = int(about["last-generated-id"].split("-")[0]) / 1000
                        if about["length"] or last > self._clock.now() - idle:
                            continue
                    pipe.multi()
                    pipe.delete(stream)
                    pipe.srem(self._key("lanes", version_id), f"{priority}:{tenant}")
                    try:
                        pipe.execute()
                    except redis.WatchError:
                        continue  # an entry was pushed meanwhile: the stream is in use
                    self._groups.discard(stream)

    def drop_gone_consumers(self, version_id: str, idle: float = 3600.0) -> None:
        """Remove consumers that hold no entry and have made no call for `idle` seconds; every restart leaves a consumer
        name."""
        for stream in self._all_streams(version_id):
            with self._grouped([stream]):
                for consumer in self._redis.xinfo_consumers(stream, GROUP):
                    if not consumer["pending"] and consumer["idle"] > idle * 1000:
                        self._redis.xgroup_delconsumer(stream, GROUP, consumer["name"])

    # -- internal

    def _stream(self, version_id: str, priority: str, tenant: str) -> str:
        return self._key("lane", version_id, priority, tenant)

    def _tenants(self, version_id: str, *, max_age: float = 0.0) -> dict[str, list[str]]:
        """Return the tenants by priority, the most urgent priority first; the answer may be `max_age` seconds old."""
        asked_at, tenants = self._lanes.get(version_id, (0.0, {}))
        if time.monotonic() - asked_at < max_age:
            return tenants
        asked_at = time.monotonic()
        with translated_errors():
            members = self._redis.smembers(self._key("lanes", version_id))
        tenants = {priority: [] for priority in PRIORITIES}
        for member in members:
            priority, _, tenant = member.partition(":")
            tenants[priority].append(tenant)
        self._lanes[version_id] = (asked_at, tenants)
        return tenants

    def _all_streams(self, version_id: str) -> list[str]:
        by_priority = self._tenants(version_id).items()
        return [self._stream(version_id, priority, tenant) for priority, tenants in by_priority for tenant in tenants]

    def _read(self, streams: Sequence[str], consumer: str, count: int, block: int | None = None) -> list[StreamEntry]:
        """Read new entries from the streams; `block` is the time to wait in milliseconds, None is not to wait."""
        entries: list[StreamEntry] = []
        with self._grouped(streams):
            pages = self._redis.xreadgroup(GROUP, consumer, dict.fromkeys(streams, ">"), count=count, block=block)
            entries = [
                StreamEntry.unpack(fields, entry_id, stream) for stream, page in pages for entry_id, fields in page
            ]
        return entries  # noqa: RET504 - if the group did not exist, the block above was left early and the list is empty

    @contextmanager
    def _grouped(self, streams: Sequence[str]) -> Iterator[None]:
        """Create missing consumer groups; if Redis was flushed, the block ends early and the next call creates them
        again."""
        with translated_errors():
            for stream in streams:
                if stream not in self._groups and self._make_group(stream):
                    self._groups.add(stream)
            try:
                yield
            except redis.ResponseError as error:
                if not any(words in str(error) for words in _GROUP_IS_GONE):
                    raise
                self._groups.difference_update(streams)

    def _make_groups(self, page: Sequence[Pushed]) -> None:
        """Make the groups of streams of which this process does not know that they have one. A worker makes it as well,
        but could not once the pictures have filled Redis."""
        for stream in {self._stream(each.version_id, each.priority, each.tenant) for each in page}:
            now = time.monotonic()
            if now - self._prepared.get(stream, -GROUP_SECONDS) >= GROUP_SECONDS:
                with translated_errors():
                    self._make_group(stream)
                self._prepared[stream] = now

    def _make_group(self, stream: str) -> bool:
        """Make the group unless it exists; returns False if Redis is full."""
        try:
            self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.exceptions.OutOfMemoryError:
            return False  # most likely it exists; if not, the stream's next command says so
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return True

    def _ask_depth(self, pipe: Any, stream: str) -> None:
        pipe.xlen(stream)
        pipe.xpending(stream, GROUP)
        pipe.xrange(stream, count=1)

    def _depth(self, version_id: str, priority: str, tenant: str) -> StreamDepth:
        stream = self._stream(version_id, priority, tenant)
        length, pending, first = 0, {"pending": 0}, []
        with self._grouped([stream]), self._redis.pipeline(transaction=False) as pipe:
            self._ask_depth(pipe, stream)  # not in a transaction, which would fail while Redis is full
            length, pending, first = pipe.execute()
        return depth_of((version_id, priority, tenant), length, pending, first)


def _urgency(lane: str) -> tuple[int, str]:
    priority, _, tenant = lane.partition(":")
    return PRIORITIES.index(priority), tenant
