"""Jobs: what they are, how they may move, and everything that can be done to them (rules and use-cases).

A job moves along these arrows and no others; whatever else is tried raises Conflict or changes nothing:

    QUEUED ──a──> RUNNING ──b──> DONE        at least one picture has an answer
      ├──────────────┴──────c──> FAILED      no picture has one
      ├──────────────┴──────d──> CANCELLED   asked for by the caller; a row, not a broadcast
      └─────────────────────e──> EXPIRED     the deadline passed before it ran

A job whose worker died keeps saying RUNNING while its pictures wait for another: nothing leads back to QUEUED,
so that a status never seems to move backwards to whoever polls.
Each picture of a job is an item with an outcome of its own; one that fails never touches the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import uuid6

from shared import errors, models
from shared.images import Picture
from shared.queue import PRIORITIES, Entry

if TYPE_CHECKING:
    from shared.tools import Tools


class Status(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def terminal(self) -> bool:
        """No move leads away from here. Told to clients, so that they need not know the list."""
        return not MOVES[self]


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED, Status.EXPIRED}),
    Status.RUNNING: frozenset({Status.DONE, Status.FAILED, Status.CANCELLED}),
    Status.DONE: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}
LIVE = tuple(status for status, moves in MOVES.items() if moves)


def sources(target: Status) -> tuple[Status, ...]:
    """The statuses from which `target` can be reached; every write of a status is conditional on them."""
    return tuple(status for status, moves in MOVES.items() if target in moves)


FUNCTIONS = ("softmax", "sigmoid", "none")
TASKS = ("classify", "features")


@dataclass(frozen=True)
class Options:
    """What the caller may choose about the answer."""

    task: str = "classify"
    """`classify` gives labels and scores, `features` the input of the model's last layer."""
    top_k: int = 5
    """Labels per picture; more than the model has gives all of them."""
    function_to_apply: str = "softmax"
    """How logits become scores; `none` leaves them as they are."""
    exif: bool = True
    """Turn the picture the way its EXIF orientation says."""

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        _one_of("function_to_apply", self.function_to_apply, FUNCTIONS)
        if not 1 <= self.top_k <= 100_000:
            raise errors.BadOption(f"top_k must be a whole number of at least 1, not {self.top_k}")


@dataclass(frozen=True)
class StoredImage:
    """A picture that was uploaded before and is now referred to."""

    id: str
    name: str
    blob: str
    size: int


@dataclass(frozen=True)
class Submission:
    """One request for predictions, in the domain's words; every wire reads its requests into this."""

    pictures: Iterable[Picture | StoredImage]
    """Consumed once; one picture is held in memory at a time."""
    model: str = ""
    """Empty is the default model."""
    version: str = ""
    """Empty is the model's default version."""
    options: Options = field(default_factory=Options)
    priority: str = "normal"
    deadline: float | None = None
    """Unix time after which the answer is of no use."""
    webhook: str = ""
    """URL to be told when the job has ended."""
    webhook_secret: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The caller's own words, given back with the job."""
    wire: str = "native"
    idempotency_key: str = ""
    remember: bool = False
    """Keep what the model says in the result cache, for the next one who sends the same picture. Not an option of the
    job: should the queue lose it, the sweep pushes it again without, and nothing but a cache entry is missing."""

    def __post_init__(self) -> None:
        _one_of("priority", self.priority, PRIORITIES)


@dataclass(frozen=True)
class Item:
    """One picture of one job."""

    job_id: str
    position: int
    name: str
    blob: str
    offset: int
    size: int
    """Bytes; the picture is `blob[offset:offset + size]`, since a job keeps its pictures in one blob."""
    status: str = Status.QUEUED
    """QUEUED, DONE or FAILED."""
    result: Any = None
    """`[[label, score], …]` for classify, a flat list of numbers for features; None until DONE."""
    error_code: str = ""
    error: str = ""


