"""The connection to Redis that all parts of the queue share, the names of its keys, and how its errors are
translated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared import errors
from shared.adapters.queue.clock import Clock
from shared.settings import Settings

log = logging.getLogger(__name__)


class Connection:
    """A connection pool and the prefix of every key; the pool connects on first use."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """Create the pool from the settings; `client` is passed by tests only."""
        self.settings = settings
        # Any, because redis-py types every reply as a union of all that any protocol version may return. Protocol 2,
        # because version 3 nests the reply of XREADGROUP differently without an advantage here.
        self.redis: Any = client or redis.Redis.from_url(
            settings.redis_url,
            protocol=2,
            decode_responses=True,
            socket_timeout=2,
            socket_connect_timeout=2,
            # A connection for each thread that may need one; the default, 100, would refuse the others.
            max_connections=settings.api_threads + 100,
            # One immediate retry, for a connection that the server has closed meanwhile. Redis-py's default of three
            # retries with growing pauses would delay the 503 response by seconds.
            retry=Retry(NoBackoff(), 1),
        )
        self.clock = Clock(self.redis)

    def key(self, *parts: str) -> str:
        """Return the name of a Redis key: the prefix, then the parts joined by colons."""
        return self.settings.prefix + ":".join(parts)

    def close(self) -> None:
        """Close the pool; a later call opens it again."""
        self.redis.close()


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
