"""Limits of what is sent: how many pictures a tenant may have in the queue, and add a minute, how long they take, and
how many bytes it may keep."""

from __future__ import annotations

import math

from shared import errors
from shared.container import Container
from shared.domain.jobs import Job
from shared.services import kept_bytes, queue_positions, tenant_limits

_REFUSALS = (
    errors.TooManyRequests, errors.Overloaded, errors.QuotaExceeded, errors.TooManyFiles, errors.Forbidden,
)  # fmt: skip
COUNT_MAX_AGE = 0.05
"""Seconds for which a count of the waiting pictures is good enough, unless it comes near the limit."""


MARGIN = 1.5
"""How many times as long as expected the pictures that wait may take. Under overload every request waits for nearly as
long as it may: without a margin, a small error of the expected time has nearly all of them answered too late. Of
mobilenet_v2, this error was more than a third for one job of ten (bench/results)."""


def count_waiting(container: Container, version_id: str, tenant: str, more: int) -> int:
    """Return about how many pictures of the tenant wait.

    Raises TooManyRequests if there is no room for `more`; TooManyFiles, or Forbidden for a limit of 0, if there never
    is, so that callers do not wait for it.
    """
    streams, most = container.queue.streams, tenant_limits.in_effect(container, tenant).max_queued
    if most == 0:
        raise errors.Forbidden(
            "No picture of yours may wait for a model: the limit is 0. Ask the operator of this service to raise "
            "`max_queued`."
        )
    if more > most:
        raise errors.TooManyFiles(
            f"{more} pictures are more than the {most} of yours that may wait for a model; send them in several jobs."
        )
    waiting = streams.count_unfinished(version_id, tenant, max_age=COUNT_MAX_AGE)
    if waiting + more > most:  # refused by an exact count only
        waiting = streams.count_unfinished(version_id, tenant)
    if waiting + more > most:
        raise errors.TooManyRequests(
            f"{waiting} pictures of yours wait for this model and {more} more would pass the limit of {most}; wait "
            "until some are done.",
            retry_after=5.0,
        )
    return waiting


def admit(container: Container, version_id: str, tenant: str, key: str, patience: float | None) -> int:
    """Return about how many pictures of the tenant wait, before those of a new job are stored.

    Raises TooManyRequests, Forbidden, Overloaded, QuotaExceeded; not for a repeat, whose idempotency key has a job
    already.
    """
    try:
        waiting = count_waiting(container, version_id, tenant, 1)
        if patience is not None:
            check_patience(container, version_id, tenant, waiting, patience)
        kept_bytes.check(container, tenant, 1)
    except _REFUSALS:
        if _find_earlier(container, tenant, key) is None:
            raise
        return tenant_limits.in_effect(container, tenant).max_queued
    return waiting


def room(container: Container, tenant: str, key: str) -> int | None:
    """Return how many bytes the pictures of a new job may have; None is no limit, as for a repeat, which keeps none."""
    left = kept_bytes.room(container, tenant)
    return None if left is None or _find_earlier(container, tenant, key) else left


def count_in(container: Container, job: Job) -> Job | None:
    """Count the pictures of a new job, which are stored, against the limits; return the earlier job of a repeat, which
    does not count, if a limit needed to know. Others are found at the commit, without a query of their own.

    Raises TooManyRequests, TooManyFiles and Forbidden, with nothing counted.
    """
    refusal: errors.InferqError | None = None
    try:
        if job.total > 1:
            count_waiting(container, job.version_id, job.tenant, job.total)
    except _REFUSALS as error:
        refusal = error
    if refusal or tenant_limits.in_effect(container, job.tenant).pictures_per_minute is not None:
        if earlier := _find_earlier(container, job.tenant, job.idempotency_key):
            return earlier
        if refusal:
            raise refusal
    count_new(container, job.tenant, job.total)  # last, as nothing takes it back
    return None


def _find_earlier(container: Container, tenant: str, key: str) -> Job | None:
    if not key:
        return None
    with container.database.read() as uow:
        return uow.jobs.find_by_idempotency_key(tenant, key)


def count_new(container: Container, tenant: str, pictures: int) -> None:
    """Count the pictures of a new job against the tenant's limit a minute, if it has one.

    Raises TooManyRequests, with nothing counted, if that passes the limit; TooManyFiles if it always would.
    """
    most = tenant_limits.in_effect(container, tenant).pictures_per_minute
    if most is None:
        return
    if pictures > most:
        raise errors.TooManyFiles(f"{pictures} pictures are more than your {most} a minute; send them in several jobs.")
    window = container.rate_limits.hit(f"{most}/minute", "pictures", tenant, count=pictures)
    if window is not None and not window.allowed:
        raise errors.TooManyRequests(
            f"{pictures} more pictures would pass your limit of {most} a minute; send them in {window.reset_in} s.",
            retry_after=window.reset_in,
        )


def check_patience(container: Container, version_id: str, tenant: str, waiting: int, patience: float) -> None:
    """Raise Overloaded if the pictures that wait may take longer, by MARGIN, than the caller waits; it would be run
    after its caller has left, in the place of one that is in time. `waiting` is the number of the tenant's own
    pictures, `patience` is in seconds."""
    pace = queue_positions.pace(container, version_id)
    others = 0
    for (_, owner, is_running), count in pace.counts.items():
        if owner != tenant:
            # Tenants take turns. If all of theirs counted, one with thousands would have everybody else refused.
            others += count if is_running else min(count, waiting + 1)
    seconds = MARGIN * (waiting + others) / pace.rate if pace.rate else 0.0
    if seconds > patience:
        raise errors.Overloaded(
            f"The pictures that wait may take {math.ceil(seconds)} s, and this request waits for "
            f"{patience:g} s at most; send it again in {math.ceil(seconds - patience)} s.",
            retry_after=seconds - patience,
        )
