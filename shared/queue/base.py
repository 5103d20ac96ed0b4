"""What every part of the queue stands on: the connection to Redis, the names of its keys, and what it means to fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared import errors
from shared.settings import Settings

log = logging.getLogger(__name__)


class Base:
    """One connection pool, and the names of our keys in it."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        """`client` is given by tests; a stack builds its own from the settings."""
        self._settings = settings
        # Any, because redis-py types every answer as a union of all that any protocol version may return.
        # Protocol 2, because 3 nests the answer of XREADGROUP differently for no gain.
        self._redis: Any = client or redis.Redis.from_url(
            settings.redis_url, protocol=2, decode_responses=True, socket_timeout=2, socket_connect_timeout=2,
            # One more try at once, for a connection that the server has closed meanwhile. Redis-py's own three tries
            # with growing pauses would keep a caller waiting for seconds who can be told 503 now.
            retry=Retry(NoBackoff(), 1),
        )  # fmt: skip
        self._prefix = settings.prefix

    def ping(self) -> None:
        with answering():
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


@contextmanager
def answering() -> Iterator[None]:
    """Unavailable in place of whatever Redis complains of inside the block."""
    try:
        yield
    except redis.RedisError as error:
        # Not only a connection that is gone: out of memory, a replica after a failover, a disk that is full.
        if isinstance(error, redis.ResponseError):
            log.warning("Redis refuses: %s", error)
        raise errors.Unavailable("The queue does not answer; try again soon.") from error
