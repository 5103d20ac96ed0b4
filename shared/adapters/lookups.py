"""Lookups keep in memory what every request reads and hardly anything changes: keys, models, default models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

SECONDS = 1.0
"""How long a lookup is kept, unless its caller can do with an older one: the event that should have cleared it may be
lost."""
MOST = 4096
"""Lookups that are kept; the memory is emptied when there are more."""


class Lookups:
    """The memory of one process. Whoever changes a table clears it, in this process at once and in the others by event.

    A lookup that began before it was cleared is not kept, since it may have read the row before the change. Callers
    that miss the same thing at the same moment share one lookup: when a second is over, hundreds of threads would
    otherwise ask Redis or SQL the same, each by a connection of its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Hashable, tuple[float, Any]] = {}
        self._begun: dict[Hashable, Future[Any]] = {}
        """The lookups that have begun since it was cleared, and have not ended."""
        self._lock = threading.Lock()
        self._cleared = 0
        """How often it was cleared."""

    def get(self, key: Hashable, look: Callable[[], T], seconds: float = SECONDS) -> T:
        """Return what `look` returned for this key, at most so many seconds ago, or to another thread that has begun
        before; what it raises is neither kept nor shared."""
        until, value = self._kept.get(key, (0.0, None))
        if until > self._clock():
            return value  # type: ignore[no-any-return]
        with self._lock:
            until, value = self._kept.get(key, (0.0, None))
            if until > self._clock():  # a lookup has ended in between
                return value  # type: ignore[no-any-return]
            begun = self._begun.get(key)
            if begun is None:
                own = self._begun[key] = Future[T]()
                cleared, until = self._cleared, self._clock() + seconds
        if begun is not None:
            # An error is its caller's: it may name a job, and is raised by one thread only.
            return look() if begun.exception() else begun.result()
        try:
            value = look()
        except BaseException as error:
            self._end(key, own)
            own.set_exception(error)
            raise
        with self._lock:
            if cleared == self._cleared:
                if len(self._kept) >= MOST:
                    self._kept.clear()
                self._kept[key] = (until, value)
        self._end(key, own)
        own.set_result(value)
        return value

    def _end(self, key: Hashable, own: Future[Any]) -> None:
        with self._lock:
            if self._begun.get(key) is own:  # else it was cleared, and another may have begun
                del self._begun[key]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._cleared += 1
            self._kept.clear()
            self._begun.clear()  # who asks from now on must not get what was read before
