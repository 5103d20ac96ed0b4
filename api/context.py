"""The context of a route: the container of the process, the caller, and how long a request may wait."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from flask import current_app, g, request

from shared import errors
from shared.adapters.pauses import Waiting
from shared.container import Container
from shared.domain.jobs import Item, Job, Submission
from shared.domain.keys import Caller
from shared.services import jobs
from shared.settings import Settings

Route = TypeVar("Route", bound=Callable[..., Any])
Thing = TypeVar("Thing")


def container() -> Container:
    """Return the container of this process."""
    return cast(Container, current_app.extensions["inferq"])


def caller() -> Caller:
    """Return the caller, which api.auth sets before the route runs."""
    return cast(Caller, g.caller)


def link(path: str) -> str:
    """Return the address of a path of this service, without its host, as callers reach it: a proxy may serve it below a
    path."""
    return f"{request.script_root}{path}" if request else path


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


class RequestPlaces:
    """These places bound how many requests do something at the same time that takes long."""

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(max(1, most))

    def acquire(self, seconds: float = 0.0) -> bool:
        """Take a place; return False when none has become free within so many seconds."""
        return self._free.acquire(timeout=seconds)

    def release(self) -> None:
        """Return a place that `acquire` took."""
        self._free.release()

    @contextmanager
    def taken(self, seconds: float = 0.0) -> Iterator[bool]:
        """Take a place for the block; yield False when none has become free within so many seconds."""
        taken = self.acquire(seconds)
        try:
            yield taken
        finally:
            if taken:
                self.release()

    @contextmanager
    def taken_or_refused(self, seconds: float = 0.0) -> Iterator[None]:
        """Take a place for the block; raises Unavailable when none has become free within so many seconds."""
        with self.taken(seconds) as taken:
            if not taken:
                raise errors.Unavailable(
                    "Too many callers are waiting already; send it again in a moment.", retry_after=1.0
                )
            yield


def request_places(settings: Settings) -> dict[str, RequestPlaces]:
    """Return the places of an app, by the names of its extensions."""
    return {
        "inferq.waiting_places": RequestPlaces(settings.max_waiting),
        "inferq.held_threads": RequestPlaces(settings.api_threads * 3 // 4),
        "inferq.thumbnail_places": RequestPlaces(1),
    }


def waiting_places() -> RequestPlaces:
    """Return the places of requests that wait, which hold no thread."""
    return cast(RequestPlaces, current_app.extensions["inferq.waiting_places"])


def held_threads() -> RequestPlaces:
    """Return the places of answers that hold a thread for long; a quarter of the threads stays free for others."""
    return cast(RequestPlaces, current_app.extensions["inferq.held_threads"])


def thumbnail_places() -> RequestPlaces:
    """Return the place of the only request of this process that decodes a picture."""
    return cast(RequestPlaces, current_app.extensions["inferq.thumbnail_places"])


async def waited(thing: Thing, seconds: float, wait: Callable[[float], Waiting[Thing]]) -> Thing:
    """Return the result of `wait`, or the thing unchanged when `seconds` is 0 or less or every waiting place is taken.

    The wait is in seconds and never longer than the setting `max_wait`.
    """
    if seconds <= 0:
        return thing
    with waiting_places().taken() as taken:
        return await wait(min(seconds, container().settings.max_wait)) if taken else thing


async def wait_for(job: Job, seconds: float) -> Job:
    """Return the job once it has ended, or its state when `seconds` are over; see `waited`."""
    if job.status.terminal:
        return job
    with naming_job(job):
        g.waited_for = await waited(job, seconds, lambda most: jobs.wait(container(), job, most))
        return cast(Job, g.waited_for)


@contextmanager
def naming_job(job: Job) -> Iterator[None]:
    """Add the id of the job to errors of the block: the job is stored, and the caller shall find it again."""
    try:
        yield
    except errors.InferqError as error:
        error.job_id = job.id
        raise


async def submit_and_wait(submission: Submission, longest: float = math.inf) -> tuple[Job, Item]:
    """Submit one picture and wait for its result, on a wire without polling; `longest` is in seconds.

    Raises the error by which the picture failed; StillRunning when the wait runs out (the job continues, and the
    message names its address); Unavailable, with nothing stored, when every waiting place is taken, or when those that
    wait already take longer; Conflict when the job was cancelled or expired before the picture ran.
    """
    with waiting_places().taken_or_refused():
        patience = min(longest, container().settings.max_wait)
        job, _ = await jobs.submit(container(), caller().tenant, submission, patience)
        with naming_job(job):
            job = g.waited_for = await jobs.wait(container(), job, patience)
    with naming_job(job):
        if not job.status.terminal:
            raise errors.StillRunning(
                f"The picture is still waiting for its turn; its job is at {link(f'/v1/jobs/{job.id}')}."
            )
        jobs.raise_failure(container(), job)
        item = jobs.list_items(container(), job, limit=1)[0]
        if item.result is None:  # the job was cancelled meanwhile, or it expired
            raise errors.Conflict(f"The job {job.id} was {job.status.lower()} before the picture ran.")
    return job, item
