"""Use-cases of jobs submit, begin, finish, wait for and cancel a job; shared/domain/jobs.py defines a job."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import uuid6

from shared import errors
from shared.container import Container
from shared.domain.jobs import (
    AnswerOptions,
    ImageReference,
    Item,
    Job,
    Outcome,
    Status,
    Submission,
)
from shared.domain.scores import choose_scoring
from shared.domain.stream_entry import StreamEntry
from shared.services import models


def submit(container: Container, tenant: str, submission: Submission) -> tuple[Job, bool]:
    """Store the pictures and the job, push the items to the queue; return the job, and True if it is new.

    The order ensures that every accepted job is answered: blobs, then a single commit, then the queue. A crash after
    the commit leaves a job that maintenance pushes again; a crash before it leaves a blob that maintenance removes.
    Raises BadPicture and its kinds, BadOption, NotFound, ModelNotReady, Conflict, TooManyRequests, Unavailable.
    """
    version = models.get_ready_version(container, tenant, submission.model, submission.version)
    if submission.options.task == "features" and not version.has_features:
        raise errors.BadOption(
            f"Model {version.name} version {version.version} is an ONNX file in which no last layer can be found, so "
            "it has no features; ask for labels instead."
        )
    # Redis counts, because SQL would add up all live jobs for every request. An unreachable queue also fails the
    # request here: a refused request is better than an accepted job that does not run.
    waiting = container.queue.streams.count_unfinished(version.id, tenant)
    _within_quota(container, waiting, 1)
    job_id = str(uuid6.uuid7())
    # Chosen once and stored with the job: maintenance, which may push its pictures again, need not know the version.
    scoring = choose_scoring(version, submission.options)
    job = Job(
        id=job_id,
        tenant=tenant,
        wire=submission.wire,
        status=Status.QUEUED,
        model=version.name,
        version=version.version,
        version_id=version.id,
        options=replace(submission.options, function_to_apply=scoring.function_to_apply),
        priority=submission.priority,
        created_at=container.now(),
        total=0,
        deadline=submission.deadline,
        metadata=submission.metadata,
        idempotency_key=submission.idempotency_key,
        webhook=submission.webhook,
        webhook_secret=submission.webhook_secret,
        blob=container.storage.dated("jobs", job_id, container.now()),
        with_thresholds=scoring.with_thresholds,
    )
    items, fingerprint = _store_pictures(container, job, submission)
    job = replace(job, total=len(items), fingerprint=fingerprint)
    try:
        _within_quota(container, waiting, len(items))
        earlier = _store(container, job, items)
    except errors.Unavailable:
        raise  # the commit may have succeeded and only its reply be lost; `collect_garbage` removes an unused blob
    except BaseException:
        container.storage.delete(job.blob)
        raise
    if earlier is not None:
        container.storage.delete(job.blob)
        return _same_request(earlier, fingerprint), False
    with contextlib.suppress(errors.Unavailable):  # the job is committed, so it is accepted; `reconcile` pushes it
        push(container, job, items, remember=submission.remember)
    return job, True


def push(container: Container, job: Job, items: Sequence[Item], *, remember: bool = False) -> None:
    """Put the items on the stream of their version, priority and tenant, and notify a worker."""
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
            with_thresholds=job.with_thresholds,
        )
        for item in items
    ]
    container.queue.streams.push(job.version_id, job.priority, job.tenant, entries)


def begin(container: Container, entries: Sequence[StreamEntry]) -> list[StreamEntry]:
    """Mark the jobs of the entries RUNNING; return the runnable entries.

    The others were cancelled, have expired, were deleted or are already recorded. Cancellation, deadline and deletion
    take effect here, at batch assembly, by the clock. Entries that were delivered before are looked up among the
    recorded items, because a worker may have crashed between the commit and the acknowledgement.
    """
    with container.database.write() as uow:
        running, late, expired = uow.jobs.start({entry.job_id for entry in entries}, container.now())
        redelivered = [(entry.job_id, entry.position) for entry in entries if entry.attempts > 1]
        finished = uow.jobs.finished_items(redelivered)
    if expired:
        container.queue.events.publish(expired)
    if late:
        missed = "The deadline of the job passed before this picture ran."
        finish(container, [Outcome(e.job_id, e.position, error_code="expired", error=missed) for e in entries
                       if e.job_id in late])  # fmt: skip
    return [entry for entry in entries if entry.job_id in running and (entry.job_id, entry.position) not in finished]


def finish(container: Container, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, counters, ended jobs and their callbacks in a single commit, then announce them.

    An item that already has an outcome keeps it: an entry that is delivered twice is recorded once. The caller
    acknowledges the entries after this returns, so a crash in between only causes a second, harmless delivery.
    """
    with container.database.write() as uow:
        ended = uow.jobs.record(outcomes, container.now())
    ended_ids = {job.id for job in ended}
    container.queue.events.publish(sorted(ended_ids), sorted({outcome.job_id for outcome in outcomes} - ended_ids))
    if any(job.webhook for job in ended):
        container.queue.notifications.send_task("deliver")


