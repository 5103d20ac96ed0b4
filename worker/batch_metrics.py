"""What a worker counts of its batches for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shared.container import Container
from shared.domain import metrics
from shared.domain.jobs import BatchRun, JobChange, Outcome
from shared.domain.models import ModelVersion
from shared.domain.stream_entry import StreamEntry
from shared.services.metrics import count_job, labels_of


class BatchMetrics:
    """The counts of one version; None is a version that was removed."""

    def __init__(self, container: Container, version: ModelVersion | None) -> None:
        self._container, self._version = container, version
        self._counts = container.queue.counts
        self._labels, self._owner = labels_of(version)

    def count_begun(self, entries: Sequence[StreamEntry], claimed_at: float) -> None:
        """Count how long the pictures that are begun have waited until they were claimed (Unix seconds); not those that
        another worker has begun before, whose wait is counted."""
        for entry in entries:
            if entry.attempts == 1:
                wait, labels = max(0.0, claimed_at - entry.pushed_at), (*self._labels, entry.priority)
                self._counts.observe(metrics.WAIT_SECONDS, wait, labels, self._owner)

    def count_run(self, run: BatchRun, store: float, *, with_decode: bool = True) -> None:
        """Count a batch, whose answers were stored in `store` seconds; without its decoding where that is counted with
        another part of it."""
        if with_decode:
            self._counts.observe(metrics.DECODE_SECONDS, run.decode, self._labels, self._owner)
        for metric, value in (
            (metrics.FORWARD_SECONDS, run.forward),
            (metrics.STORE_SECONDS, store),
            (metrics.BATCH_PICTURES, float(run.size)),
        ):
            self._counts.observe(metric, value, self._labels, self._owner)
        self._counts.add(metrics.BATCHES, (*self._labels, run.closed), owner=self._owner)

    def count_ends(
        self, entries: Sequence[StreamEntry], outcomes: Sequence[Outcome], changes: Sequence[JobChange] = ()
    ) -> None:
        """Count what became of entries that were taken off the queue, and of the jobs that ended with them; entries
        without an outcome were dropped."""
        codes = {(outcome.job_id, outcome.position): outcome.error_code for outcome in outcomes}
        became, attempts = Counter[tuple[str, str]](), Counter[int]()
        for entry in entries:
            code = codes.get((entry.job_id, entry.position))
            became[("dropped", "") if code is None else ("failed", code) if code else ("done", "")] += 1
            if code is not None:
                attempts[entry.attempts] += 1
        for labels, pictures in became.items():
            self._counts.add(metrics.PICTURES, (*self._labels, *labels), pictures, self._owner)
        for attempt, times in attempts.items():
            self._counts.observe(metrics.ATTEMPTS, float(attempt), self._labels, self._owner, times)
        for change in changes:
            if change.finished_at is not None:
                margin = None if change.deadline is None else change.deadline - change.finished_at
                count_job(self._container, self._version, change.status, margin)
