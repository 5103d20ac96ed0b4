"""The batch queue: one stream for each version, priority and tenant, on which a picture stays until it is done with.

A lapsed entry is found with XPENDING IDLE and taken with XCLAIM, one at a time. XAUTOCLAIM does both in one call but
looks at only ten pending entries for each one asked for, does not tell the delivery count, and taking many at once
would count a death against pictures that had no part in it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from shared.queue.base import answering
from shared.queue.bells import Bells
from shared.queue.entry import Entry
from shared.settings import Settings

GROUP = "workers"
PRIORITIES = ("high", "normal", "low")


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


class Lanes(Bells):
    """The streams. They ring by themselves: a push and its bell are one transaction."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        super().__init__(settings, client)
        self._groups: set[str] = set()

    # -- the way in

    def held(self, version_id: str, tenant: str) -> int:
        """Pictures of the tenant, for that version, that are not done with."""
        with answering(), self._redis.pipeline(transaction=False) as pipe:
            for priority in PRIORITIES:
                pipe.xlen(self._lane(version_id, priority, tenant))
            return sum(pipe.execute())

    def push(self, version_id: str, priority: str, tenant: str, entries: Sequence[Entry]) -> None:
        """Append to the lane and ring, unless somebody has been told already."""
        lane = self._lane(version_id, priority, tenant)
        for start in range(0, len(entries), 2000):
            # One transaction with the bell's key as its last command. A drain that watches wakes on the entries and
            # gives the key back; between the two it would find itself rung for what it has in its hands already.
            with answering(), self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(self._key("versions"), version_id)
                pipe.sadd(self._key("lanes", version_id), f"{priority}:{tenant}")
                for entry in entries[start : start + 2000]:
                    pipe.xadd(lane, entry.pack())
                self._set_bell(pipe, version_id)
                first = pipe.execute()[-1]
            self._ring_out(version_id, bool(first))

    # -- the worker's side

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
        with answering():
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
        with answering(), self._redis.pipeline(transaction=True) as pipe:
            for lane, ids in _by_lane(entries).items():
                pipe.xack(lane, GROUP, *ids)
                pipe.xdel(lane, *ids)
            pipe.execute()

    def backlog(self, version_id: str) -> bool:
        """Whether something waits that no worker has claimed."""
        return any(depth.waiting > 0 for depth in self.depths([version_id]))

    # -- for the sweep and for people

    def version_ids(self) -> list[str]:
        """Versions that have ever had a lane."""
        with answering():
            return sorted(self._redis.smembers(self._key("versions")))

    def depths(self, version_ids: Collection[str] | None = None) -> list[Depth]:
        """What waits and runs, per lane."""
        return [
            self._depth(version_id, priority, tenant)
            for version_id in (self.version_ids() if version_ids is None else version_ids)
            for priority, tenants in self._lanes(version_id).items()
            for tenant in tenants
        ]

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
                with answering():
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
                with answering(), self._redis.pipeline(transaction=True) as pipe:
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

    # -- inside

    def _lane(self, version_id: str, priority: str, tenant: str) -> str:
        return self._key("lane", version_id, priority, tenant)

    def _lanes(self, version_id: str) -> dict[str, list[str]]:
        """Tenants by priority, the most urgent first."""
        with answering():
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
        with answering():
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
