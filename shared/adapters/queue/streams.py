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
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import redis

from shared import errors
from shared.adapters.queue.connection import Connection, translated_errors
from shared.adapters.queue.notifications import Notifications
from shared.adapters.queue.pushes import Pushed, StreamDepth, by_stream, depth_of, pages
from shared.adapters.queue.room import Room
from shared.adapters.queue.stream_groups import GROUP, StreamGroups
from shared.domain.jobs import PRIORITIES
from shared.domain.stream_entry import StreamEntry

FRESH = 0.05
"""Seconds for which a worker that claims batch after batch need not ask which tenants there are."""


class Streams:
    """The streams of all versions. A push also notifies a worker, in the same transaction."""

    def __init__(self, connection: Connection, notifications: Notifications, room: Room) -> None:
        self.groups = StreamGroups(connection)
        self._redis, self._key = connection.redis, connection.key
        self._settings, self._clock = connection.settings, connection.clock
        self._notifications, self._room = notifications, room
        self._served: dict[str, float] = {}
        """Stream -> when this process has last claimed from it (monotonic seconds)."""
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
                    pipe.xlen(self.groups.name(version_id, priority, tenant))
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
            self.groups.prepare(page)
            with self._room.noting(), self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(self._key("versions"), *version_ids)
                for version_id, lane in sorted({(each.version_id, f"{each.priority}:{each.tenant}") for each in page}):
                    pipe.sadd(self._key("lanes", version_id), lane)
                for each in page:
                    stream = self.groups.name(each.version_id, each.priority, each.tenant)
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
                self.groups.forget_tenants(version_id)
                self._notifications.send_if_first(version_id, bool(is_first))

    # -- the worker's side

    def claim(self, version_id: str, consumer: str, count: int) -> list[StreamEntry]:
        """Claim up to `count` entries: by priority, and within one priority the same share for every tenant."""
        tenants = self.groups.tenants(version_id, max_age=FRESH)
        entries: list[StreamEntry] = []
        for priority in PRIORITIES:
            open_streams = [self.groups.name(version_id, priority, tenant) for tenant in tenants.get(priority, ())]
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

    def has_single(self, version_id: str) -> bool:
        """Return True if the version has one stream: from that, `wait_for_entries` takes what `claim` would."""
        return len(self.groups.names(version_id, max_age=FRESH)) == 1

    def wait_for_entries(
        self, version_id: str, consumer: str, count: int, seconds: float, *, quiet: float = 0.0
    ) -> list[StreamEntry]:
        """Claim up to `count` entries of each stream that wait, or arrive within `seconds`; no notification is sent for
        the version meanwhile, nor for `quiet` seconds after entries were claimed.

        Returns an empty list early when another version's notification waits for a worker; this is checked every 50 ms.
        """
        until = time.monotonic() + seconds
        entries: list[StreamEntry] = []
        try:
            while (remaining := until - time.monotonic()) > 0:
                streams = self.groups.names(version_id, max_age=FRESH)
                if not streams:
                    return []
                entries, do_others_wait = self._poll(version_id, streams, consumer, count, remaining, quiet)
                if entries or do_others_wait:
                    return entries
            return []
        finally:
            if not (entries and quiet):
                self._notifications.clear(version_id)

    def _poll(
        self, version_id: str, streams: Sequence[str], consumer: str, count: int, seconds: float, quiet: float
    ) -> tuple[list[StreamEntry], bool]:
        """Claim what waits, or arrives within 50 ms, or within `seconds` if that is less; return it, and True if
        another version's notification waits. It is one round trip, as a caller that sends one picture after the other
        waits for each."""
        entries: list[StreamEntry] = []
        others = 0
        with self.groups.in_use(streams), self._redis.pipeline(transaction=False) as pipe:
            self._notifications.suppress(pipe, version_id, consumer, seconds + 0.5)
            _ask_new(pipe, streams, consumer, count, block=max(1, min(50, int(seconds * 1000))))
            self.groups.ask_tenants(pipe, version_id)
            self._notifications.ask_others(pipe)
            if quiet:  # if nothing is claimed, the next poll has begun by then
                self._notifications.suppress(pipe, version_id, consumer, quiet)
            replies = pipe.execute(raise_on_error=False)
            _, pages, members, others, *_ = replies
            wrong = [reply for reply in replies if isinstance(reply, redis.RedisError) and not _is_full(reply)]
            if wrong and (pages in wrong or not pages):  # what was claimed is not dropped for another command's error
                raise wrong[0]
            entries = _unpacked(pages)
            if members not in wrong:
                self.groups.note_tenants(version_id, members, time.monotonic())
        return entries, others not in wrong and bool(others)

    def claim_expired(self, version_id: str, consumer: str) -> StreamEntry | None:
        """Claim one entry whose lease has expired; returns None if there is none."""
        lease = int(self._settings.lease * 1000)
        for stream in self.groups.names(version_id):
            with self.groups.in_use([stream]):
                for pending in self._redis.xpending_range(stream, GROUP, min="-", max="+", count=1, idle=lease):
                    for found_id, fields in self._redis.xclaim(stream, GROUP, consumer, lease, [pending["message_id"]]):
                        return StreamEntry.unpack(fields, found_id, stream, attempts=pending["times_delivered"] + 1)
        return None

    def renew(self, consumer: str, entries: Iterable[StreamEntry]) -> None:
        """Renew the lease of claimed entries; JUSTID keeps their delivery count unchanged."""
        for stream, ids in by_stream(entries).items():
            with self.groups.in_use([stream]):
                self._redis.xclaim(stream, GROUP, consumer, 0, ids, justid=True)

    def put_back(self, consumer: str, entries: Sequence[StreamEntry], *, at_once: bool = False) -> None:
        """Give claimed entries back without counting the attempt. They are claimed again when a lease has passed, or
        `at_once`."""
        idle = int(self._settings.lease * 1000) + 1000 if at_once else 0  # surely longer than a lease
        for entry in entries:
            with self.groups.in_use([entry.stream]):
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
                self._ask_depth(pipe, self.groups.name(*lane))
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
        for stream in self.groups.names(version_id):
            with self.groups.in_use([stream]):
                if self._redis.xpending_range(stream, GROUP, min="-", max="+", count=1, idle=lease):
                    return True
        return False

    def present(self, version_id: str) -> set[tuple[str, int]]:
        """Return (job id, position) of all entries on the version's streams.

        This reads whole streams and is slow; only the second check of maintenance uses it.
        """
        present: set[tuple[str, int]] = set()
        for stream in self.groups.names(version_id):
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
        for priority, tenants in self.groups.tenants(version_id).items():
            for tenant in tenants:
                stream = self.groups.name(version_id, priority, tenant)
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
                    self.groups.forget(stream)

    def drop_gone_consumers(self, version_id: str, idle: float = 3600.0) -> None:
        """Remove consumers that hold no entry and have made no call for `idle` seconds; every restart leaves a consumer
        name."""
        for stream in self.groups.names(version_id):
            with self.groups.in_use([stream]):
                for consumer in self._redis.xinfo_consumers(stream, GROUP):
                    if not consumer["pending"] and consumer["idle"] > idle * 1000:
                        self._redis.xgroup_delconsumer(stream, GROUP, consumer["name"])

    # -- internal

    def _read(self, streams: Sequence[str], consumer: str, count: int) -> list[StreamEntry]:
        """Read new entries from the streams."""
        entries: list[StreamEntry] = []
        with self.groups.in_use(streams):
            entries = _unpacked(_ask_new(self._redis, streams, consumer, count))
        return entries  # noqa: RET504 - if the group did not exist, the block above was left early and the list is empty

    def _ask_depth(self, pipe: Any, stream: str) -> None:
        pipe.xlen(stream)
        pipe.xpending(stream, GROUP)
        pipe.xrange(stream, count=1)

    def _depth(self, version_id: str, priority: str, tenant: str) -> StreamDepth:
        stream = self.groups.name(version_id, priority, tenant)
        length, pending, first = 0, {"pending": 0}, []
        with self.groups.in_use([stream]), self._redis.pipeline(transaction=False) as pipe:
            self._ask_depth(pipe, stream)  # not in a transaction, which would fail while Redis is full
            length, pending, first = pipe.execute()
        return depth_of((version_id, priority, tenant), length, pending, first)


def _is_full(reply: redis.RedisError) -> bool:
    """Return True if Redis refused a command because it is full. It still hands out entries; that notifications are
    not suppressed then does no harm, since none can be sent."""
    return isinstance(reply, redis.exceptions.OutOfMemoryError)


def _ask_new(client: Any, streams: Sequence[str], consumer: str, count: int, block: int | None = None) -> Any:
    """Ask, on this client or pipeline, for new entries; `block` is the time to wait in milliseconds, None is not to
    wait."""
    return client.xreadgroup(GROUP, consumer, dict.fromkeys(streams, ">"), count=count, block=block)


def _unpacked(pages: Any) -> list[StreamEntry]:
    return [StreamEntry.unpack(fields, entry_id, stream) for stream, page in pages for entry_id, fields in page]


def _urgency(lane: str) -> tuple[int, str]:
    priority, _, tenant = lane.partition(":")
    return PRIORITIES.index(priority), tenant
