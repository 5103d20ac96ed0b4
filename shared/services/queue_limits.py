"""Limits of the queue: how many pictures a tenant may have in it, and how long its pictures take."""

from __future__ import annotations

import math

from shared import errors
from shared.container import Container

COUNTED = 0.05
"""Seconds for which a count of the waiting pictures is good enough, unless it comes near the limit."""


def count_waiting(container: Container, version_id: str, tenant: str, more: int) -> int:
    """Return about how many pictures of the tenant wait; raises TooManyRequests if there is no room for more."""
    streams, most = container.queue.streams, container.settings.max_queued
    waiting = streams.count_unfinished(version_id, tenant, max_age=COUNTED)
    if waiting + more > most:  # refused by an exact count only
        waiting = streams.count_unfinished(version_id, tenant)
    if waiting + more > most:
        raise errors.TooManyRequests(
            f"{waiting} pictures of yours wait for this model and {more} more would pass the limit of {most}; wait "
            "until some are done.",
            retry_after=5.0,
        )
    return waiting


def check_patience(container: Container, version_id: str, tenant: str, waiting: int, patience: float) -> None:
    """Raise Overloaded if the pictures that wait take longer than the caller waits; it would be run
    after its caller has left, in the place of one that is in time. `patience` is in seconds."""
    seconds = seconds_ahead(container, version_id, tenant, waiting)
    if seconds > patience:
        raise errors.Overloaded(
            f"The pictures that wait already take about {math.ceil(seconds)} s, and this request waits for "
            f"{patience:g} s at most; send it again in {math.ceil(seconds - patience)} s.",
            retry_after=seconds - patience,
        )


def seconds_ahead(container: Container, version_id: str, tenant: str, waiting: int | None = None) -> float:
    """Return how many seconds the workers take for the pictures of all tenants that wait; 0 if it is unknown.

    `waiting` is the number of the tenant's own, if it is known: it changes too fast to be kept for a second.
    """
    own, others, rate = container.lookups.get(
        ("pace", version_id, tenant), lambda: _pace(container, version_id, tenant)
    )
    return ((own if waiting is None else waiting) + others) / rate if rate else 0.0


def _pace(container: Container, version_id: str, tenant: str) -> tuple[int, int, float]:
    """Return (the tenant's pictures that wait or run, those of others, pictures per second of all workers); Redis is
    asked for it once a second."""
    try:
        depths = container.queue.streams.depths([version_id])
        rate = sum(worker["rates"].get(version_id, 0.0) for worker in container.queue.workers.list())
    except errors.Unavailable:
        return 0, 0, 0.0
    own = sum(depth.waiting + depth.running for depth in depths if depth.tenant == tenant)
    return own, sum(depth.waiting + depth.running for depth in depths) - own, rate
