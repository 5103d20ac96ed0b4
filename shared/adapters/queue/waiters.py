"""Waiting requests: one subscriber thread per process hears which jobs have moved and wakes those who wait."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from shared import errors
from shared.adapters.queue.queue import Queue

T = TypeVar("T")

RECENT = 512
"""Announcements kept for those who come just after: a job may be done before its caller begins to wait."""
log = logging.getLogger(__name__)


class Subscription:
    """One request's place in the waiting room."""

    def __init__(self) -> None:
        self._moved = threading.Event()

    def wait(self, seconds: float) -> bool:
        """True when the job has moved since the last call; False when the time ran out."""
        moved = self._moved.wait(seconds)
        self._moved.clear()
        return moved

    def wake(self) -> None:
        self._moved.set()


class Waiters:
    """The waiting room of one process. Its thread starts with the first who waits.

    Nothing depends on an announcement arriving: who waits looks at SQL every second as well.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """A place for one who waits. One that comes just after the announcement is woken at once."""
        subscription = Subscription()
        with self._lock:
            if job_id in self._recent:
                subscription.wake()
            self._subscriptions.setdefault(job_id, []).append(subscription)
        self.listen()
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[job_id].remove(subscription)
                if not self._subscriptions[job_id]:
                    del self._subscriptions[job_id]

    def until(self, what: str, look: Callable[[], T], ended: Callable[[T], bool], seconds: float) -> T:
        """What `look` gives when it has ended, or when the time is over; `what` is the id that is announced.

        The announcement is only a hint: it is looked at every second, in case one was lost.
        """
        with self.subscribe(what) as subscription:
            until = time.monotonic() + seconds
            while True:
                found = look()
                left = until - time.monotonic()
                if ended(found) or left <= 0:
                    return found
                subscription.wait(min(1.0, left))

    def listen(self) -> None:
        """Start to hear announcements, unless that has been done. A server does so before its first request."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="announcements", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop to hear them; the connection can be closed when this returns."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                for job_ids in self._queue.events.listen(self._closed):
                    self._wake(job_ids)
            except errors.Unavailable:
                log.warning("announcements are away; waiting requests look at the database every second")
                self._closed.wait(1.0)
            except Exception:  # a thread that ended here would never be missed, and every wait be a second longer
                log.exception("announcements")
                self._closed.wait(1.0)

    def _wake(self, job_ids: list[str]) -> None:
        with self._lock:
            self._recent.extend(job_ids)
            for job_id in job_ids:
                for subscription in self._subscriptions.get(job_id, ()):
                    subscription.wake()
