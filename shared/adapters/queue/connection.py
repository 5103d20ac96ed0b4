"""The connection to Redis that all parts of the queue share, the names of its keys, and how its errors are
translated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import redis

from shared import errors
from shared.adapters.queue.circuit import Circuit, GuardedRetry
from shared.adapters.queue.clock import Clock
from shared.settings import Settings

log = logging.getLogger(__name__)


TIMEOUT = 2.0
"""Seconds that Redis has to answer, and to accept a connection."""
BRIEF = 0.2
"""The same for what requests can do without."""


class Connection:
    """Two connection pools and the prefix of every key; the pools connect on first use."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """Create the pools from the settings; `client` is passed by tests only."""
        self.settings = settings
        self.circuit = Circuit(settings.redis_url)
        # Any, because redis-py types every reply as a union of all that any protocol version may return.
        self.redis: Any = client or _pool(settings, self.circuit, TIMEOUT)
        self._brief_redis: Any = client or _pool(settings, self.circuit, BRIEF)
        self.clock = Clock(self.redis, self._brief_redis)

    def brief(self) -> Connection:
        """Return this connection with BRIEF in place of TIMEOUT."""
        other = copy(self)
        other.redis = self._brief_redis
        return other

    def key(self, *parts: str) -> str:
        """Return the name of a Redis key: the prefix, then the parts joined by colons."""
        return self.settings.prefix + ":".join(parts)

    def close(self) -> None:
        """Close the pools; a later call opens them again."""
        self.circuit.close()
        self.redis.close()
        self._brief_redis.close()


def _pool(settings: Settings, circuit: Circuit, timeout: float) -> redis.Redis:
    return redis.Redis.from_url(
        settings.redis_url,
        # Version 3 nests the reply of XREADGROUP differently, without an advantage here.
        protocol=2,
        decode_responses=True,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        # A connection for each thread that may need one; the default, 100, would refuse the others.
        max_connections=settings.api_threads + 100,
        retry=GuardedRetry(circuit, is_patient=timeout == TIMEOUT),
        redis_connect_func=circuit.connect,
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise Unavailable in place of any Redis error inside the block; QueueFull where Redis has no memory left."""
    try:
        yield
    except redis.exceptions.OutOfMemoryError as error:
        raise errors.QueueFull() from error
    except redis.RedisError as error:
        # Not only lost connections: also a read-only replica after a failover, a full disk.
        if isinstance(error, redis.ResponseError):
            log.warning("Redis refuses: %s", error)
        if errors.is_disk_full(error):
            raise errors.StorageFull("The disk of Redis is full; make room on it.") from error
        raise errors.Unavailable("The queue does not answer; try again soon.") from error
