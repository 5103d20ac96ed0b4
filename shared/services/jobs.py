"""Use-cases of jobs: submit, start, finish, wait, cancel. What a job is stands in shared/domain/jobs.py."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import uuid6

from shared import errors
from shared.container import Container
from shared.domain.jobs import (
    ImageReference,
    Item,
    Job,
    Outcome,
    Status,
    Submission,
)
from shared.domain.stream_entry import StreamEntry
from shared.services import models


def submit(container: Container, tenant: str, asked: Submission) -> tuple[Job, bool]:
    """Store the pictures and the job, hand the items to the queue; the job, and whether it is new.

    The order is what makes `accepted` mean `answered`: blobs, then one commit, then the queue. A crash after the
    commit leaves a job that `sweep` pushes again; a crash before it leaves a blob that `sweep` removes.
    Raises BadPicture kinds, NotFound, ModelNotReady, Conflict, TooManyRequests, Unavailable.
    """
    version = models.get_ready_version(container, tenant, asked.model, asked.version)
    # Asked of Redis rather than SQL, which would add up all live jobs for every request; and a queue that is away
    # is said now: refused is better than accepted and stuck.
    waiting = container.queue.streams.count_unfinished(version.id, tenant)
    _within_quota(container, waiting, 1)
    job_id = str(uuid6.uuid7())
    job = Job(
        id=job_id,
        tenant=tenant,
        wire=asked.wire,
        status=Status.QUEUED,
        model=version.name,
        version=version.version,
        version_id=version.id,
        options=asked.options,
        priority=asked.priority,
        created_at=container.now(),
        total=0,
        deadline=asked.deadline,
        metadata=asked.metadata,
        idempotency_key=asked.idempotency_key,
        webhook=asked.webhook,
        webhook_secret=asked.webhook_secret,
        blob=container.storage.dated("jobs", job_id, container.now()),
    )
    items, fingerprint = _store_pictures(container, job, asked)
    job = replace(job, total=len(items), fingerprint=fingerprint)
    try:
        _within_quota(container, waiting, len(items))
        earlier = _store(container, job, items)
    except errors.Unavailable:
        raise  # the commit may have happened and only its answer be lost; `tidy` knows, later, and removes the blob
    except BaseException:
        container.storage.delete(job.blob)
        raise
    if earlier is not None:
        container.storage.delete(job.blob)
        return _same_request(earlier, fingerprint), False
    with contextlib.suppress(errors.Unavailable):  # the commit has happened: the answer is yes, sweep does the rest
        push(container, job, items, remember=asked.remember)
    return job, True


def push(container: Container, job: Job, items: Sequence[Item], *, remember: bool = False) -> None:
    """Put the items on the stream of their version, priority and tenant, and ring the bell."""
    options = job.options
    entries = [
        StreamEntry(
            job_id=job.id,
            position=item.position,
            blob=item.blob,
            offset=item.offset,
            size=item.size,
            task=options.task,
            top_k=options.top_k,
            function_to_apply=options.function_to_apply,
            exif=options.exif,
            remember=remember,
        )
        for item in items
    ]
    container.queue.streams.push(job.version_id, job.priority, job.tenant, entries)


def begin(container: Container, entries: Sequence[StreamEntry]) -> tuple[list[StreamEntry], list[StreamEntry]]:
    """Mark the jobs behind the entries RUNNING; (entries to run, entries that nobody waits for any more).

    This is where cancel, deadline and a job that is gone are honoured: at batch assembly, by the clock. What was
    delivered before is also looked up, because a worker may have died between the commit and the acknowledgement.
    """
    with container.database.write() as uow:
        running, late, expired = uow.jobs.start({entry.job_id for entry in entries}, container.now())
        again = [(entry.job_id, entry.position) for entry in entries if entry.attempts > 1]
        finished = uow.jobs.finished_items(again)
    if expired:
        container.queue.events.publish(expired)
    if late:
        missed = "The deadline of the job passed before this picture ran."
        finish(container, [Outcome(e.job_id, e.position, error_code="expired", error=missed) for e in entries
                       if e.job_id in late])  # fmt: skip
    keep: list[StreamEntry] = []
    drop: list[StreamEntry] = []
    for entry in entries:
        wanted = entry.job_id in running and (entry.job_id, entry.position) not in finished
        (keep if wanted else drop).append(entry)
    return keep, drop


def finish(container: Container, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, counters, ended jobs and their callbacks in one commit, then announce.

    An item that has an outcome already keeps it: whatever is delivered twice is recorded once. The caller
    acknowledges the entries after this returns, so a crash in between only causes a second, harmless delivery.
    """
    with container.database.write() as uow:
        ended = uow.jobs.record(outcomes, container.now())
    ended_ids = {job.id for job in ended}
    container.queue.events.publish(sorted(ended_ids), sorted({outcome.job_id for outcome in outcomes} - ended_ids))
    if any(job.webhook for job in ended):
        container.queue.notifications.send_task("deliver")


