"""What a worker counts of its pictures for the history, until it is stored."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from shared.domain.history import Counted, Measure, minute_of, step_of
from shared.domain.jobs import Outcome
from shared.domain.stream_entry import StreamEntry


class Counting:
    """The counts since they were last taken; any thread may call."""

    def __init__(self) -> None:
        self._counts = Counter[Counted]()
        self._lock = threading.Lock()

    def add(self, version_id: str, entries: Sequence[StreamEntry], outcomes: Sequence[Outcome], now: float) -> None:
        """Count entries of one batch, whose outcomes were stored and which were taken off the queue at `now` (Unix
        seconds); those without an outcome were dropped."""
        minute = minute_of(now)
        failed = {(outcome.job_id, outcome.position): bool(outcome.error_code) for outcome in outcomes}
        counts = Counter[Counted]()
        for entry in entries:
            has_failed = failed.get((entry.job_id, entry.position))
            if has_failed is None:
                counts[Counted(minute, entry.tenant, version_id, Measure.DROPPED)] += 1
                continue
            counts[Counted(minute, entry.tenant, version_id, Measure.ANSWERED, step_of(now - entry.pushed_at))] += 1
            counts[Counted(minute, entry.tenant, version_id, Measure.BATCH, len(entries))] += 1
            if has_failed:
                counts[Counted(minute, entry.tenant, version_id, Measure.FAILED)] += 1
        with self._lock:
            self._counts.update(counts)

    def take(self) -> Counter[Counted]:
        """Return the counts, and begin anew."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return taken

    def give_back(self, counts: Counter[Counted]) -> None:
        """Add counts again that could not be stored."""
        with self._lock:
            self._counts.update(counts)
