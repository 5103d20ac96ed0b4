"""What a view has at hand: the tools of the process, who is calling, and how long a request may wait."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import current_app, g

from shared import errors, jobs
from shared.jobs import Item, Job, Submission
from shared.tenants import Caller
from shared.tools import Tools

View = TypeVar("View", bound=Callable[..., Any])
Thing = TypeVar("Thing")


def tools() -> Tools:
    """The tools of this process."""
    return cast(Tools, current_app.extensions["inferq"])


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


class Seats:
    """How many requests may wait at once: a quarter of the threads stays free for those that only ask."""

    def __init__(self, threads: int) -> None:
        self._free = threading.Semaphore(max(1, threads * 3 // 4))

    def take(self) -> bool:
        """False when every seat is taken."""
        return self._free.acquire(blocking=False)

    def leave(self) -> None:
        """Give the seat back."""
        self._free.release()


def seats() -> Seats:
    """The seats of this process."""
    return cast(Seats, current_app.extensions["inferq.seats"])


def waited(thing: Thing, seconds: float, wait: Callable[[float], Thing]) -> Thing:
    """What `wait` gives for so many seconds; the thing as it is when none are asked for, or every seat is taken.

    No request waits longer than the setting allows.
    """
    if seconds <= 0 or not seats().take():
        return thing
    try:
        return wait(min(seconds, tools().settings.max_wait))
    finally:
        seats().leave()


def wait_for(job: Job, seconds: float) -> Job:
    """The job when it has ended, or as it is at the end of the wait; see `waited`."""
    if job.status.terminal:
        return job
    return waited(job, seconds, lambda most: jobs.wait(tools(), job.tenant, job.id, most))


def answer(asked: Submission, longest: float = math.inf) -> tuple[Job, Item]:
    """Submit one picture and wait for what becomes of it, on a wire that knows no polling; `longest` in seconds.

    Raises what the picture failed by; StillRunning when the wait runs out: the job goes on, and the message says where
    it can be asked for; Unavailable, with nothing stored, when so many wait already that nobody would.
    """
    if not seats().take():
        raise errors.Unavailable("Too many callers are waiting already; send it again in a moment.", retry_after=1.0)
    try:
        job, _ = jobs.submit(tools(), caller().tenant, asked)
        job = jobs.wait(tools(), job.tenant, job.id, min(longest, tools().settings.max_wait))
    finally:
        seats().leave()
    if not job.status.terminal:
        late = errors.StillRunning(f"The picture is still waiting for its turn; its job is at /v1/jobs/{job.id}.")
        late.job_id = job.id
        raise late
    jobs.blame(tools(), job)
    with tools().records.read() as r:
        item = r.jobs.items(job.id, limit=1)[0]
    if item.result is None:  # somebody cancelled it meanwhile, or it expired
        raise errors.Conflict(f"The job {job.id} was {job.status.lower()} before the picture ran.")
    return job, item
