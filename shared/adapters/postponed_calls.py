"""Postponed calls: what many threads have noted within some seconds is done once, in a thread of its own.

A caller waits for nothing and learns of no failure; what is noted last is lost if the process is killed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

V = TypeVar("V")
log = logging.getLogger(__name__)

AFTER = 5.0
"""Seconds from the first value that is noted until those of that time are passed on together."""
MOST = 100_000
"""Values that are kept while they cannot be passed on; further ones are dropped."""


class PostponedCalls(Generic[V]):
    """Calls of one function with the values of some seconds."""

    def __init__(self, run: Callable[[Sequence[V]], None], after: float = AFTER) -> None:
        self._run = run
        self._after = after
        self._lock = threading.Lock()
        self._values: list[V] = []
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def __call__(self, value: V) -> None:
        """Note a value."""
        with self._lock:
            if len(self._values) < MOST:
                self._values.append(value)
            self._start()

    def flush(self) -> None:
        """Pass on what is noted now; if that fails, it is tried again later."""
        with self._lock:
            values, self._values, self._timer = self._values, [], None
        if not values:
            return
        try:
            self._run(values)
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and the database may be away
            log.warning("%d values are passed on later: %s", len(values), error)
            with self._lock:
                self._values = [*values, *self._values][:MOST]
                self._start()

    def close(self) -> None:
        """Pass on what is noted, and start no thread for what fails."""
        with self._lock:
            self._is_closed = True
            if self._timer:
                self._timer.cancel()
        self.flush()

    def _start(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = threading.Timer(self._after, self.flush)
            self._timer.daemon = True
            self._timer.start()
