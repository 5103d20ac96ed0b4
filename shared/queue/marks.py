"""What is small and lapses by itself: the last words of workers, locks, slots of the result cache, announcements."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import redis

from shared.queue.base import Base, answering

log = logging.getLogger(__name__)


class Marks(Base):
    """Words left for others, for a while."""

    # -- the fleet

    def beat(self, worker_id: str, about: Mapping[str, Any], seconds: float, role: str = "workers") -> None:
        """A worker, or one of the `trainers`, says that it lives; it is forgotten `seconds` after its last word."""
        with answering(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(self._key(role), {worker_id: time.time() + seconds})
            pipe.hset(self._key(role, "about"), worker_id, json.dumps(about))
            pipe.execute()

    def leave(self, worker_id: str, role: str = "workers") -> None:
        with answering(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(self._key(role), worker_id)
            pipe.hdel(self._key(role, "about"), worker_id)
            pipe.execute()

    def workers(self, role: str = "workers") -> list[dict[str, Any]]:
        """What every living worker, or one of the `trainers`, said last, with its `id`."""
        with answering():
            living = set(self._redis.zrangebyscore(self._key(role), time.time(), "+inf"))
            about: dict[str, str] = self._redis.hgetall(self._key(role, "about"))
            gone = [name for name in about if name not in living]
            if gone:
                self._redis.hdel(self._key(role, "about"), *gone)
                self._redis.zremrangebyscore(self._key(role), "-inf", time.time() - 3600)
        return [
            {"id": name, **json.loads(text)} for name, text in sorted(about.items()) if name in living
        ]

    # -- locks

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew a named lock; False when somebody else holds it."""
        key = self._key("lock", name)
        with answering():
            if self._redis.set(key, owner, nx=True, px=int(seconds * 1000)):
                return True
            if self._redis.get(key) != owner:
                return False
            return bool(self._redis.pexpire(key, int(seconds * 1000)))

    def locked(self, name: str) -> bool:
        with answering():
            return bool(self._redis.exists(self._key("lock", name)))

    def unlock(self, name: str, owner: str) -> None:
        """Give a lock back, unless it has lapsed and is somebody else's by now."""
        key = self._key("lock", name)
        with answering():
            if self._redis.get(key) == owner:
                self._redis.delete(key)

    # -- the slots of the result cache

    def put(self, slots: Mapping[str, str], seconds: float) -> None:
        """Put texts into slots, for so long or until others take their place."""
        with answering(), self._redis.pipeline(transaction=False) as pipe:
            for slot, text in slots.items():
                pipe.set(self._key("cache", slot), text, px=int(seconds * 1000))
            pipe.execute()

    def look_up(self, slot: str) -> str | None:
        """What is in a slot."""
        with answering():
            found: str | None = self._redis.get(self._key("cache", slot))
        return found

    # -- announcements

    def announce(self, ended: Collection[str], moved: Collection[str] = ()) -> None:
        """Say which jobs have ended or made progress. Only a hint, so a Redis that is away is not an error here."""
        try:
            self._redis.publish(self._key("moved"), json.dumps([*ended, *moved]))
        except redis.RedisError as error:
            log.warning("could not announce %d jobs: %s", len(ended), error)

    def announcements(self, closed: threading.Event) -> Iterator[list[str]]:
        """Ids of jobs that have moved, as they are announced, until `closed` is set."""
        with answering(), self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(self._key("moved"))
            while not closed.is_set():
                message = channel.get_message(timeout=1.0)
                if message:
                    yield json.loads(message["data"])