def get(container: Container, tenant: str, job_id: str) -> Job:
    """Return the tenant's job; raises NotFound for another tenant's job, with the same text as for an unknown id."""
    with container.database.read() as uow:
        return uow.jobs.get(tenant, job_id)


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
    """Return the tenant's jobs, newest first; `before` is the last id of the previous page."""
    with container.database.read() as uow:
        return uow.jobs.page(tenant, status=status, model=model, before=before, since=since, until=until, limit=limit)


def list_items(container: Container, job_id: str, *, start: int = 0, limit: int | None = None) -> list[Item]:
    """Return the items of a job in upload order, from position `start` on; the caller checks the job's tenant first."""
    with container.database.read() as uow:
        return uow.jobs.items(job_id, start=start, limit=limit)


def wait(container: Container, tenant: str, job_id: str, seconds: float) -> Job:
    """Return the job when it has ended, or its current state after `seconds`; the caller has just read or stored it."""
    return container.waiters.until(
        job_id, lambda: get(container, tenant, job_id), lambda job: job.status.terminal, seconds, look_first=False
    )


def raise_failure(container: Container, job: Job) -> None:
    """Raise the error of a FAILED job, so that a caller that waited gets the same error as for a refused request."""
    if job.status is not Status.FAILED:
        return
    items = list_items(container, job.id, limit=1)
    error = errors.by_code(items[0].error_code, items[0].error) if items else errors.InferqError(job.error)
    error.job_id = job.id
    raise error


def cancel(container: Container, tenant: str, job_id: str) -> Job:
    """Cancel a job; it takes effect when the next batch is assembled. Raises NotFound, Conflict when it has ended."""
    with container.database.write() as uow:
        job = uow.jobs.get(tenant, job_id)
        if job.status.terminal and job.status is not Status.CANCELLED:
            raise errors.Conflict(f"Job {job_id} has ended as {job.status} and cannot be cancelled.")
        uow.jobs.end([job_id], Status.CANCELLED, container.now())
    container.queue.events.publish([job_id])
    return get(container, tenant, job_id)


def _store_pictures(container: Container, job: Job, submission: Submission) -> tuple[list[Item], str]:
    """Write all pictures, in the order of upload, into the job's single blob; return (items, fingerprint).

    The fingerprint is the SHA-256 (hex) of all bytes and of the requested options.
    """
    items: list[Item] = []
    digest = hashlib.sha256()
    with container.storage.writing(job.blob) as blob:
        for position, picture in enumerate(submission.pictures):
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
    # What was requested, not the version and the function that were chosen: a canary, or a promotion meanwhile, may
    # have another version answer the same request.
    request = [
        digest.hexdigest(),
        submission.model,
        submission.version,
        _options_text(submission.options),
        job.priority,
        dict(job.metadata),
    ]
    return items, hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()


def _options_text(options: AnswerOptions) -> str:
    """Return the options as their text in fingerprints has been since the first release.

    Stored fingerprints outlive upgrades: the text must change neither with the name of the class nor with a default.
    No function is written as softmax, which was the default once. A request for softmax is therefore the same as one
    for no function; the alternative, a text of its own, would make a conflict of such a request from before.
    """
    values = asdict(options) | {"function_to_apply": options.function_to_apply or "softmax"}
    return f"Options({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def _store(container: Container, job: Job, items: Sequence[Item]) -> Job | None:
    """Commit the job and return None; if its idempotency key was used before, return that earlier job instead."""
    try:
        with container.database.write() as uow:
            key = job.idempotency_key
            if key and (earlier := uow.jobs.find_by_idempotency_key(job.tenant, key)):
                return earlier
            if not uow.model_versions.keep(job.version_id):
                raise errors.NotFound(f"The model {job.model!r} has just been removed.")
            uow.jobs.add(job, items)
            return None
    except errors.Conflict:  # a concurrent request with the same key committed first
        with container.database.read() as uow:
            if earlier := uow.jobs.find_by_idempotency_key(job.tenant, job.idempotency_key):
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
    """Return a file name without the characters that databases refuse: NUL, and lone surrogates from old archives."""
    return name.encode("utf-8", "replace").decode().replace("\0", "")
