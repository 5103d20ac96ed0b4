"""Waiting requests: one thread per process subscribes to events and wakes the requests that wait for a job."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TypeVar

from shared import errors
from shared.adapters.queue.queue import Queue
from shared.domain.jobs import JobChange

T = TypeVar("T")

RECENT = 4096
"""Number of recent events that are kept: a job may have ended before its request begins to wait."""
LOOK_EVERY = 1.0
"""Seconds after which a waiting request looks at SQL without an event."""
LOOKUPS = "lookups"
"""The id of the event that what requests keep in memory may have changed, see shared/adapters/lookups.py."""
log = logging.getLogger(__name__)


class Subscription:
    """One waiting request."""

    def __init__(self) -> None:
        self._moved: SimpleQueue[None] = SimpleQueue()
        """Has an entry for each event; a queue waits in C, a threading.Event in Python."""
        self.announced: JobChange | None = None
        """The end of the job, if it was announced with its outcome."""

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; returns True if the job has changed since the last call, False if the time ran out."""
        try:
            self._moved.get(timeout=seconds)
        except Empty:
            return False
        while not self._moved.empty():
            self._moved.get()
        return True

    def wake(self, announced: JobChange | None) -> None:
        """Wake the waiting request."""
        self.announced = announced or self.announced
        self._moved.put(None)


class Waiters:
    """All waiting requests of one process. Its thread starts with the first of them.

    Correctness does not depend on events: a waiting request also looks at SQL every second.
    """

    def __init__(self, queue: Queue, clear_lookups: Callable[[], None] = lambda: None) -> None:
        """`clear_lookups` is called when another process may have changed what requests keep in memory."""
        self._queue, self._clear_lookups = queue, clear_lookups
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._recent: OrderedDict[str, JobChange | None] = OrderedDict()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def subscribe(self, event_id: str) -> Iterator[Subscription]:
        """Subscribe to the events of one id for the duration of the block. If an event has just arrived, the
        subscription is woken at once."""
        subscription = Subscription()
        with self._lock:
            if event_id in self._recent:
                subscription.wake(self._recent[event_id])
            self._subscriptions.setdefault(event_id, []).append(subscription)
        self.listen()
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[event_id].remove(subscription)
                if not self._subscriptions[event_id]:
                    del self._subscriptions[event_id]

    def until(
        self,
        event_id: str,
        look: Callable[[], T],
        ended: Callable[[T], bool],
        seconds: float,
        *,
        announced: Callable[[JobChange], T | None] | None = None,
    ) -> T:
        """Call `look` until `ended` accepts its result or `seconds` have passed, and return the last result.

        `event_id` is the id of the job, training, dataset or version whose events to wait for. An event is only a hint:
        `look` is also called every second, in case an event was lost. A caller that has just read the state of a job
        passes `announced`, which makes the result of what was announced, or None; then the first look is saved, and
        mostly every look. The wait is by the monotonic clock, so that a correction of the wall clock neither stretches
        nor shortens it.
        """
        with self.subscribe(event_id) as subscription:
            end = time.monotonic() + seconds
            if announced:
                subscription.wait(max(0.0, min(LOOK_EVERY, seconds)))
            while True:
                change = subscription.announced
                if announced and change and (told := announced(change)) is not None:
                    return told
                state = look()
                remaining = end - time.monotonic()
                if ended(state) or remaining <= 0:
                    return state
                subscription.wait(min(LOOK_EVERY, remaining))

    def listen(self) -> None:
        """Start the subscriber thread, unless it is running. A server does so before its first request."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop the subscriber thread; the connection can be closed when this returns."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                for event in self._queue.events.listen(self._closed):
                    self._wake(event)
            except errors.Unavailable:
                log.warning("events do not arrive; waiting requests read the database every second")
                self._closed.wait(1.0)
            except Exception:  # if the thread ended, every wait would take up to a second longer
                log.exception("events")
                self._closed.wait(1.0)

    def _wake(self, event: Mapping[str, JobChange | None]) -> None:
        if LOOKUPS in event:
            self._clear_lookups()
        with self._lock:
            for event_id, announced in event.items():
                self._recent[event_id] = announced or self._recent.get(event_id)
                for subscription in self._subscriptions.get(event_id, ()):
                    subscription.wake(announced)
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
