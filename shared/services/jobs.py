"""Use-cases of jobs submit, begin, finish, wait for, cancel and erase a job; shared/domain/jobs.py defines a job."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import uuid6

from shared import errors
from shared.container import Container, Pushed, UnitOfWork
from shared.domain import explanations
from shared.domain.jobs import BatchRun, Item, Job, JobChange, Outcome, Status, Submission
from shared.domain.scores import check_task, choose_scoring
from shared.domain.stream_entry import StreamEntry
from shared.services import job_ends, job_pictures, job_traces, models, queue_limits, seen_pictures

log = logging.getLogger(__name__)

SHORT = 1000
"""Pictures of one tenant and version that wait, up to which entries carry their small pictures."""
JUST_NOW = 1.0
"""Seconds after it was pushed in which a picture of its own is run without a look at its job."""


@job_traces.told
async def submit(
    container: Container, tenant: str, submission: Submission, patience: float | None = None
) -> tuple[Job, bool]:
    """Store the pictures and the job, push the items to the queue; return the job, and True if it is new.

    `patience` is for how many seconds the caller waits for the answer, and wants none later: Overloaded is raised if
    those that wait before it take longer.

    The order ensures that every accepted job is answered: blobs, then a single commit, then the queue. A crash after
    the commit leaves a job that maintenance pushes again; a crash before it leaves a blob that maintenance removes.
    Raises BadPicture and its kinds, BadOption, NotFound, ModelNotReady, Conflict, TooManyRequests, Forbidden,
    QuotaExceeded, Unavailable.
    """
    version = models.get_ready_version(container, tenant, submission.model, submission.version)
    check_task(version, submission.options)
    explanations.check(version, submission)
    # Redis counts, because SQL would add up all live jobs for every request. An unreachable queue also fails the
    # request here: a refused request is better than an accepted job that does not run.
    try:
        waiting = queue_limits.admit(container, version.id, tenant, submission.idempotency_key, patience)
    except errors.Overloaded as error:
        error.holds = not version.canary
        raise
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
        search=submission.search,
        explain=submission.explain,
    )
    room = queue_limits.room(container, tenant, submission.idempotency_key)
    items, fingerprint = job_pictures.store(container, job, submission, room)
    job = replace(
        job, total=len(items), fingerprint=fingerprint, blob="" if items[0].picture is not None else job.blob,
        items=tuple(items) if len(items) == 1 else None,
    )  # fmt: skip
    try:
        earlier = queue_limits.count_in(container, job)
        if earlier is None:
            registration = Registration(job, items, submission.remember, waiting < SHORT, container.tracing.current())
            earlier = await container.grouped(_register)(registration)
    except (errors.StorageFull, errors.QueueFull):  # it was not committed, and its blob would fill the disk further
        job_pictures.drop(container, job)
        raise
    except (errors.Unavailable, GeneratorExit):
        # The commit may have succeeded, or still succeed: only its reply is lost, or the process ends while this
        # coroutine waits for it. `collect_garbage` removes an unused blob.
        raise
    except BaseException:
        job_pictures.drop(container, job)
        raise
    if earlier is not None:
        job_pictures.drop(container, job)
        return _same_request(earlier, fingerprint), False
    return job, True


@dataclass(frozen=True)
class Registration:
    """A job to be stored and put on the queue."""

    job: Job
    items: Sequence[Item]
    remember: bool = False
    is_queue_short: bool = False
    """True to send a small picture with its entry. Redis keeps all entries in memory: those of a long queue would fill
    it, and their pictures are read from their items."""
    trace: str = ""
    pushes: int = 1
    """Both as in StreamEntry."""


def _register(container: Container, registrations: Sequence[Registration]) -> Sequence[Job | errors.InferqError | None]:
    """Commit the jobs of many requests together, then push their items together.

    Returns for each None; or the earlier job of its idempotency key; or the error by which it was refused.
    """
    earlier = _commit(container, registrations)
    push_committed(container, [given for given, found in zip(registrations, earlier, strict=True) if found is None])
    return earlier


def push_committed(container: Container, registrations: Sequence[Registration]) -> None:
    """Push the items of jobs that are committed, and so accepted, whatever fails here; `reconcile` pushes them then."""
    try:
        push(container, registrations)
    except errors.Unavailable as error:
        log.warning("%d jobs are stored and not on the queue yet: %s", len(registrations), error.message)
    except Exception:
        log.exception("%d jobs are stored and not on the queue yet", len(registrations))


def _commit(container: Container, registrations: Sequence[Registration]) -> list[Job | errors.InferqError | None]:
    added = None
    try:
        with container.database.write() as uow:
            added = _add(uow, registrations)
    except errors.StorageFull:  # which the database itself has answered: it has committed nothing
        raise
    except errors.Unavailable as error:
        if added is None:
            raise
        return [found or _unknown(given.job, error) for given, found in zip(registrations, added, strict=True)]
    except errors.InferqError as error:
        # One of them is at fault, so each is committed by itself.
        if len(registrations) > 1:
            return [found for given in registrations for found in _commit(container, [given])]
        job = registrations[0].job
        if isinstance(error, errors.Conflict) and job.idempotency_key:  # another process has just used the key
            with container.database.read() as uow:
                if earlier := uow.jobs.find_by_idempotency_key(job.tenant, job.idempotency_key):
                    return [earlier]
        return [error]
    return added


def _unknown(job: Job, error: errors.Unavailable) -> errors.Unavailable:
    """Return the error of a commit without a reply: the caller can find out whether it has happened."""
    unknown = errors.Unavailable(
        f"{error.message} The job may be stored: see whether /v1/jobs/{job.id} exists before you send it again, or "
        "send it with the same Idempotency-Key.",
        retry_after=error.retry_after,
    )
    unknown.job_id = job.id
    return unknown


def _add(uow: UnitOfWork, registrations: Sequence[Registration]) -> list[Job | errors.InferqError | None]:
    """Insert the jobs whose model exists and whose idempotency key is new."""
    kept = uow.version_locks.keep({given.job.version_id for given in registrations})
    found: list[Job | errors.InferqError | None] = []
    new: list[tuple[Job, Sequence[Item]]] = []
    keys: dict[tuple[str, str], Job] = {}
    for job, items in ((given.job, given.items) for given in registrations):
        key = (job.tenant, job.idempotency_key)
        earlier = (keys.get(key) or uow.jobs.find_by_idempotency_key(*key)) if job.idempotency_key else None
        if earlier is not None:
            found.append(earlier)
        elif job.version_id not in kept:
            found.append(errors.NotFound(f"The model {job.model!r} has just been removed."))
        else:
            keys[key] = job
            new.append((job, items))
            found.append(None)
    if new:  # in an order that all processes have, so that two that were sent the same keys do not wait for each other
        uow.jobs.add(sorted(new, key=lambda added: (added[0].tenant, added[0].idempotency_key)))
        pairs = zip(registrations, found, strict=True)
        uow.job_traces.add({given.job.id: given.trace for given, earlier in pairs if given.trace and earlier is None})
    return found


def push(container: Container, registrations: Sequence[Registration]) -> None:
    """Put the items on the streams of their version, priority and tenant, and notify workers."""
    container.queue.streams.push(
        [
            Pushed(job.version_id, job.priority, job.tenant, [_entry(given, item) for item in given.items])
            for given in registrations
            for job in [given.job]
        ]
    )


def _entry(given: Registration, item: Item) -> StreamEntry:
    options = given.job.options
    return StreamEntry(
        job_id=item.job_id,
        position=item.position,
        blob=item.blob,
        offset=item.offset,
        size=item.size,
        task=options.task,
        top_k=options.top_k,
        function_to_apply=options.function_to_apply,
        exif=options.exif,
        remember=given.remember,
        with_thresholds=given.job.with_thresholds,
        is_quick=given.job.total == 1 and given.job.deadline is None,
        picture=item.picture if given.is_queue_short else None,
        retries=given.job.retries,
        is_search=given.job.search is not None,
        explain=given.job.explain,
        trace=given.trace,
        pushes=given.pushes,
    )


def begin(
    container: Container, entries: Sequence[StreamEntry], missed: list[Outcome] | None = None
) -> list[StreamEntry]:
    """Return the runnable entries. The others were cancelled, have expired, were deleted or are already recorded.
    `missed` takes the outcomes that are recorded here: of pictures whose deadline has passed while their job runs.

    Cancellation, deadline and deletion take effect here, at batch assembly, by the clock. Entries that were delivered
    before are looked up among the recorded items: a worker may have crashed between commit and acknowledgement.
    A job of several pictures, or with a deadline, which must not pass while it runs, is RUNNING from here on; that of a
    single picture mostly ends unseen, so `mark_running` does it for those that take long. A picture that was sent just
    now, alone and without a deadline, is not looked at: if its job was cancelled meanwhile, `finish` drops its outcome.
    """
    now = container.now()
    if all(entry.is_quick and entry.attempts == 1 and abs(now - entry.pushed_at) < JUST_NOW for entry in entries):
        return list(entries)
    with container.database.read() as uow:
        live = uow.jobs.live_among({entry.job_id for entry in entries})
        redelivered = [(entry.job_id, entry.position) for entry in entries if entry.attempts > 1]
        finished = uow.jobs.finished_items(redelivered)
    late = {job.id: job.status for job in live if job.deadline is not None and job.deadline < now}
    expired = [job_id for job_id, status in late.items() if status == Status.QUEUED]
    queued = [job for job in live if job.status == Status.QUEUED and job.id not in late]
    fresh = [job.id for job in queued if job.total > 1 or job.deadline is not None]
    if fresh or expired:
        with container.database.write() as uow:
            uow.jobs.start(fresh, now)
            expired = uow.jobs.end(expired, Status.EXPIRED, now)
        job_ends.tell_expired(container, expired)
    why = "The deadline of the job passed before this picture ran."
    if rest := [
        Outcome(e.job_id, e.position, None, "expired", why, e.retries)
        for e in entries
        if late.get(e.job_id) == Status.RUNNING and (e.job_id, e.position) not in finished
    ]:
        changes = record(container, rest)
        # Told before it is concluded: a caller that comes again after an outage finds nothing left to record.
        if missed is not None:
            missed += rest
        job_ends.note_expired(container, [change.id for change in changes if change.finished_at is not None])
        conclude(container, (), changes)
    running = {job.id for job in live} - late.keys()
    return [entry for entry in entries if entry.job_id in running and (entry.job_id, entry.position) not in finished]


def mark_running(container: Container, claimed: Mapping[str, float]) -> None:
    """Set QUEUED jobs RUNNING on which a worker has been at work for some time; `claimed` is id -> since when (Unix
    seconds)."""
    with container.database.write() as uow:
        for started_at, same in groupby(sorted(claimed, key=claimed.__getitem__), key=claimed.__getitem__):
            uow.jobs.start(list(same), started_at)


def finish(
    container: Container, outcomes: Sequence[Outcome], entries: Sequence[StreamEntry] = (), run: BatchRun | None = None
) -> list[JobChange]:
    """Record outcomes, then conclude their entries, and return what has changed of their jobs; a caller that must go on
    when Redis is away repeats each by itself."""
    changes = record(container, outcomes, entries, run)
    conclude(container, entries, changes)
    return changes


def record(
    container: Container,
    outcomes: Sequence[Outcome],
    entries: Sequence[StreamEntry] = (),
    run: BatchRun | None = None,
) -> list[JobChange]:
    """Write outcomes, counters, ended jobs and their callbacks in a single commit; return what has changed of the jobs.

    `run` is the batch that they ran in, None if they did not run. An item that already has an outcome keeps it: an
    entry that is delivered twice is recorded once. A job that was retried drops a failure from before. So a crash
    before the acknowledgement only causes a second, harmless delivery.
    """
    now = container.now()
    with container.database.write() as uow:
        return uow.jobs.record(outcomes, now, run, {entry.job_id: entry.attempts for entry in entries})


def conclude(container: Container, entries: Sequence[StreamEntry], changes: Sequence[JobChange]) -> None:
    """Take recorded entries off the queue and tell the waiting requests, in a single round trip; then have callbacks
    sent. It may be called again when Redis was unreachable."""
    container.queue.conclude(entries, changes)
    if any(change.has_webhook and change.finished_at is not None for change in changes):
        container.queue.notifications.send_task("deliver")


def get(container: Container, tenant: str, job_id: str) -> Job:
    """Return the tenant's job; raises NotFound for another tenant's job, with the same text as for an unknown id."""
    with container.database.read() as uow:
        return uow.jobs.get(tenant, job_id)


def list_page(
    container: Container, tenant: str, *, status: str, model: str, before: str, since: float | None,
    until: float | None, limit: int,
) -> list[Job]:  # fmt: skip
    """Return the tenant's jobs, newest first; `before` is the last id of the previous page."""
    with container.database.read() as uow:
        return uow.jobs.page(tenant, status=status, model=model, before=before, since=since, until=until, limit=limit)


