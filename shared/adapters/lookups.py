"""Lookups keep in memory what every request reads and hardly anything changes: keys, models, default models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

SECONDS = 1.0
"""How long a lookup is kept, unless its caller can do with an older one: the event that should have cleared it may be
lost."""
MOST = 4096
"""Lookups that are kept; the memory is emptied when there are more."""


class Lookups:
    """The memory of one process. Whoever changes a table clears it, in this process at once and in the others by event.

    A lookup that began before it was cleared is not kept, since it may have read the row before the change.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Hashable, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._cleared = 0
        """How often it was cleared."""

    def get(self, key: Hashable, look: Callable[[], T], seconds: float = SECONDS) -> T:
        """Return what `look` returned for this key, at most so many seconds ago; what it raises is not kept."""
        until, value = self._kept.get(key, (0.0, None))
        if until > self._clock():
            return value  # type: ignore[no-any-return]
        cleared, until = self._cleared, self._clock() + seconds
        value = look()
        with self._lock:
            if cleared == self._cleared:
                if len(self._kept) >= MOST:
                    self._kept.clear()
                self._kept[key] = (until, value)
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._cleared += 1
            self._kept.clear()
