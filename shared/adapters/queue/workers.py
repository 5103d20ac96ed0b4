"""The registry of running workers and trainers: each is listed until its last heartbeat expires, and remembered for an
hour unless it was stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.adapters.queue.connection import Connection, translated_errors

REMEMBERED = 3600.0
"""Seconds for which a worker is remembered whose heartbeat has expired."""


class Workers:
    """Heartbeats by worker id, one sorted set per role (`workers`, `trainers`)."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key, self._clock = connection.redis, connection.key, connection.clock

    def heartbeat(self, worker_id: str, about: Mapping[str, Any], seconds: float, role: str = "workers") -> None:
        """Register a worker, or keep it registered, for `seconds`; `about` is its description, stored as JSON."""
        with translated_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(self._key(role), {worker_id: self._clock.now() + seconds})
            pipe.hset(self._key(role, "about"), worker_id, json.dumps(about))
            pipe.execute()

    def deregister(self, worker_id: str, role: str = "workers") -> None:
        """Remove a worker that shuts down normally."""
        with translated_errors(), self._redis.pipeline(transaction=False) as pipe:
            pipe.zrem(self._key(role), worker_id)
            pipe.hdel(self._key(role, "about"), worker_id)
            pipe.execute()

    def expired(self, role: str = "workers") -> Sequence[float]:
        """Return when the heartbeats of those expired that were not stopped, within REMEMBERED, in Unix seconds: they
        were killed, or they hang."""
        with translated_errors():
            now = self._clock.now()
            found = self._redis.zrangebyscore(self._key(role), now - REMEMBERED, now, withscores=True)
        return [float(since) for _, since in found]

    def list(self, role: str = "workers") -> list[dict[str, Any]]:
        """Return the descriptions from the last heartbeats of all running workers, each with its `id`, sorted by id."""
        with translated_errors():
            now = self._clock.now()
            living = set(self._redis.zrangebyscore(self._key(role), now, "+inf"))
            about: dict[str, str] = self._redis.hgetall(self._key(role, "about"))
            expired = [name for name in about if name not in living]
            if expired:
                self._redis.hdel(self._key(role, "about"), *expired)
                self._redis.zremrangebyscore(self._key(role), "-inf", now - REMEMBERED)
        return [{"id": name, **json.loads(text)} for name, text in sorted(about.items()) if name in living]
