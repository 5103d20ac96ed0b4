"""Use-cases of jobs submit, begin, finish, wait for and cancel a job; shared/domain/jobs.py defines a job."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, groupby, islice
from typing import Protocol

import uuid6

from shared import errors
from shared.container import Container, Pushed, UnitOfWork
from shared.domain.jobs import (
    AnswerOptions,
    ImageReference,
    Item,
    Job,
    JobChange,
    Outcome,
    Status,
    Submission,
)
from shared.domain.pictures import Picture
from shared.domain.scores import choose_scoring
from shared.domain.stream_entry import StreamEntry
from shared.services import models

log = logging.getLogger(__name__)

SMALL = 8 * 1024
"""Bytes of a picture that is kept with its item instead of in a blob of its own; a file costs more than as many bytes
in a row do."""
SHORT = 1000
"""Pictures of one tenant and version that wait, up to which entries carry their small pictures."""


JUST_NOW = 1.0
"""Seconds after it was pushed in which a picture of its own is run without a look at its job."""
COUNTED = 0.05
"""Seconds for which a count of the waiting pictures is good enough, unless it comes near the limit."""


class Digest(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> None: ...


def submit(
    container: Container, tenant: str, submission: Submission, patience: float | None = None
) -> tuple[Job, bool]:
    """Store the pictures and the job, push the items to the queue; return the job, and True if it is new.

    `patience` is for how many seconds the caller waits for the answer, and wants none later: Overloaded is raised if
    those that wait before it take longer.

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
    waiting = _count_waiting(container, version.id, tenant, 1)
    if patience is not None:
        _within_patience(container, version.id, tenant, waiting, patience)
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
    job = replace(
        job, total=len(items), fingerprint=fingerprint, blob="" if items[0].picture is not None else job.blob,
        items=tuple(items) if len(items) == 1 else None,
    )  # fmt: skip
    try:
        if len(items) > 1:
            waiting = _count_waiting(container, version.id, tenant, len(items))
        registration = Registration(job, items, submission.remember, is_queue_short=waiting < SHORT)
        earlier = container.grouped(_register)(registration)
    except errors.Unavailable:
        raise  # the commit may have succeeded and only its reply be lost; `collect_garbage` removes an unused blob
    except BaseException:
        _drop_blob(container, job)
        raise
    if earlier is not None:
        _drop_blob(container, job)
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


def _register(container: Container, registrations: Sequence[Registration]) -> Sequence[Job | errors.InferqError | None]:
    """Commit the jobs of many requests together, then push their items together.

    Returns for each None; or the earlier job of its idempotency key; or the error by which it was refused.
    """
    earlier = _commit(container, registrations)
    new = [given for given, found in zip(registrations, earlier, strict=True) if found is None]
    try:
        push(container, new)
    except Exception:  # they are committed, so they are accepted, whatever fails here; `reconcile` pushes them
        log.exception("%d jobs are stored and not on the queue yet", len(new))
    return earlier


def _commit(container: Container, registrations: Sequence[Registration]) -> list[Job | errors.InferqError | None]:
    try:
        with container.database.write() as uow:
            return _add(uow, registrations)
    except errors.Unavailable:
        raise
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
    )


def read_picture(container: Container, picture: Item | StreamEntry) -> bytes:
    """Return the bytes of an item or an entry; raises FileNotFoundError, Unavailable."""
    if picture.picture is not None:
        return picture.picture
    if picture.blob:
        return container.storage.read(picture.blob, picture.offset, picture.size)
    with container.database.read() as uow:
        data = uow.jobs.picture(picture.job_id, picture.position)
    if data is None:
        raise FileNotFoundError(f"picture {picture.position} of job {picture.job_id}")
    return data


