"""Waiting requests: coroutines that hold no thread until an event, or the time, moves them on.

request ──> coroutine ──await until(...)──> Pause: its thread is free
                ▲                              │
                └── resume ── event, time, or the look at SQL every second
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from shared import errors
from shared.adapters.pauses import Pause
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
    """The events of one id, for one who waits."""

    def __init__(self, waiters: Waiters) -> None:
        self._waiters = waiters
        self._lock = threading.Lock()
        self._has_moved = False
        self._moved_last = False
        self._resume: Callable[[], None] | None = None
        self.end = 0.0
        """Time, by the monotonic clock, at which it moves on without an event."""
        self.since = 0.0
        """Time since when it waits."""
        self.is_for_job = False
        """True if the timer may look for it whether the job has ended."""
        self.announced: JobChange | None = None
        """The end of the job, if it was announced with its outcome."""
        self.is_given_up = False
        """True if the caller has gone."""

    def moved(self, seconds: float, *, is_for_job: bool = False) -> Pause:
        """Return what to await: the next event since the last call, or that `seconds` have passed."""
        self.is_for_job = is_for_job
        return _EventPause(self, seconds)

    def wait(self, seconds: float) -> bool:
        """Wait likewise, in the calling thread; return True for an event, False if the time ran out."""
        resumed: SimpleQueue[None] = SimpleQueue()  # it waits in C, a threading.Event in Python
        self.start(seconds, lambda: resumed.put(None))
        resumed.get()
        return self._moved_last

    def start(self, seconds: float, resume: Callable[[], None]) -> None:
        """Have `resume` called once, in any thread, at the next event, or when `seconds` have passed."""
        with self._lock:
            at_once, self._has_moved = self._has_moved or self.is_given_up, False
            self._moved_last = at_once
            if not at_once:
                self.since = time.monotonic()
                self.end = self.since + seconds
                self._resume = resume
        if at_once:
            resume()
        else:
            self._waiters.mind_time(self)

    def wake(self, announced: JobChange | None = None) -> None:
        """Tell of an event."""
        with self._lock:
            self.announced = announced or self.announced
            resume, self._resume = self._resume, None
            self._has_moved = resume is None
            self._moved_last = True
        if resume:
            resume()

    def let_go(self) -> None:
        """Resume without an event, if it waits."""
        with self._lock:
            resume, self._resume = self._resume, None
        if resume:
            resume()

    def give_up(self) -> None:
        """End the wait, since its caller has gone."""
        self.is_given_up = True
        self.let_go()

    @property
    def is_waiting(self) -> bool:
        return self._resume is not None


class _EventPause(Pause):
    """The wait for an event."""

    def __init__(self, subscription: Subscription, seconds: float) -> None:
        self._subscription, self._seconds = subscription, seconds

    def start(self, resume: Callable[[], None]) -> None:
        self._subscription.start(self._seconds, resume)

    def give_up(self) -> None:
        """End the wait; the coroutine gets a CallerGone."""
        self._subscription.give_up()


class Waiters:
    """All that waits in one process. Its threads, for events, time and looks at SQL, start when something waits.

    Correctness does not depend on events: SQL is looked at every second.
    """

    def __init__(
        self,
        queue: Queue,
        clear_lookups: Callable[[], None] = lambda: None,
        ended_among: Callable[[Sequence[str]], Collection[str]] = lambda ids: ids,
    ) -> None:
        """`clear_lookups` is called when another process may have changed what requests keep in memory;
        `ended_among` returns those of the jobs that have ended, or may have: they are looked at one by one."""
        self._queue, self._clear_lookups, self._ended_among = queue, clear_lookups, ended_among
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._recent: OrderedDict[str, JobChange | None] = OrderedDict()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._sooner = threading.Event()
        self._awake_at = 0.0
        self._last = float("inf")
        """Time, by the monotonic clock, at which every wait ends."""

    @contextmanager
    def subscribe(self, event_id: str) -> Iterator[Subscription]:
        """Subscribe to the events of one id for the duration of the block. If an event has just arrived, the
        subscription is woken at once."""
        subscription = Subscription(self)
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

    async def until(
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
        mostly every look, since all such jobs are looked for together. The wait is by the monotonic clock, so that a
        correction of the wall clock neither stretches nor shortens it. Raises CallerGone.
        """
        with self.subscribe(event_id) as subscription:
            end = time.monotonic() + seconds
            remaining = seconds
            if announced:
                await subscription.moved(max(0.0, seconds), is_for_job=True)
            while True:
                if subscription.is_given_up:
                    raise errors.CallerGone
                change = subscription.announced
                if announced and change and (told := announced(change)) is not None:
                    return told
                state = look()
                remaining = min(end, self._last) - time.monotonic()
                if ended(state) or remaining <= 0:
                    return state
                if announced:
                    await subscription.moved(remaining, is_for_job=True)
                else:
                    await subscription.moved(min(LOOK_EVERY, remaining))

    def listen(self) -> None:
        """Start the threads, unless they run. A server does so before its first request."""
        if self._threads:
            return
        with self._lock:
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._listen, name="events", daemon=True),
                    threading.Thread(target=self._mind_time, name="waits", daemon=True),
                    threading.Thread(target=self._look_for_ends, name="looks", daemon=True),
                ]
                for thread in self._threads:
                    thread.start()

    def end_within(self, seconds: float) -> None:
        """End every wait, also those to come, by then: the process is about to end."""
        self._last = time.monotonic() + seconds
        self._sooner.set()

    def mind_time(self, subscription: Subscription) -> None:
        """Resume the subscription at its end; its thread may sleep for longer."""
        if min(subscription.end, self._last) < self._awake_at:
            self._sooner.set()

    def close(self) -> None:
        """Stop the threads; the connection can be closed when this returns."""
        self._closed.set()
        self._sooner.set()
        for thread in self._threads:
            thread.join(5.0)

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
        woken: list[tuple[Subscription, JobChange | None]] = []
        with self._lock:
            for event_id, announced in event.items():
                self._recent[event_id] = announced or self._recent.get(event_id)
                woken += [(subscription, announced) for subscription in self._subscriptions.get(event_id, ())]
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        for subscription, announced in woken:
            subscription.wake(announced)

    def _mind_time(self) -> None:
        """Let go what has waited long enough."""
        while not self._closed.is_set():
            self._sooner.clear()
            self._awake_at = float("inf")  # what begins to wait during this round may be missed by it: one more, then
            now = time.monotonic()
            waiting = self._waiting()
            ends = {subscription: min(subscription.end, self._last) for subscription in waiting}
            for subscription, end in ends.items():
                if end <= now:
                    _let_go(subscription)
            later = [end for end in ends.values() if end > now]
            self._awake_at = min([now + LOOK_EVERY, *later, *([self._last] if self._last > now else [])])
            self._sooner.wait(self._awake_at - time.monotonic())

    def _look_for_ends(self) -> None:
        """Let go, every LOOK_EVERY, what waits for a job that has ended unheard. This has a thread of its own, since a
        database that hangs must not hold up those whose time is over."""
        while not self._closed.wait(LOOK_EVERY):
            long_ago = time.monotonic() - LOOK_EVERY / 2
            waiting = self._waiting().items()
            for subscription in self._ended({
                subscription: job_id for subscription, job_id in waiting
                if subscription.is_for_job and subscription.since <= long_ago
            }):  # fmt: skip
                _let_go(subscription)

    def _waiting(self) -> dict[Subscription, str]:
        with self._lock:
            return {
                subscription: event_id
                for event_id, subscriptions in self._subscriptions.items()
                for subscription in subscriptions
                if subscription.is_waiting
            }

    def _ended(self, waiting: Mapping[Subscription, str]) -> list[Subscription]:
        """Return the subscriptions whose job has ended unheard."""
        if not waiting:
            return []
        try:
            ended = set(self._ended_among(sorted(set(waiting.values()))))
        except errors.InferqError as error:  # those who wait go on waiting, until their time is over
            log.warning("cannot look whether jobs have ended: %s", error)
            return []
        except Exception:  # as above: the thread must not end
            log.exception("waits")
            return []
        return [subscription for subscription, job_id in waiting.items() if job_id in ended]


def _let_go(subscription: Subscription) -> None:
    try:
        subscription.let_go()
    except Exception:  # the thread must not end: all others wait for it
        log.exception("waits")
