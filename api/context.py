"""What a view has at hand: the container of the process, who is calling, and how long a request may wait."""

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

View = TypeVar("View", bound=Callable[..., Any])
Thing = TypeVar("Thing")


def container() -> Container:
    """The container of this process."""
    return cast(Container, current_app.extensions["inferq"])


def caller() -> Caller:
    """Who is calling; set by api.auth before the view runs."""
    return cast(Caller, g.caller)


def scope(name: str) -> Callable[[View], View]:
    """The view is only for callers with that scope."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            caller().must(name)
            return view(*args, **kwargs)

        return cast(View, checked)

    return decorate


class WaitLimiter:
    """Limits how many requests wait at once: a quarter of the threads stays free for requests that do not wait."""

    def __init__(self, threads: int) -> None:
        self._free = threading.Semaphore(max(1, threads * 3 // 4))

    def acquire(self) -> bool:
        """Take a place; False when all of them are taken."""
        return self._free.acquire(blocking=False)

    def release(self) -> None:
        """Give the place back."""
        self._free.release()


def wait_limiter() -> WaitLimiter:
    """The limiter of this process."""
    return cast(WaitLimiter, current_app.extensions["inferq.wait_limiter"])


def waited(thing: Thing, seconds: float, wait: Callable[[float], Thing]) -> Thing:
    """What `wait` gives for so many seconds; the thing as it is when none are asked for, or every seat is taken.

    No request waits longer than the setting allows.
    """
    if seconds <= 0 or not wait_limiter().acquire():
        return thing
    try:
        return wait(min(seconds, container().settings.max_wait))
    finally:
        wait_limiter().release()


def wait_for(job: Job, seconds: float) -> Job:
    """The job when it has ended, or as it is at the end of the wait; see `waited`."""
    if job.status.terminal:
        return job
    return waited(job, seconds, lambda most: jobs.wait(container(), job.tenant, job.id, most))


def submit_and_wait(asked: Submission, longest: float = math.inf) -> tuple[Job, Item]:
    """Submit one picture and wait for what becomes of it, on a wire that knows no polling; `longest` in seconds.

    Raises what the picture failed by; StillRunning when the wait runs out: the job goes on, and the message says where
    it can be asked for; Unavailable, with nothing stored, when so many wait already that nobody would.
    """
    if not wait_limiter().acquire():
        raise errors.Unavailable("Too many callers are waiting already; send it again in a moment.", retry_after=1.0)
    try:
        job, _ = jobs.submit(container(), caller().tenant, asked)
        job = jobs.wait(container(), job.tenant, job.id, min(longest, container().settings.max_wait))
    finally:
        wait_limiter().release()
    if not job.status.terminal:
        late = errors.StillRunning(f"The picture is still waiting for its turn; its job is at /v1/jobs/{job.id}.")
        late.job_id = job.id
        raise late
    jobs.raise_failure(container(), job)
    item = jobs.list_items(container(), job.id, limit=1)[0]
    if item.result is None:  # somebody cancelled it meanwhile, or it expired
        raise errors.Conflict(f"The job {job.id} was {job.status.lower()} before the picture ran.")
    return job, item