@dataclass(frozen=True)
class Job:
    """One stored request; times are Unix seconds."""

    id: str
    """UUIDv7, so that ids sort by time."""
    tenant: str
    wire: str
    status: Status
    model: str
    version: str
    version_id: str
    options: Options
    priority: str
    created_at: float
    total: int
    done: int = 0
    failed: int = 0
    deadline: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    error_code: str = ""
    error: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""
    fingerprint: str = ""
    """Hash of what was asked, to tell a repeated request from another one under the same key."""
    webhook: str = ""
    webhook_secret: str = ""
    blob: str = ""

    @property
    def left(self) -> int:
        return self.total - self.done - self.failed


@dataclass(frozen=True)
class Outcome:
    """What became of one item in the worker."""

    job_id: str
    position: int
    result: Any = None
    error_code: str = ""
    error: str = ""


def submit(tools: Tools, tenant: str, asked: Submission) -> tuple[Job, bool]:
    """Store the pictures and the job, hand the items to the queue; the job, and whether it is new.

    The order is what makes `accepted` mean `answered`: blobs, then one commit, then the queue. A crash after the
    commit leaves a job that `sweep` pushes again; a crash before it leaves a blob that `sweep` removes.
    Raises BadPicture kinds, NotFound, ModelNotReady, Conflict, TooManyRequests, Unavailable.
    """
    version = models.servable(tools, tenant, asked.model, asked.version)
    # Asked of Redis rather than SQL, which would add up all live jobs for every request; and a queue that is away
    # is said now: refused is better than accepted and stuck.
    waiting = tools.queue.held(version.id, tenant)
    _within_quota(tools, waiting, 1)
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
        created_at=tools.now(),
        total=0,
        deadline=asked.deadline,
        metadata=asked.metadata,
        idempotency_key=asked.idempotency_key,
        webhook=asked.webhook,
        webhook_secret=asked.webhook_secret,
        blob=tools.storage.dated("jobs", job_id, tools.now()),
    )
    items, fingerprint = _store_pictures(tools, job, asked)
    job = replace(job, total=len(items), fingerprint=fingerprint)
    try:
        _within_quota(tools, waiting, len(items))
        earlier = _store(tools, job, items)
    except errors.Unavailable:
        raise  # the commit may have happened and only its answer be lost; `tidy` knows, later, and removes the blob
    except BaseException:
        tools.storage.delete(job.blob)
        raise
    if earlier is not None:
        tools.storage.delete(job.blob)
        return _same_request(earlier, fingerprint), False
    with contextlib.suppress(errors.Unavailable):  # the commit has happened: the answer is yes, sweep does the rest
        push(tools, job, items, remember=asked.remember)
    return job, True


