"""Everything that is kept in Redis, as small objects on one connection.

push ──XADD──> stream ──XREADGROUP──> claim ──> run ──> finish (SQL) ──XACK, XDEL──> gone
                 │                      └─ lease: idle time of the pending entry, renewed while it is held
                 └─ version:priority:tenant, one stream each
"""

from __future__ import annotations

from typing import Any

from shared.adapters.queue.connection import Connection
from shared.adapters.queue.events import Events
from shared.adapters.queue.locks import Locks
from shared.adapters.queue.notifications import Notifications
from shared.adapters.queue.result_slots import ResultSlots
from shared.adapters.queue.streams import Streams
from shared.adapters.queue.workers import Workers
from shared.settings import Settings


class Queue:
    """The parts by name. Every method of theirs raises Unavailable when Redis is away."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """`client` is a Redis client that tests bring; nothing is connected to before it is used."""
        self.connection = Connection(settings, client)
        self.notifications = Notifications(self.connection)
        self.streams = Streams(self.connection, self.notifications)
        self.workers = Workers(self.connection)
        self.locks = Locks(self.connection)
        self.result_slots = ResultSlots(self.connection)
        self.events = Events(self.connection)

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        self.connection.ping()

    def close(self) -> None:
        """Close the connections to Redis and to Celery's brokers."""
        self.notifications.close()
        self.connection.close()
