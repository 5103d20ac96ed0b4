"""The queue object: all parts that are kept in Redis, on one connection.

push ──XADD──> stream ──XREADGROUP──> claim ──> run ──> finish (SQL) ──XACK, XDEL──> removed
                 │                      └─ lease: idle time of the pending entry, renewed while it is held
                 └─ version:priority:tenant, one stream each
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from shared.adapters.queue.connection import Connection, translated_errors
from shared.adapters.queue.counts import Counts
from shared.adapters.queue.events import Events
from shared.adapters.queue.locks import Locks
from shared.adapters.queue.notifications import Notifications
from shared.adapters.queue.pushes import by_stream
from shared.adapters.queue.result_slots import ResultSlots
from shared.adapters.queue.room import Room
from shared.adapters.queue.stream_groups import GROUP
from shared.adapters.queue.streams import Streams
from shared.adapters.queue.workers import Workers
from shared.domain.diagnosis import RedisFacts
from shared.domain.jobs import JobChange
from shared.domain.stream_entry import StreamEntry
from shared.settings import Settings

_CONCLUDE = """
local place = 2
for _, stream in ipairs(KEYS) do
    local last = place + tonumber(ARGV[place])
    while place < last do
        place = place + 1
        redis.call('XACK', stream, ARGV[1], ARGV[place])
        redis.call('XDEL', stream, ARGV[place])
    end
    place = place + 1
end
while place < #ARGV do
    redis.call('PUBLISH', ARGV[place], ARGV[place + 1])
    place = place + 2
end
"""
"""XACK and XDEL in one step: an entry that is acknowledged but not deleted would be counted as waiting for ever, and
never be delivered. A script and not MULTI, in which some versions of Redis refuse every command while they are full,
and would never have room again."""


class Queue:
    """The parts of the queue by name. Unless stated otherwise, their methods raise Unavailable when Redis is
    unreachable."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """Create all parts; nothing is connected before first use. `client` is a Redis client, passed by tests only."""
        self.connection = Connection(settings, client)
        self.clock = self.connection.clock
        self.notifications = Notifications(self.connection)
        self.room = Room(self.connection)
        self.streams = Streams(self.connection, self.notifications, self.room)
        self.workers = Workers(self.connection)
        brief = self.connection.brief()
        self.brief_streams, self.brief_workers = Streams(brief, self.notifications, self.room), Workers(brief)
        """The same, for what requests can do without: they wait for Redis for a moment only."""
        self.locks = Locks(self.connection)
        self.result_slots = ResultSlots(self.connection)
        self.events = Events(self.connection)
        self.counts = Counts(self.connection)
        self._conclude = self.connection.redis.register_script(_CONCLUDE)

    def conclude(self, entries: Iterable[StreamEntry], changes: Sequence[JobChange]) -> None:
        """Remove recorded entries, so that a stream holds unfinished entries only, and announce what has changed of
        their jobs, in one round trip; a full Redis does so too."""
        streams = by_stream(entries)
        arguments = [GROUP]
        for ids in streams.values():
            arguments += [str(len(ids)), *ids]
        for channel, message in self.events.messages(changes):
            arguments += [channel, message]
        with translated_errors():
            self._conclude(keys=list(streams), args=arguments)

    def has_lost_everything(self) -> bool:
        """Return True if Redis has forgotten all keys since the last call of any process, or this is the first call."""
        with translated_errors():
            return bool(self.connection.redis.set(self.connection.key("remembers"), "1", nx=True))

    def facts(self) -> RedisFacts:
        """Return what Redis tells of itself."""
        with translated_errors():
            began = time.monotonic()
            self.connection.redis.ping()
            seconds = time.monotonic() - began
            told: dict[str, Any] = {}
            for section in ("server", "memory", "persistence"):
                told |= self.connection.redis.info(section)
            used, limit = self.room.memory()
        name = "Valkey" if told.get("server_name") == "valkey" else "Redis"
        return RedisFacts(
            version=f"{name} {told.get('valkey_version') or told.get('redis_version', 'of unknown version')}",
            policy=str(told.get("maxmemory_policy", "unknown")),
            used=used,
            limit=limit,
            is_persistent=bool(told.get("aof_enabled")),
            seconds=seconds,
        )

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers, QueueFull unless it takes more pictures."""
        self.room.ping()

    def close(self) -> None:
        """Store what is counted, and close the connections to Redis and to Celery's brokers."""
        self.counts.close()
        self.notifications.close()
        self.connection.close()
