"""The registry of running workers and trainers: each is listed until its last heartbeat expires."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.adapters.queue.connection import Connection, translated_errors


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

    def list(self, role: str = "workers") -> list[dict[str, Any]]:
        """Return the descriptions from the last heartbeats of all running workers, each with its `id`, sorted by id."""
        with translated_errors():
            now = self._clock.now()
            living = set(self._redis.zrangebyscore(self._key(role), now, "+inf"))
            about: dict[str, str] = self._redis.hgetall(self._key(role, "about"))
            expired = [name for name in about if name not in living]
            if expired:
                self._redis.hdel(self._key(role, "about"), *expired)
                self._redis.zremrangebyscore(self._key(role), "-inf", now - 3600)
        return [{"id": name, **json.loads(text)} for name, text in sorted(about.items()) if name in living]