def push(tools: Tools, job: Job, items: Sequence[Item], *, remember: bool = False) -> None:
    """Put the items on the stream of their version, priority and tenant, and ring the bell."""
    options = job.options
    entries = [
        Entry(
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
    tools.queue.push(job.version_id, job.priority, job.tenant, entries)


def begin(tools: Tools, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Mark the jobs behind the entries RUNNING; (entries to run, entries that nobody waits for any more).

    This is where cancel, deadline and a job that is gone are honoured: at batch assembly, by the clock. What was
    delivered before is also looked up, because a worker may have died between the commit and the acknowledgement.
    """
    with tools.records.write() as r:
        running, late, expired = r.jobs.start({entry.job_id for entry in entries}, tools.now())
        again = [(entry.job_id, entry.position) for entry in entries if entry.attempts > 1]
        finished = r.jobs.finished_items(again)
    if expired:
        tools.queue.announce(expired)
    if late:
        missed = "The deadline of the job passed before this picture ran."
        finish(tools, [Outcome(e.job_id, e.position, error_code="expired", error=missed) for e in entries
                       if e.job_id in late])  # fmt: skip
    keep: list[Entry] = []
    drop: list[Entry] = []
    for entry in entries:
        wanted = entry.job_id in running and (entry.job_id, entry.position) not in finished
        (keep if wanted else drop).append(entry)
    return keep, drop


def finish(tools: Tools, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, counters, ended jobs and their callbacks in one commit, then announce.

    An item that has an outcome already keeps it: whatever is delivered twice is recorded once. The caller
    acknowledges the entries after this returns, so a crash in between only causes a second, harmless delivery.
    """
    with tools.records.write() as r:
        ended = r.jobs.record(outcomes, tools.now())
    ended_ids = {job.id for job in ended}
    tools.queue.announce(sorted(ended_ids), sorted({outcome.job_id for outcome in outcomes} - ended_ids))
    if any(job.webhook for job in ended):
        tools.queue.call("deliver")


def get(tools: Tools, tenant: str, job_id: str) -> Job:
    """The tenant's job; raises NotFound for anybody else's, in the same words as for none."""
    with tools.records.read() as r:
        job = r.jobs.get(tenant, job_id)
    if job is None:
        raise errors.NotFound(f"There is no job {job_id}.")
    return job


def wait(tools: Tools, tenant: str, job_id: str, seconds: float) -> Job:
    """The job, when it has ended or when the time is over, whichever is first.

    The announcement is only a hint: SQL is looked at every second, in case one was lost.
    """
    with tools.waiters.ticket(job_id) as ticket:
        until = tools.now() + seconds
        while True:
            ticket.wait(max(0.0, min(1.0, until - tools.now())))
            job = get(tools, tenant, job_id)
            if job.status.terminal or tools.now() >= until:
                return job


def blame(tools: Tools, job: Job) -> None:
    """Raise what a FAILED job failed by, so that a caller who waited is told as if the request had been refused."""
    if job.status is not Status.FAILED:
        return
    with tools.records.read() as r:
        items = r.jobs.items(job.id, limit=1)
    error = errors.by_code(items[0].error_code, items[0].error) if items else errors.InferqError(job.error)
    error.job_id = job.id
    raise error


def cancel(tools: Tools, tenant: str, job_id: str) -> Job:
    """Cancel a job; raises Conflict when it has ended. Honoured when the next batch is put together."""
    with tools.records.write() as r:
        job = r.jobs.get(tenant, job_id)
        if job is None:
            raise errors.NotFound(f"There is no job {job_id}.")
        if job.status.terminal and job.status is not Status.CANCELLED:
            raise errors.Conflict(f"Job {job_id} has ended as {job.status} and cannot be cancelled.")
        r.jobs.end([job_id], Status.CANCELLED, tools.now())
    tools.queue.announce([job_id])
    return get(tools, tenant, job_id)


def made_at(job_id: str) -> float:
    """Unix seconds at which an id was made: the first 48 bits of a UUIDv7 are milliseconds. Infinite for no id."""
    try:
        return int(job_id.replace("-", "")[:12], 16) / 1000
    except ValueError:
        return math.inf


def _store_pictures(tools: Tools, job: Job, asked: Submission) -> tuple[list[Item], str]:
    """Write all pictures into the job's one blob, as they come; (items, hash of all bytes)."""
    items: list[Item] = []
    digest = hashlib.sha256()
    with tools.storage.writing(job.blob) as blob:
        for position, picture in enumerate(asked.pictures):
            name = _storable(picture.name)
            if isinstance(picture, StoredImage):
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


def _store(tools: Tools, job: Job, items: Sequence[Item]) -> Job | None:
    """Commit the job, unless its idempotency key was used before: then that earlier job."""
    try:
        with tools.records.write() as r:
            key = job.idempotency_key
            if key and (earlier := r.jobs.by_idempotency_key(job.tenant, key)):
                return earlier
            if not r.versions.keep(job.version_id):
                raise errors.NotFound(f"The model {job.model!r} has just been removed.")
            r.jobs.add(job, items)
            return None
    except errors.Conflict:  # the same request twice at the same moment: the other one was first
        with tools.records.read() as r:
            if earlier := r.jobs.by_idempotency_key(job.tenant, job.idempotency_key):
                return earlier
        raise


def _within_quota(tools: Tools, waiting: int, more: int) -> None:
    if waiting + more > tools.settings.max_queued:
        raise errors.TooManyRequests(
            f"{waiting} pictures of yours wait for this model and {more} more would pass the limit of "
            f"{tools.settings.max_queued}; wait until some are done.",
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


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise errors.BadOption(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
