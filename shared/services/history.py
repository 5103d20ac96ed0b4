"""Use-cases of the history: workers count their work, maintenance samples the queue, and charts show the last day.

It is about twenty rows for each minute of the last hour, and for each quarter of an hour of the last day, of each
tenant and version that is in use. It is kept in SQL, where it survives every restart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from shared.container import Container
from shared.domain import history as rules
from shared.domain.history import Counted, Measure, Point

SAMPLED_EVERY = 15.0
"""Seconds between two samples of the queue."""
SETTLED = 30.0
"""Seconds after its end when a minute is shown: workers have stored their counts, and its arrivals are known."""
RECENT = 5
"""Minutes that say how the service does now."""
SPANS = {"hour": (60, 1), "day": (24 * 60, rules.FOLDED)}
"""Span -> its minutes, and the minutes of one of its points."""
SERVICE = ""
"""The tenant of counts that belong to the service."""


@dataclass(frozen=True)
class History:
    """What the service did in a span."""

    points: list[Point]
    """Without gaps, oldest first; the last one may be of the present quarter of an hour."""
    recent: Point
    """The last RECENT minutes that are settled."""


def add(container: Container, counts: Mapping[Counted, int]) -> None:
    """Add what a worker has counted; raises Unavailable."""
    if counts:
        with container.database.write() as uow:
            uow.history.add(counts)


def sample(container: Container) -> None:
    """Store how much waits and runs at this moment, and how many pictures arrived in the minutes that are just over.

    Their arrivals are computed again at the next sample, since workers store their counts some seconds later. Raises
    Unavailable.
    """
    depths = container.queue.streams.depths()
    workers = len(container.queue.workers.list())
    now = container.now()
    minute = rules.minute_of(now)
    levels = Counter({Counted(minute, SERVICE, "", Measure.WORKERS): workers})
    depth = Counter[Counted]()
    for each in depths:
        whose = (minute, each.tenant, each.version_id)
        levels[Counted(*whose, Measure.WAITING)] += each.waiting
        levels[Counted(*whose, Measure.RUNNING)] += each.running
        depth[Counted(*whose, Measure.DEPTH)] += each.waiting + each.running
        if each.oldest is not None:
            oldest = Counted(*whose, Measure.OLDEST)
            levels[oldest] = max(levels[oldest], int((now - each.oldest) * 1000))
    with container.database.write() as uow:
        uow.history.keep_most(levels)
        uow.history.set(depth)
        counts = uow.history.counts(minute - 3, minute, list(Measure))
        for past in (minute - 2, minute - 1):
            about = {counted: count for counted, count in counts.items() if counted.minute in (past, past - 1)}
            uow.history.set(rules.arrivals(about, past))


def is_sampled(container: Container, minutes: int) -> bool:
    """Return whether the queue was sampled in this minute or the last ones; raises Unavailable."""
    minute = rules.minute_of(container.now())
    with container.database.read() as uow:
        return bool(uow.history.counts(minute - minutes, minute + 1, [Measure.WORKERS]))


def fold(container: Container) -> None:
    """Add up the counts that are no longer shown by the minute, and delete those of the day before; raises
    Unavailable."""
    minute = rules.minute_of(container.now())
    with container.database.write() as uow:
        uow.history.drop(minute - rules.KEPT)
        uow.history.fold((minute - rules.FINE) // rules.FOLDED * rules.FOLDED, rules.FOLDED)


def read(container: Container, tenant: str | None, span: str) -> History:
    """Return the history of a span, of the pictures of one tenant, or of all if it is None; raises Unavailable."""
    points = read_points(container, tenant, *SPANS[span])
    recent = points if span == "hour" else read_points(container, tenant, RECENT)
    return History(points, rules.merged(recent[-RECENT:]))


def read_points(container: Container, tenant: str | None, minutes: int, step: int = 1) -> list[Point]:
    """Return the points of the last minutes that are settled, of `step` minutes each, as `read` does."""
    end = rules.minute_of(container.now() - SETTLED)
    last = (end - 1) // step * step
    first = last - minutes + step
    with container.database.read() as uow:
        points = _points(uow.history.sums(first, end, None if tenant is None else [tenant, SERVICE]))
    return [
        rules.merged([points.get(minute, Point(minute, 1)) for minute in range(start, min(start + step, end))])
        for start in range(first, last + 1, step)
    ]


_SUMS = {
    Measure.ARRIVED: "arrived",
    Measure.ANSWERED: "answered",
    Measure.FAILED: "failed",
    Measure.WAITING: "waiting",
    Measure.RUNNING: "running",
    Measure.WORKERS: "workers",
}
"""Measure -> the field of a point that it adds to. What was dropped has arrived, and was not answered."""


def _points(rows: Collection[tuple[int, Measure, int, int, int]]) -> dict[int, Point]:
    fields = defaultdict[int, dict[str, Any]](lambda: {"batches": {}, "latencies": {}})
    for minute, measure, step, total, most in rows:
        point = fields[minute]
        if name := _SUMS.get(measure):
            point[name] = point.get(name, 0) + total
        if measure is Measure.ANSWERED:
            point["latencies"][step] = total
        elif measure is Measure.BATCH:
            point["batches"][step] = total
        elif measure is Measure.OLDEST:
            point["oldest_seconds"] = most / 1000
    for point in fields.values():
        if "workers" in point:  # it was sampled: what has no row was empty
            for name in ("waiting", "running", "oldest_seconds"):
                point.setdefault(name, 0)
    return {minute: Point(minute, 1, **point) for minute, point in fields.items()}
