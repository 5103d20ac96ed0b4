"""Whether Redis has memory for more pictures: one that is full refuses what needs memory, and runs the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared import errors
from shared.adapters.queue.connection import Connection, translated_errors

SPARE = 1024 * 1024
"""Bytes that a Redis that was full must have free before it takes new pictures, if that is no more than a twentieth of
its memory. At the limit itself, a question finds room and the pictures that are sent next do not."""
_EVERY = 0.5
"""Seconds between two questions to a full Redis."""


class Room:
    """What this process knows of the memory of Redis."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key = connection.redis, connection.key("room")
        self.is_lacking = False
        """True from when Redis was found full, until it has memory to spare."""
        self._ask_at = 0.0
        """When a full Redis is asked again (monotonic seconds)."""

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers, QueueFull unless it has memory for more."""
        with translated_errors():
            self.need(self._redis)

    def need(self, client: Any) -> None:
        """Run, on this client or pipeline, a command that changes nothing and that a full Redis refuses."""
        client.setrange(self._key, 0, "")

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Translate errors, and keep in mind if Redis is full."""
        try:
            with translated_errors():
                yield
        except errors.QueueFull:
            self.is_lacking = True
            raise

    def look(self) -> None:
        """Raise QueueFull if Redis was found full, and has no memory to spare yet."""
        if not self.is_lacking:
            return
        now = time.monotonic()
        if now < self._ask_at:
            raise errors.QueueFull()
        self._ask_at = now + _EVERY
        if not self._has_spare():
            raise errors.QueueFull()
        self.is_lacking = False

    def _has_spare(self) -> bool:
        used, limit = self.memory()
        return limit == 0 or used <= limit - min(SPARE, limit // 20)

    def memory(self) -> tuple[int, int]:
        """Return the used bytes that count against the limit, and the limit, 0 for none; raises Unavailable."""
        with translated_errors():
            memory = self._redis.info("memory")
        used = memory.get("used_memory", 0) - memory.get("mem_not_counted_for_evict", 0)
        return int(used), int(memory.get("maxmemory", 0))
