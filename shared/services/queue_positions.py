"""Where a job stands in the queue, and when it should have ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from shared import errors
from shared.container import Container
from shared.domain.jobs import PRIORITIES, Job, Status

StreamKey: TypeAlias = tuple[str, str, bool]
"""Priority, tenant, and whether its pictures run or wait."""
MOST_COUNTED = 10_000
"""Most jobs before a job that are counted; a position beyond is at least that."""


@dataclass(frozen=True)
class Pace:
    """What waits for a version and runs, and how fast its workers are; nothing and 0 if that is unknown."""

    counts: Mapping[StreamKey, int] = field(default_factory=dict)
    """The pictures of each stream."""
    rate: float = 0.0
    """How many of them per second all workers do together."""
    read_at: float = field(default_factory=time.monotonic)
    """When it was read (monotonic seconds of this process)."""


@dataclass(frozen=True)
class QueuePosition:
    """The position of a job that has not ended."""

    position: int | None
    """The number of its first picture among those that wait for its version, 1 for the next; None if it is unknown, and
    when the job runs."""
    seconds: float | None
    """Seconds until its last picture should have an outcome; None if no worker has measured its rate."""


def find(container: Container, job: Job, *, is_new: bool = False) -> QueuePosition:
    """Return the position of a job that has not ended.

    Workers take the priorities in turn, and of one priority the same share for every tenant. So before its first
    picture run all pictures of higher priorities, the earlier ones of its tenant, and as many of each other tenant.
    Those of its tenant are counted in SQL. Not for a job that `is_new`, lest every submission takes a query more: it
    has no position yet, and its time follows from what waited a second ago.
    """
    asked_at = time.monotonic()
    now = pace(container, job.version_id)
    counts, rate = now.counts, now.rate
    if job.status is not Status.QUEUED:
        # The workers also run pictures of other jobs, and record the outcomes of a batch together.
        at_once = sum(count for (_, _, is_running), count in counts.items() if is_running)
        return QueuePosition(None, (job.left + max(0, at_once - job.left) / 2) / rate if rate else None)
    if is_new:
        own = counts.get((job.priority, job.tenant, False), 0)
        if now.read_at >= asked_at:  # its own pictures, which were pushed before, are among them
            own = max(0, own - job.total)
    else:
        with container.database.read() as uow:
            own = uow.jobs.count_before(job, MOST_COUNTED)
        own = max(0, own - counts.get((job.priority, job.tenant, True), 0))  # without those that run
    higher = others = running = 0
    for (priority, tenant, is_running), count in counts.items():
        if is_running:
            running += count
        elif PRIORITIES.index(priority) < PRIORITIES.index(job.priority):
            higher += count
        elif priority == job.priority and tenant != job.tenant:
            others += min(count, own)
    before = higher + others + own
    # What runs is half done, on average.
    seconds = (before + running / 2 + job.total) / rate if rate else None
    return QueuePosition(None if is_new else before + 1, seconds)


def pace(container: Container, version_id: str) -> Pace:
    """Return the pace of a version. Redis is asked once a second, and briefly: a poll does not wait for one that
    hangs."""
    try:
        return container.lookups.get(("pace", version_id), lambda: _pace(container, version_id))
    except errors.Unavailable:
        return Pace()


def _pace(container: Container, version_id: str) -> Pace:
    counts: dict[StreamKey, int] = {}
    read_at = time.monotonic()
    for depth in container.queue.brief_streams.depths([version_id]):
        counts[depth.priority, depth.tenant, False] = depth.waiting
        counts[depth.priority, depth.tenant, True] = depth.running
    rate = sum(worker["rates"].get(version_id, 0.0) for worker in container.queue.brief_workers.list())
    return Pace(counts, rate, read_at)
