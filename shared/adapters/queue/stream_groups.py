"""Which streams a version has, and their consumer groups, from which the workers claim."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from shared.adapters.queue.connection import Connection, translated_errors
from shared.adapters.queue.pushes import Pushed
from shared.domain.jobs import PRIORITIES

GROUP = "workers"
"""The consumer group of every stream."""
# Words of Redis about a stream or group that does not exist, in the commands that are used here.
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED", "no longer exists", "requires the key to exist")
GROUP_SECONDS = 60.0
"""Seconds for which a sender relies on a stream's group: maintenance removes streams that rest for ten minutes."""


class StreamGroups:
    """Which streams the versions have, as far as this process knows, and which of them have their consumer group.

    That a worker needs no group again is known until a command says that it is gone; that a push needs none, for
    GROUP_SECONDS, since adding an entry to a stream without a group is no error.
    """

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key = connection.redis, connection.key
        self._groups: set[str] = set()
        """Streams whose consumer group exists."""
        self._prepared: dict[str, float] = {}
        """Stream -> when this process has made its group before a push (monotonic seconds)."""
        self._lanes: dict[str, tuple[float, dict[str, list[str]]]] = {}
        """Version -> when its tenants were asked for (monotonic seconds), and the tenants by priority."""

    def name(self, version_id: str, priority: str, tenant: str) -> str:
        """Return the key of a stream."""
        return self._key("lane", version_id, priority, tenant)

    def tenants(self, version_id: str, *, max_age: float = 0.0) -> dict[str, list[str]]:
        """Return the tenants by priority, the most urgent priority first; the answer may be `max_age` seconds old."""
        asked_at, tenants = self._lanes.get(version_id, (0.0, {}))
        if time.monotonic() - asked_at < max_age:
            return tenants
        asked_at = time.monotonic()
        with translated_errors():
            members = self.ask_tenants(self._redis, version_id)
        return self.note_tenants(version_id, members, asked_at)

    def ask_tenants(self, client: Any, version_id: str) -> Any:
        """Ask for the tenants, on this client or pipeline; `note_tenants` takes the answer."""
        return client.smembers(self._key("lanes", version_id))

    def note_tenants(self, version_id: str, members: Iterable[str], asked_at: float) -> dict[str, list[str]]:
        """Remember the tenants that Redis has named, and since when (monotonic seconds); return them by priority."""
        tenants: dict[str, list[str]] = {priority: [] for priority in PRIORITIES}
        for member in members:
            priority, _, tenant = member.partition(":")
            tenants[priority].append(tenant)
        self._lanes[version_id] = (asked_at, tenants)
        return tenants

    def names(self, version_id: str, *, max_age: float = 0.0) -> list[str]:
        """Return the keys of the version's streams, in the order of `tenants`."""
        by_priority = self.tenants(version_id, max_age=max_age).items()
        return [self.name(version_id, priority, tenant) for priority, tenants in by_priority for tenant in tenants]

    def forget_tenants(self, version_id: str) -> None:
        """Have the next claim ask which tenants the version has."""
        self._lanes.pop(version_id, None)

    @contextmanager
    def in_use(self, streams: Sequence[str]) -> Iterator[None]:
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
                self._lanes.clear()  # else a stream without a tenant would be made again

    def forget(self, stream: str) -> None:
        """Have the next claim make the group of a stream again, as the stream was removed."""
        self._groups.discard(stream)

    def prepare(self, page: Sequence[Pushed]) -> None:
        """Make the groups of streams of which this process does not know that they have one. A worker makes it as well,
        but could not once the pictures have filled Redis."""
        for stream in {self.name(each.version_id, each.priority, each.tenant) for each in page}:
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
