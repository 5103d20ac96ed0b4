"""The queue object: all parts that are kept in Redis, on one connection.

push ──XADD──> stream ──XREADGROUP──> claim ──> run ──> finish (SQL) ──XACK, XDEL──> removed
                 │                      └─ lease: idle time of the pending entry, renewed while it is held
                 └─ version:priority:tenant, one stream each
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from shared.adapters.queue.connection import Connection, translated_errors
from shared.adapters.queue.events import Events
from shared.adapters.queue.locks import Locks
from shared.adapters.queue.notifications import Notifications
from shared.adapters.queue.result_slots import ResultSlots
from shared.adapters.queue.streams import Streams
from shared.adapters.queue.workers import Workers
from shared.domain.jobs import JobChange
from shared.domain.stream_entry import StreamEntry
from shared.settings import Settings


class Queue:
    """The parts of the queue by name. Unless stated otherwise, their methods raise Unavailable when Redis is
    unreachable."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """Create all parts; nothing is connected before first use. `client` is a Redis client, passed by tests only."""
        self.connection = Connection(settings, client)
        self.clock = self.connection.clock
        self.notifications = Notifications(self.connection)
        self.streams = Streams(self.connection, self.notifications)
        self.workers = Workers(self.connection)
        self.locks = Locks(self.connection)
        self.result_slots = ResultSlots(self.connection)
        self.events = Events(self.connection)

    def conclude(self, entries: Iterable[StreamEntry], changes: Sequence[JobChange]) -> None:
        """Remove recorded entries and announce what has changed of their jobs, in one round trip."""
        with translated_errors(), self.connection.redis.pipeline(transaction=True) as pipe:
            self.streams.acknowledge(entries, pipe)
            self.events.publish_changes(pipe, changes)
            pipe.execute()

    def has_lost_everything(self) -> bool:
        """Return True if Redis has forgotten all keys since the last call of any process, or this is the first call."""
        with translated_errors():
            return bool(self.connection.redis.set(self.connection.key("remembers"), "1", nx=True))

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        self.connection.ping()

    def close(self) -> None:
        """Close the connections to Redis and to Celery's brokers."""
        self.notifications.close()
        self.connection.close()
