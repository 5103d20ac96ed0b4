"""Server-sent events report a job or a training: `status` and `progress` on changes, `done` at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import Response, stream_with_context

from api.context import container, held_threads
from shared import errors
from shared.adapters.queue.waiters import Waiters
from shared.domain.jobs import Status

LONGEST = 600.0
"""Seconds of one stream; a client that still listens reconnects, as EventSource does by itself."""


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a job or a training for the event stream."""

    status: Status
    mark: object
    """A value that changes with every progress within the same status."""
    data: bytes
    """The data of the event, as JSON."""


def stream(moving_id: str, look: Callable[[], Snapshot]) -> Response:
    """Return a stream of every change that `look` shows, until the thing ends or is deleted; raises Unavailable."""
    if not held_threads().acquire():
        raise errors.Unavailable("Too many callers are waiting already; poll instead.")
    response = Response(
        stream_with_context(_follow(container().waiters, moving_id, look)), mimetype="text/event-stream"
    )
    response.call_on_close(held_threads().release)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _follow(waiters: Waiters, moving_id: str, look: Callable[[], Snapshot]) -> Iterator[str]:
    last_sent: tuple[Status, object] | None = None
    until = time.monotonic() + LONGEST
    with waiters.subscribe(moving_id) as ticket:
        while time.monotonic() < until:
            try:
                snapshot = look()
            except errors.NotFound:  # removed meanwhile
                return
            if (state := (snapshot.status, snapshot.mark)) != last_sent:
                kind = "status" if last_sent is None or last_sent[0] != snapshot.status else "progress"
                last_sent = state
                yield _event(kind, snapshot)
            if snapshot.status.terminal:
                yield _event("done", snapshot)
                return
            if not ticket.wait(1.0):
                yield ": waiting\n\n"


def _event(kind: str, snapshot: Snapshot) -> str:
    return f"event: {kind}\ndata: {snapshot.data.decode()}\n\n"
