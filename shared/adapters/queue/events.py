"""Events carry the ids of jobs, trainings, datasets and versions that have changed, over Redis pub/sub.

The end of a job of one picture is announced with its outcome on a second channel, so that a waiting request need not
read SQL. It is apart from the ids because processes of an older version, during an upgrade, read ids only, or know less
of an outcome: they listen to a channel of another name.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import redis

from shared.adapters.queue.connection import Connection, translated_errors
from shared.domain.jobs import JobChange, Outcome, Status

log = logging.getLogger(__name__)

_FIELDS = [field.name for field in fields(JobChange) if field.name not in ("outcome", "timeline", "deadline")]
# Without the run that an outcome belongs to and what only the database counts: processes of older versions do not know
# these fields.
_NOT_ANNOUNCED = ("retries", "verdict", "observation", "explanation_size")
_ANSWER = [field.name for field in fields(Outcome) if field.name not in _NOT_ANNOUNCED]
LONGEST = 200
"""Labels or numbers of an outcome that is announced; of longer ones, only the ids are."""


class Events:
    """Two channels of Redis pub/sub. An event is only a hint and may be lost: subscribers also poll SQL."""

    def __init__(self, connection: Connection) -> None:
        self._redis = connection.redis
        self._moved, self._ended = connection.key("moved"), connection.key("answered")

    def publish(self, ended: Collection[str], moved: Collection[str] = ()) -> None:
        """Publish the ids of what has ended or made progress. A Redis failure is logged, not raised."""
        try:
            self._redis.publish(self._moved, json.dumps([*ended, *moved]))
        except redis.RedisError as error:
            log.warning("could not publish %d events: %s", len(ended), error)

    def messages(self, changes: Sequence[JobChange]) -> list[tuple[str, str]]:
        """Return (channel, message) of what a worker has written of jobs, in the order in which to publish them."""
        messages: list[tuple[str, str]] = []
        announced = [change for change in changes if _is_announced(change.outcome)]
        if announced:
            messages.append((self._ended, json.dumps([_values(change) for change in announced])))
        if changes:
            messages.append((self._moved, json.dumps([change.id for change in changes])))
        return messages

    def listen(self, closed: threading.Event) -> Iterator[Mapping[str, JobChange | None]]:
        """Yield id -> what is announced of it, None if only the id is, as events arrive, until `closed` is set.

        Raises Unavailable.
        """
        with translated_errors(), self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(self._moved, self._ended)
            while not closed.is_set():
                message = channel.get_message(timeout=1.0)
                if not message:
                    continue
                content = json.loads(message["data"])
                if message["channel"] == self._moved:
                    yield dict.fromkeys(content)
                else:
                    yield {change.id: change for change in map(_change, content)}


def _is_announced(outcome: Outcome | None) -> bool:
    """Return True if the outcome is announced. One with a verdict is read from SQL: processes of older versions could
    not read its announcement."""
    return outcome is not None and outcome.verdict is None and len(outcome.result or ()) <= LONGEST


def _values(change: JobChange) -> list[Any]:
    """Return the fields in order; `dataclasses.astuple` would copy each label and score, and take ten times as long."""
    outcome = [getattr(change.outcome, name) for name in _ANSWER]
    return [*(getattr(change, name) for name in _FIELDS), outcome, change.timeline]


def _change(values: list[Any]) -> JobChange:
    """Return what `_values` has made a list in JSON."""
    *some, outcome, timeline = values
    change = JobChange(*some)
    return replace(change, status=Status(change.status), outcome=Outcome(*outcome), timeline=timeline)
