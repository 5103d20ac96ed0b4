"""Events carry the ids of jobs, trainings, datasets and versions that have changed, over Redis pub/sub."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection, Iterator

import redis

from shared.adapters.queue.connection import Connection, translated_errors

log = logging.getLogger(__name__)


class Events:
    """One channel of Redis pub/sub. An event is only a hint and may be lost: subscribers also poll SQL."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._channel = connection.redis, connection.key("moved")

    def publish(self, ended: Collection[str], moved: Collection[str] = ()) -> None:
        """Publish the ids of what has ended or made progress. A Redis failure is logged, not raised."""
        try:
            self._redis.publish(self._channel, json.dumps([*ended, *moved]))
        except redis.RedisError as error:
            log.warning("could not publish %d events: %s", len(ended), error)

    def listen(self, closed: threading.Event) -> Iterator[list[str]]:
        """Yield the ids of each event as it arrives, until `closed` is set. Raises Unavailable."""
        with translated_errors(), self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(self._channel)
            while not closed.is_set():
                message = channel.get_message(timeout=1.0)
                if message:
                    yield json.loads(message["data"])