def get(container: Container, tenant: str, job_id: str) -> Job:
    """The tenant's job; raises NotFound for anybody else's, in the same words as for none."""
    with container.database.read() as uow:
        job = uow.jobs.get(tenant, job_id)
    if job is None:
        raise errors.NotFound(f"There is no job {job_id}.")
    return job


def list_page(
    container: Container,
    tenant: str,
    *,
    status: str,
    model: str,
    before: str,
    since: float | None,
    until: float | None,
    limit: int,
) -> list[Job]:
    """The tenant's jobs, newest first; `before` is the last id of the page before."""
    with container.database.read() as uow:
        return uow.jobs.page(tenant, status=status, model=model, before=before, since=since, until=until, limit=limit)


def list_items(container: Container, job_id: str, *, start: int = 0, limit: int | None = None) -> list[Item]:
    """The items of a job in upload order, from position `start` on; the caller gets the job by its tenant first."""
    with container.database.read() as uow:
        return uow.jobs.items(job_id, start=start, limit=limit)


def wait(container: Container, tenant: str, job_id: str, seconds: float) -> Job:
    """The job, when it has ended or when the time is over, whichever is first.

    The announcement is only a hint: SQL is looked at every second, in case one was lost.
    """
    with container.waiters.subscribe(job_id) as subscription:
        until = container.now() + seconds
        while True:
            subscription.wait(max(0.0, min(1.0, until - container.now())))
            job = get(container, tenant, job_id)
            if job.status.terminal or container.now() >= until:
                return job


def raise_failure(container: Container, job: Job) -> None:
    """Raise what a FAILED job failed by, so that a caller who waited is told as if the request had been refused."""
    if job.status is not Status.FAILED:
        return
    items = list_items(container, job.id, limit=1)
    error = errors.by_code(items[0].error_code, items[0].error) if items else errors.InferqError(job.error)
    error.job_id = job.id
    raise error


def cancel(container: Container, tenant: str, job_id: str) -> Job:
    """Cancel a job; raises Conflict when it has ended. Honoured when the next batch is put together."""
    with container.database.write() as uow:
        job = uow.jobs.get(tenant, job_id)
        if job is None:
            raise errors.NotFound(f"There is no job {job_id}.")
        if job.status.terminal and job.status is not Status.CANCELLED:
            raise errors.Conflict(f"Job {job_id} has ended as {job.status} and cannot be cancelled.")
        uow.jobs.end([job_id], Status.CANCELLED, container.now())
    container.queue.events.publish([job_id])
    return get(container, tenant, job_id)


def _store_pictures(container: Container, job: Job, asked: Submission) -> tuple[list[Item], str]:
    """Write all pictures into the job's one blob, as they come; (items, hash of all bytes)."""
    items: list[Item] = []
    digest = hashlib.sha256()
    with container.storage.writing(job.blob) as blob:
        for position, picture in enumerate(asked.pictures):
            name = _storable(picture.name)
            if isinstance(picture, ImageReference):
                digest.update(picture.id.encode())
                items.append(Item(job.id, position, name, picture.blob, 0, picture.size))
                continue
            digest.update(f"{name}\0{len(picture.data)}\0".encode())
            digest.update(picture.data)
            offset = blob.write(picture.data)
            items.append(Item(job.id, position, name, job.blob, offset, len(picture.data)))
        if not items:
            raise errors.NoInput()
    # As it was asked for: a canary, or a promotion meanwhile, may have another version answer the same request.
    what = [digest.hexdigest(), asked.model, asked.version, repr(job.options), job.priority, dict(job.metadata)]
    return items, hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def _store(container: Container, job: Job, items: Sequence[Item]) -> Job | None:
    """Commit the job, unless its idempotency key was used before: then that earlier job."""
    try:
        with container.database.write() as uow:
            key = job.idempotency_key
            if key and (earlier := uow.jobs.by_idempotency_key(job.tenant, key)):
                return earlier
            if not uow.model_versions.keep(job.version_id):
                raise errors.NotFound(f"The model {job.model!r} has just been removed.")
            uow.jobs.add(job, items)
            return None
    except errors.Conflict:  # the same request twice at the same moment: the other one was first
        with container.database.read() as uow:
            if earlier := uow.jobs.by_idempotency_key(job.tenant, job.idempotency_key):
                return earlier
        raise


def _within_quota(container: Container, waiting: int, more: int) -> None:
    if waiting + more > container.settings.max_queued:
        raise errors.TooManyRequests(
            f"{waiting} pictures of yours wait for this model and {more} more would pass the limit of "
            f"{container.settings.max_queued}; wait until some are done.",
            retry_after=5.0,
        )


def _same_request(earlier: Job, fingerprint: str) -> Job:
    if earlier.fingerprint != fingerprint:
        raise errors.Conflict(
            f"The idempotency key {earlier.idempotency_key!r} was used for another request (job {earlier.id}); "
            "take a new key for a new request."
        )
    return earlier


def _storable(name: str) -> str:
    """A file name without what no database takes: NUL, and halves of surrogates out of old archives."""
    return name.encode("utf-8", "replace").decode().replace("\0", "")
