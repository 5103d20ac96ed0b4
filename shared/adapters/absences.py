"""Absences: what this process has looked for in the storage in vain, although nobody removed it, and since when."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

FRESH = 120.0
"""Seconds after the last vain look in which a blob counts as absent for those who watch this process."""
KEPT = 7200.0
"""Seconds after the last vain look in which the first is remembered: longer than a try may take until it comes to the
blob. A comparison reads thousands of pictures in order; were the first look forgotten earlier, it would never be given
up."""


class Absences:
    """The absent blobs of one process, by key; any thread may call."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}
        """Key -> the first and the last vain look, in Unix seconds; in the order of the last."""
        self._lock = threading.Lock()

    def note(self, key: str, now: float) -> float:
        """Note a vain look; return the time of the first, in Unix seconds."""
        with self._lock:
            self._forget(now)
            since, _ = self._seen.pop(key, (now, now))
            self._seen[key] = since, now
            return since

    def forget(self, key: str) -> None:
        """Note that a blob was found: should it be missed again, that is another absence."""
        if key in self._seen:  # without the lock, which every picture would else wait for
            with self._lock:
                self._seen.pop(key, None)

    def remembered(self) -> Collection[str]:
        """Return the keys that are remembered."""
        with self._lock:
            return list(self._seen)

    def current(self, now: float) -> Mapping[str, float]:
        """Return key -> since when, of the blobs that are absent now."""
        with self._lock:
            return {key: since for key, (since, last) in self._seen.items() if last > now - FRESH}

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[key := next(iter(self._seen))][1] <= now - KEPT:
            del self._seen[key]
