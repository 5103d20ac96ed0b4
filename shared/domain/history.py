"""The history of the service: what is counted of its work in each minute, and what follows from the counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

Stream: TypeAlias = tuple[str, str]
"""Tenant and version, of all priorities."""
MINUTE = 60
FOLDED = 15
"""Minutes whose counts are added up once they are older than FINE: a day then has few rows."""
FINE, KEPT = 75, 24 * 60 + FOLDED
"""Minutes for which counts are kept by the minute, and at all."""
_SHORTEST, _FACTOR = 0.001, 1.2
"""Seconds, and how much longer the times of one step of a latency may be than those of the step before."""


class Measure(StrEnum):
    """What is counted; the step says which part of it."""

    ARRIVED = "arrived"
    """Pictures that were put on the queue."""
    ANSWERED = "answered"
    """Pictures with an outcome, by the step of their latency: from the queue to the stored outcome."""
    FAILED = "failed"
    """Those of them whose outcome is an error."""
    DROPPED = "dropped"
    """Pictures that were taken off the queue without an outcome, such as those of cancelled jobs."""
    BATCH = "batch"
    """Pictures with an outcome, by the number of pictures in their batch."""
    DEPTH = "depth"
    """Pictures that waited or ran at the last sample of the minute, from which arrivals follow."""
    WAITING = "waiting"
    RUNNING = "running"
    OLDEST = "oldest"
    """Age of the oldest unfinished picture, in milliseconds."""
    WORKERS = "workers"
    """Running workers, of no tenant and no version. A minute without this count was not sampled."""


LEVELS = (Measure.DEPTH, Measure.WAITING, Measure.RUNNING, Measure.OLDEST, Measure.WORKERS)
"""The measures that are sampled and not counted: of several samples, and of several minutes, the most holds."""


class Counted(NamedTuple):
    """What a count is of."""

    minute: int
    """Minutes since 1970, in UTC."""
    tenant: str
    version_id: str
    measure: Measure
    step: int = 0


@dataclass(frozen=True)
class Latency:
    """The times that half, 95 % and 99 % of the pictures did not exceed; in seconds, 10 % too long or short at most."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Point:
    """The history of some minutes."""

    minute: int
    minutes: int
    arrived: int = 0
    answered: int = 0
    failed: int = 0
    batches: dict[int, int] = field(default_factory=dict)
    """Pictures of a batch -> pictures that ran in such batches."""
    waiting: int | None = None
    """The most that waited at once; this and the following are None if nothing was sampled."""
    running: int | None = None
    oldest_seconds: float | None = None
    workers: int | None = None
    latencies: dict[int, int] = field(default_factory=dict)

    @property
    def latency(self) -> Latency | None:
        """None if no picture was answered."""
        if not self.latencies:
            return None
        return Latency(*(percentile(self.latencies, share) for share in (0.5, 0.95, 0.99)))


def minute_of(now: float) -> int:
    """Return the minute that Unix seconds lie in."""
    return int(now // MINUTE)


def step_of(seconds: float) -> int:
    """Return the step of a latency; 0 for a millisecond and less."""
    return max(0, math.ceil(math.log(max(seconds, _SHORTEST) / _SHORTEST, _FACTOR)))


def percentile(latencies: Mapping[int, int], share: float) -> float:
    """Return the seconds that this share of the pictures did not exceed; `latencies` is step -> pictures, not empty."""
    wanted = share * sum(latencies.values())
    seen = 0
    for step in sorted(latencies):
        seen += latencies[step]
        if seen >= wanted:
            break
    return _SHORTEST * _FACTOR ** (step - 0.5) if step else _SHORTEST  # the middle of the step, by its logarithm


def arrivals(counts: Mapping[Counted, int], minute: int) -> dict[Counted, int]:
    """Return how many pictures arrived in a minute, from the counts of that minute and the one before: those that
    were taken off the queue, plus the growth of the queue."""
    taken, depth, before = Counter[Stream](), Counter[Stream](), Counter[Stream]()
    sampled: set[int] = set()
    for counted, count in counts.items():
        stream = (counted.tenant, counted.version_id)
        if counted.measure is Measure.WORKERS:
            sampled.add(counted.minute)
        elif counted.measure is Measure.DEPTH:
            (depth if counted.minute == minute else before)[stream] += count
        elif counted.measure in (Measure.ANSWERED, Measure.DROPPED) and counted.minute == minute:
            taken[stream] += count
    known = sampled >= {minute - 1, minute}
    found = {
        stream: taken[stream] + (depth[stream] - before[stream] if known else 0) for stream in {*taken, *depth, *before}
    }
    return {Counted(minute, *stream, Measure.ARRIVED): count for stream, count in found.items() if count > 0}


def merged(points: Sequence[Point]) -> Point:
    """Return one point for consecutive points, at least one."""

    def most(name: str) -> Any:
        values = [value for point in points if (value := getattr(point, name)) is not None]
        return max(values, default=None)

    batches, latencies = Counter[int](), Counter[int]()
    for point in points:
        batches.update(point.batches)
        latencies.update(point.latencies)
    return Point(
        points[0].minute,
        sum(point.minutes for point in points),
        sum(point.arrived for point in points),
        sum(point.answered for point in points),
        sum(point.failed for point in points),
        dict(batches),
        most("waiting"),
        most("running"),
        most("oldest_seconds"),
        most("workers"),
        dict(latencies),
    )
