"""Serializers of the history; these functions read only their arguments."""

from __future__ import annotations

from shared.domain.history import MINUTE, Point
from shared.schemas import history as schemas
from shared.schemas.common import moment_at
from shared.services.history import History


def history(history: History, tenants: str) -> schemas.History:
    """Return the history; `tenants` is `own` or `all`."""
    sizes: dict[int, int] = {}
    for each in history.points:
        for size, pictures in each.batches.items():
            sizes[size] = sizes.get(size, 0) + pictures
    return schemas.History(
        tenants=tenants,
        recent=point(history.recent),
        batches=[schemas.BatchSize(size=size, pictures=sizes[size]) for size in sorted(sizes)],
        points=[point(each) for each in history.points],
    )


def point(point: Point) -> schemas.HistoryPoint:
    """Return one point."""
    latency = point.latency
    return schemas.HistoryPoint(
        at=moment_at(point.minute * MINUTE),
        seconds=point.minutes * MINUTE,
        arrived=point.arrived,
        answered=point.answered,
        failed=point.failed,
        waiting=point.waiting,
        running=point.running,
        oldest_seconds=point.oldest_seconds,
        workers=point.workers,
        latency=schemas.LatencyPercentiles(
            p50=round(latency.p50, 4), p95=round(latency.p95, 4), p99=round(latency.p99, 4)
        )
        if latency
        else None,
    )
