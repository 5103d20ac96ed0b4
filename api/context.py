"""The context of a route: the container of the process, the caller, and how long a request may wait."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import current_app, g

from shared import errors
from shared.container import Container
from shared.domain.jobs import Item, Job, Submission
from shared.domain.keys import Caller
from shared.services import jobs

Route = TypeVar("Route", bound=Callable[..., Any])
Thing = TypeVar("Thing")


def container() -> Container:
    """Return the container of this process."""
    return cast(Container, current_app.extensions["inferq"])


def caller() -> Caller:
    """Return the caller, which api.auth sets before the route runs."""
    return cast(Caller, g.caller)


def scope(name: str) -> Callable[[Route], Route]:
    """Decorate a route so that it raises Forbidden for a caller without that scope."""

    def decorate(route: Route) -> Route:
        @wraps(route)
        def checked(*args: Any, **kwargs: Any) -> Any:
            caller().must(name)
            return route(*args, **kwargs)

        checked.scope = name  # type: ignore[attr-defined]  # the OpenAPI document states it
        return cast(Route, checked)

    return decorate


class WaitLimiter:
    """The limiter bounds how many requests wait at once: a quarter of the threads stays free for other requests."""

    def __init__(self, threads: int) -> None:
        self._free = threading.Semaphore(max(1, threads * 3 // 4))

    def acquire(self) -> bool:
        """Take a place; return False when all places are taken."""
        return self._free.acquire(blocking=False)

    def release(self) -> None:
        """Return a place that `acquire` took."""
        self._free.release()


def wait_limiter() -> WaitLimiter:
    """Return the limiter of this process."""
    return cast(WaitLimiter, current_app.extensions["inferq.wait_limiter"])


def waited(thing: Thing, seconds: float, wait: Callable[[float], Thing]) -> Thing:
    """Return the result of `wait`, or the thing unchanged when `seconds` is 0 or less or every waiting place is taken.

    The wait is in seconds and never longer than the setting `max_wait`.
    """
    if seconds <= 0 or not wait_limiter().acquire():
        return thing
    try:
        return wait(min(seconds, container().settings.max_wait))
    finally:
        wait_limiter().release()


def wait_for(job: Job, seconds: float) -> Job:
    """Return the job once it has ended, or its state when `seconds` are over; see `waited`."""
    if job.status.terminal:
        return job
    return waited(job, seconds, lambda most: jobs.wait(container(), job, most))


def submit_and_wait(submission: Submission, longest: float = math.inf) -> tuple[Job, Item]:
    """Submit one picture and wait for its result, on a wire without polling; `longest` is in seconds.

    Raises the error by which the picture failed; StillRunning when the wait runs out (the job continues, and the
    message names its address); Unavailable, with nothing stored, when every waiting place is taken, or when those that
    wait already take longer; Conflict when the
    job was cancelled or expired before the picture ran.
    """
    if not wait_limiter().acquire():
        raise errors.Unavailable("Too many callers are waiting already; send it again in a moment.", retry_after=1.0)
    patience = min(longest, container().settings.max_wait)
    try:
        job, _ = jobs.submit(container(), caller().tenant, submission, patience)
        job = jobs.wait(container(), job, patience)
    finally:
        wait_limiter().release()
    if not job.status.terminal:
        late = errors.StillRunning(f"The picture is still waiting for its turn; its job is at /v1/jobs/{job.id}.")
        late.job_id = job.id
        raise late
    jobs.raise_failure(container(), job)
    item = jobs.list_items(container(), job, limit=1)[0]
    if item.result is None:  # the job was cancelled meanwhile, or it expired
        raise errors.Conflict(f"The job {job.id} was {job.status.lower()} before the picture ran.")
    return job, item