def begin(container: Container, entries: Sequence[StreamEntry]) -> list[StreamEntry]:
    """Return the runnable entries. The others were cancelled, have expired, were deleted or are already recorded.

    Cancellation, deadline and deletion take effect here, at batch assembly, by the clock. Entries that were delivered
    before are looked up among the recorded items, because a worker may have crashed between the commit and the
    acknowledgement. A job of several pictures, or with a deadline, which must not pass while it runs, is RUNNING from
    here on; that of a single picture mostly ends before anybody could see it, so `mark_running` does it for those that
    take long. A picture that was sent just now, alone and without a deadline, runs unseen: if its job was cancelled
    meanwhile, `finish` drops its outcome.
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
    fresh = [
        job.id
        for job in live
        if job.status == Status.QUEUED and job.id not in late and (job.total > 1 or job.deadline is not None)
    ]
    if fresh or expired:
        with container.database.write() as uow:
            uow.jobs.start(fresh, now)
            uow.jobs.end(expired, Status.EXPIRED, now)
    if expired:
        container.queue.events.publish(expired)
    missed = "The deadline of the job passed before this picture ran."
    if rest := [entry for entry in entries if late.get(entry.job_id) == Status.RUNNING]:
        finish(container, [Outcome(e.job_id, e.position, error_code="expired", error=missed) for e in rest])
    running = {job.id for job in live} - late.keys()
    return [entry for entry in entries if entry.job_id in running and (entry.job_id, entry.position) not in finished]


def mark_running(container: Container, claimed: Mapping[str, float]) -> None:
    """Set QUEUED jobs RUNNING on which a worker has been at work for some time; `claimed` is id -> since when (Unix
    seconds)."""
    with container.database.write() as uow:
        for started_at, same in groupby(sorted(claimed, key=claimed.__getitem__), key=claimed.__getitem__):
            uow.jobs.start(list(same), started_at)


def finish(
    container: Container,
    outcomes: Sequence[Outcome],
    entries: Sequence[StreamEntry] = (),
    started_at: float | None = None,
) -> None:
    """Write outcomes, counters, ended jobs and their callbacks in a single commit; then take the entries off the queue
    and tell the waiting requests, in a single round trip.

    `started_at` is when the pictures began to run, by default now. An item that already has an outcome keeps it: an
    entry that is delivered twice is recorded once. So a caller may call again when Redis was unreachable, and a crash
    in between only causes a second, harmless delivery.
    """
    now = container.now()
    with container.database.write() as uow:
        changes = uow.jobs.record(outcomes, now if started_at is None else started_at, now)
    container.queue.conclude(entries, changes)
    if any(change.has_webhook and change.finished_at is not None for change in changes):
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


def list_items(container: Container, job: Job, *, start: int = 0, limit: int | None = None) -> list[Item]:
    """Return the items of a job in upload order, from position `start` on."""
    if job.items is not None:
        return list(job.items[start:][:limit])
    with container.database.read() as uow:
        return uow.jobs.items(job.id, start=start, limit=limit)


def wait(container: Container, job: Job, seconds: float) -> Job:
    """Return the job when it has ended, or its current state after `seconds`; the caller has just read or stored it."""
    return container.waiters.until(
        job.id,
        lambda: get(container, job.tenant, job.id),
        lambda job: job.status.terminal,
        seconds,
        announced=lambda ended: _ended(job, ended),
    )


def _ended(job: Job, ended: JobChange) -> Job | None:
    """Return the job as a worker has announced its end; None if the announcement does not hold all of it."""
    outcome = ended.outcome
    if outcome is None or job.items is None:
        return None
    status = Status.FAILED if outcome.error_code else Status.DONE
    item = replace(
        job.items[0], status=status, result=outcome.result, error_code=outcome.error_code, error=outcome.error
    )
    return replace(
        job, status=ended.status, done=ended.done, failed=ended.failed, started_at=ended.started_at,
        finished_at=ended.finished_at, error_code=ended.error_code, error=ended.error, items=(item,),
    )  # fmt: skip


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
        job = uow.jobs.get(tenant, job_id)
        if job.status.terminal and job.status is not Status.CANCELLED:
            raise errors.Conflict(f"Job {job_id} has ended as {job.status} and cannot be cancelled.")
        uow.jobs.end([job_id], Status.CANCELLED, container.now())
    container.queue.events.publish([job_id])
    return get(container, tenant, job_id)


def _store_pictures(container: Container, job: Job, submission: Submission) -> tuple[list[Item], str]:
    """Write all pictures, in the order of upload, into the job's single blob, unless there is only a small one; return
    (items, fingerprint).

    The fingerprint is the SHA-256 (hex) of all bytes and of the requested options.
    """
    pictures = iter(submission.pictures)
    first = [*islice(pictures, 2)]
    if not first:
        raise errors.NoInput()
    digest = hashlib.sha256()
    if len(first) == 1 and isinstance(first[0], Picture) and len(first[0].data) <= SMALL:
        items = [_small_item(job, first[0], digest)]
    else:
        items = _store_blob(container, job, chain(first, pictures), digest)
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


def _small_item(job: Job, picture: Picture, digest: Digest) -> Item:
    name = _storable(picture.name)
    _feed(digest, name, picture.data)
    return Item(job.id, 0, name, "", 0, len(picture.data), picture=picture.data)


def _store_blob(
    container: Container, job: Job, pictures: Iterable[Picture | ImageReference], digest: Digest
) -> list[Item]:
    items: list[Item] = []
    with container.storage.writing(job.blob) as blob:
        for position, picture in enumerate(pictures):
            name = _storable(picture.name)
            if isinstance(picture, ImageReference):
                digest.update(picture.id.encode())
                items.append(Item(job.id, position, name, picture.blob, 0, picture.size))
                continue
            _feed(digest, name, picture.data)
            items.append(Item(job.id, position, name, job.blob, blob.write(picture.data), len(picture.data)))
    return items


def _feed(digest: Digest, name: str, data: bytes) -> None:
    digest.update(f"{name}\0{len(data)}\0".encode())
    digest.update(data)


def _options_text(options: AnswerOptions) -> str:
    """Return the options as their text in fingerprints has been since the first release.

    Stored fingerprints outlive upgrades: the text must change neither with the name of the class nor with a default.
    No function is written as softmax, which was the default once. A request for softmax is therefore the same as one
    for no function; the alternative, a text of its own, would make a conflict of such a request from before.
    """
    values = asdict(options) | {"function_to_apply": options.function_to_apply or "softmax"}
    return f"Options({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def _drop_blob(container: Container, job: Job) -> None:
    if job.blob:
        container.storage.delete(job.blob)


def _count_waiting(container: Container, version_id: str, tenant: str, more: int) -> int:
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


def _within_patience(container: Container, version_id: str, tenant: str, waiting: int, patience: float) -> None:
    """Raise Overloaded if the pictures that wait take longer than the caller waits; accepted, it would be run for
    nobody, in the place of one that is in time."""
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
