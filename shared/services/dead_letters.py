"""Use-cases of dead letters list the pictures without an answer over all ended jobs, and replay them."""

from __future__ import annotations

import time

from shared import errors
from shared.container import Container
from shared.domain.dead_letters import DeadLetter, Replay, Wanted, cursor, split_cursor
from shared.services import job_retries

BUDGET = 10.0
"""Seconds after which a call retries no other job; its caller continues with another call."""
PAGE = 200
"""Dead letters that are read at once."""


def list_page(container: Container, tenant: str, wanted: Wanted, *, after: str, limit: int) -> list[DeadLetter]:
    """Return the tenant's dead letters, those of the newest jobs first; `after` is the last id of the page before.

    Raises BadOption if it is not such an id.
    """
    _check(after)
    with container.database.read() as uow:
        return uow.dead_letters.page(tenant, wanted, after=after, limit=limit)


def replay(container: Container, tenant: str, wanted: Wanted, *, after: str = "") -> Replay:
    """Retry every job that has such dead letters, the newest first, beginning after a place in the list.

    It stops early when BUDGET is spent, or when the queue is full and something was replayed. Raises BadOption,
    Unavailable, TooManyRequests, Forbidden.
    """
    _check(after)
    until = time.monotonic() + BUDGET
    retried = pictures = skipped = 0
    while page := list_page(container, tenant, wanted, after=after, limit=PAGE):
        for job_id in dict.fromkeys(letter.job_id for letter in page):
            try:
                pictures += job_retries.retry(container, tenant, job_id, wanted.reason).left
                retried += 1
            except (errors.Conflict, errors.NotFound, errors.TooManyFiles):
                skipped += 1
            except errors.TooManyRequests:
                if not retried:
                    raise
                return Replay(retried, pictures, skipped, after)
            after = cursor(job_id)
            if time.monotonic() > until:
                return Replay(retried, pictures, skipped, after)
    return Replay(retried, pictures, skipped, "")


def _check(after: str) -> None:
    try:
        if after:
            split_cursor(after)
    except ValueError:
        raise errors.BadOption("cursor must be the `next` of the page before") from None