def list_items(container: Container, job: Job, *, start: int = 0, limit: int | None = None) -> list[Item]:
    """Return the items of a job in upload order, from position `start` on."""
    if job.items is not None:
        return list(job.items[start:][:limit])
    with container.database.read() as uow:
        return uow.jobs.items(job.id, start=start, limit=limit)


async def wait(container: Container, job: Job, seconds: float) -> Job:
    """Return the job when it has ended, or its current state after `seconds`; the caller has just read or stored it."""
    return await container.waiters.until(
        job.id,
        lambda: get(container, job.tenant, job.id),
        lambda job: job.status.terminal,
        seconds,
        announced=job.announced,
    )


def raise_failure(container: Container, job: Job) -> None:
    """Raise the error of a FAILED job, so that a caller that waited gets the same error as for a refused request."""
    if job.status is not Status.FAILED:
        return
    items = list_items(container, job, limit=1)
    error = errors.by_code(items[0].error_code, items[0].error) if items else errors.InferqError(job.error)
    error.job_id = job.id
    raise error


def cancel(container: Container, tenant: str, job_id: str) -> Job:
    """Cancel a job; it takes effect when the next batch is assembled. Raises NotFound, Conflict when it has ended."""
    with container.database.write() as uow:
        job = uow.jobs.get(tenant, job_id, lock=True)
        if job.status.terminal and job.status is not Status.CANCELLED:
            raise errors.Conflict(f"Job {job_id} has ended as {job.status} and cannot be cancelled.")
        moved = uow.jobs.end([job_id], Status.CANCELLED, container.now())
    job_ends.tell_cancelled(container, moved)
    return get(container, tenant, job_id)


def erase(container: Container, tenant: str, job_id: str) -> None:
    """Remove an ended job with its pictures, those that were kept to be suggested as well, and its callback if it is
    still due; its stored images stay.

    Raises NotFound, Unavailable, Conflict when it has not ended.
    """
    with container.database.write() as uow:
        job = uow.jobs.get(tenant, job_id, lock=True)
        if not job.status.terminal:
            raise errors.Conflict(f"Job {job_id} is {job.status}; cancel it before it is erased.")
        job_pictures.drop(container, job)  # if the commit fails, the row is left, by which it is erased again
        seen_pictures.drop_of_job(container, uow, job_id)
        uow.jobs.delete([job_id])


def _same_request(earlier: Job, fingerprint: str) -> Job:
    if earlier.fingerprint != fingerprint:
        raise errors.Conflict(
            f"The idempotency key {earlier.idempotency_key!r} was used for another request (job {earlier.id}); "
            "take a new key for a new request."
        )
    return earlier
