"""Jobs: their contents, and how their status may change.

A job moves along these arrows and no others; any other move raises Conflict or changes nothing:

    QUEUED ──a──> RUNNING ──b──> DONE        at least one picture has an answer
      ├──────────────┼──────b──> DONE        without RUNNING, if it ran for too short a time to be seen
      ├──────────────┼──────c──> FAILED      no picture has an answer
      ├──────────────┴──────d──> CANCELLED   the caller asked for it
      └─────────────────────e──> EXPIRED     the deadline passed before it ran

    DONE, FAILED, EXPIRED ──f──> QUEUED      the caller retries the pictures without an answer

Only a retry leads away from an end. A job whose worker was killed stays RUNNING while its pictures wait for another
worker: no arrow leads back from there, so that a client that polls never sees a status move backwards by itself. Each
picture of a job is an item with a separate outcome; a failed item never affects the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shared import errors
from shared.domain.observations import Observation
from shared.domain.pictures import Picture
from shared.domain.rejection import Verdict


class Status(StrEnum):
    """The status of a job, training or comparison; MOVES lists the allowed moves."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def terminal(self) -> bool:
        """True if no move leads away from this status. Responses include it, so that clients need not know the list."""
        return not MOVES[self]


MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.DONE, Status.FAILED, Status.CANCELLED, Status.EXPIRED}),
    Status.RUNNING: frozenset({Status.DONE, Status.FAILED, Status.CANCELLED}),
    Status.DONE: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}
RETRIED = (Status.DONE, Status.FAILED, Status.EXPIRED)
"""The statuses from which a retry leads back to QUEUED. It is not among MOVES: these are what the service does by
itself, and nothing but the caller undoes an end."""
LIVE = tuple(status for status, moves in MOVES.items() if moves)


def sources(target: Status) -> tuple[Status, ...]:
    """Return the statuses from which `target` can be reached; every write of a status is conditional on them."""
    return tuple(status for status, moves in MOVES.items() if target in moves)


FUNCTIONS = ("softmax", "sigmoid", "none")
TASKS = ("classify", "features")
BOTH = "both"
"""What a worker asks of a network whose answers it judges: logits and features from one pass. No job asks for it."""


@dataclass(frozen=True)
class AnswerOptions:
    """The caller's options for the answer; raises BadOption for values out of range."""

    task: str = "classify"
    """`classify` returns labels and scores, `features` the input of the model's last layer."""
    top_k: int = 5
    """Labels per picture; if the model has fewer, all are returned."""
    function_to_apply: str = ""
    """How logits become scores; `none` leaves them as they are, and empty is the version's own function."""
    exif: bool = True
    """Rotate the picture according to its EXIF orientation."""

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        if self.function_to_apply:
            _one_of("function_to_apply", self.function_to_apply, FUNCTIONS)
        if not 1 <= self.top_k <= 100_000:
            raise errors.BadOption(f"top_k must be a whole number of at least 1, not {self.top_k}")


@dataclass(frozen=True)
class ImageReference:
    """A reference to a picture that was uploaded before."""

    id: str
    name: str
    blob: str
    size: int


@dataclass(frozen=True)
class Submission:
    """A request for predictions in the terms of the domain; every wire translates its requests into this."""

    pictures: Iterable[Picture | ImageReference]
    """Consumed once; one picture is held in memory at a time."""
    model: str = ""
    """Empty is the default model."""
    version: str = ""
    """Empty is the model's default version."""
    options: AnswerOptions = field(default_factory=AnswerOptions)
    priority: str = "normal"
    deadline: float | None = None
    """Unix time after which the answer is of no use."""
    webhook: str = ""
    """URL that is called when the job has ended."""
    webhook_secret: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The caller's data, returned with the job."""
    wire: str = "native"
    search: Mapping[str, Any] | None = None
    """The scope of a search, see searches.py; None for other jobs."""
    idempotency_key: str = ""
    remember: bool = False
    """Store the logits in the result cache, for later requests with the same picture. Not an option of the job: if the
    queue loses the entry, maintenance pushes it again without this flag, and only a cache entry is missing."""
    explain: str | None = None
    """The label that the answers are explained for, empty for the best of each picture; None for no explanations."""

    def __post_init__(self) -> None:
        _one_of("priority", self.priority, PRIORITIES)


@dataclass(frozen=True)
class BatchRun:
    """One batch, as a worker has run it; times are Unix seconds by the clock of Redis."""

    claimed_at: float
    worker: str
    size: int
    """Its pictures, of all jobs."""
    decode: float
    """Seconds from the claim until they were decoded."""
    forward: float
    """Seconds in the network."""
    closed: str = "none_left"
    """Why it took no more pictures, one of CLOSED."""


@dataclass(frozen=True)
class JobTrace:
    """The trace of a job that is traced."""

    parent: str
    """The traceparent below which the spans of the job belong."""
    pushes: int = 1
    """How often its pictures were put on the queue: more than once if the queue has lost them."""

    @property
    def pushed_again(self) -> JobTrace:
        """The trace after one more push."""
        return replace(self, pushes=self.pushes + 1)


CLOSED = ("none_left", "full", "alone")
"""No other picture waited; the batch had reached its limit; the picture was claimed before, and so runs alone."""
LONGEST_TIMELINE = 10
"""Batches of a job that its timeline holds: the first of them, and the last."""


def add_to_timeline(
    timeline: Sequence[Mapping[str, Any]] | None, run: BatchRun, pictures: int, attempt: int, now: float
) -> list[Mapping[str, Any]]:
    """Return the timeline with one more batch, in which `pictures` of the job ran for the `attempt`th time."""
    entry = {
        "claimed_at": round(run.claimed_at, 4),
        "stored_at": round(now, 4),
        "worker": run.worker,
        "batch": run.size,
        "pictures": pictures,
        "attempt": attempt,
        "decode_ms": round(run.decode * 1000, 2),
        "forward_ms": round(run.forward * 1000, 2),
        "closed": run.closed,
    }
    return [*(timeline or [])[: LONGEST_TIMELINE - 1], entry]


@dataclass(frozen=True)
class Item:
    """One picture of one job."""

    job_id: str
    position: int
    name: str
    blob: str
    offset: int
    size: int
    """Bytes; the picture is `blob[offset:offset + size]`, since a job keeps its pictures in one blob. An empty `blob`
    means that it is in `picture`."""
    status: str = Status.QUEUED
    """QUEUED, DONE or FAILED."""
    result: Any = None
    """`[[label, score], …]` for classify, a flat list of numbers for features, for a search what `SearchResult` writes;
    None until DONE."""
    error_code: str = ""
    error: str = ""
    """Why it has FAILED; of an item that is DONE, why its answer is not explained although that was asked for."""
    picture: bytes | None = field(default=None, repr=False)
    """The bytes of a small picture that is not in a blob, as it is stored; None when the item is read again."""
    verdict: Verdict | None = None
    """What the version's rejection rule says of the result; None if it has none."""


@dataclass(frozen=True)
class Job:
    """A stored request; times are Unix seconds."""

    id: str
    """UUIDv7, so that ids sort by time."""
    tenant: str
    wire: str
    status: Status
    model: str
    version: str
    version_id: str
    options: AnswerOptions
    """The caller's options, with the version's own function where the caller chose none."""
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
    """Hash of the request, to distinguish a repeated request from another request with the same idempotency key."""
    webhook: str = ""
    webhook_secret: str = ""
    blob: str = ""
    """Empty if the job's one picture is small and kept with its item."""
    with_thresholds: bool = False
    """True if the answer has only the labels whose score is at least the version's threshold. Not among the options:
    processes of the version before, which read them during an upgrade, refuse an option that they do not know."""
    timeline: Sequence[Mapping[str, Any]] | None = None
    """The batches in which its pictures ran, see `add_to_timeline`; None before the first is stored."""
    retries: int = 0
    """How often the pictures without an answer were queued again after the job had ended."""
    search: Mapping[str, Any] | None = None
    """The scope of a search, whose task is `features`: its worker looks for the neighbours of the features, and answers
    with these instead. None for other jobs. Not among the options, for the reason above."""
    explain: str | None = None
    """As in Submission. Not among the options for the same reason as `with_thresholds`."""

    items: tuple[Item, ...] | None = None
    """Its items, if it ended while its request waited; None if they are to be read. Not stored with the job."""

    @property
    def left(self) -> int:
        """Number of pictures without an outcome."""
        return self.total - self.done - self.failed

    def announced(self, change: JobChange) -> Job | None:
        """Return the job as a worker has announced its end; None if the announcement does not hold all of it."""
        outcome = change.outcome
        if outcome is None or self.items is None:
            return None
        item = replace(
            self.items[0], status=Status.FAILED if outcome.error_code else Status.DONE, result=outcome.result,
            error_code=outcome.error_code, error=outcome.error,
        )  # fmt: skip
        return replace(
            self, status=change.status, done=change.done, failed=change.failed, started_at=change.started_at,
            finished_at=change.finished_at, error_code=change.error_code, error=change.error, items=(item,),
            timeline=change.timeline,
        )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The result or error of one item."""

    job_id: str
    position: int
    result: Any = None
    error_code: str = ""
    error: str = ""
    """As in Item."""
    retries: int = 0
    """How often its job had been retried when a failed item was put on the queue; results have no need of it."""
    verdict: Verdict | None = None
    """As in Item."""
    observation: Observation | None = None
    """What is counted of the answer when it is recorded; None if nothing is."""
    explanation_size: int = 0
    """Bytes of its heat map, which is stored before; 0 if it has none."""


@dataclass(frozen=True)
class LiveJob:
    """What a worker needs to know of a job that has not ended; the fields are those of Job."""

    id: str
    status: str
    total: int
    done: int
    failed: int
    deadline: float | None
    started_at: float | None
    webhook: str
    timeline: Sequence[Mapping[str, Any]] | None = None
    retries: int = 0

    def takes(self, outcome: Outcome) -> bool:
        """Return False for a failure from before the job was retried: the picture runs again, and a late failure must
        not end it. A late result is as good as another one."""
        return not outcome.error_code or outcome.retries == self.retries

    def advanced(self, done: int, failed: int, started_at: float, now: float) -> JobChange:
        """Return what becomes of the job with these counts: RUNNING while pictures are left, then DONE if one has an
        answer, else FAILED. `started_at` is when its first batch was claimed, `now` when it ends (Unix seconds)."""
        status, finished_at, code, error = Status.RUNNING, None, "", ""
        if done + failed >= self.total:
            status, finished_at = Status.DONE, now
            if not done:
                status, code, error = Status.FAILED, "no_picture_succeeded", "No picture could be classified."
        started_at = started_at if self.started_at is None else self.started_at
        return JobChange(
            self.id, status, done, failed, started_at, finished_at, code, error, bool(self.webhook),
            deadline=self.deadline,
        )  # fmt: skip


@dataclass(frozen=True)
class JobChange:
    """What a worker has written of a job, of which the processes with waiting requests are told."""

    id: str
    status: Status
    done: int
    failed: int
    started_at: float | None
    finished_at: float | None
    """None if pictures are left."""
    error_code: str = ""
    error: str = ""
    has_webhook: bool = False
    outcome: Outcome | None = None
    """Of a job of one picture, if this call has written it."""
    timeline: Sequence[Mapping[str, Any]] | None = None
    """As in Job, with an outcome."""
    deadline: float | None = None
    """As in Job; not announced."""


def job_created_at(job_id: str) -> float:
    """Return the Unix seconds at which an id was created: the first 48 bits of a UUIDv7 are milliseconds.

    Returns infinity for a text that is not an id.
    """
    try:
        return int(job_id.replace("-", "")[:12], 16) / 1000
    except ValueError:
        return math.inf


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise errors.BadOption(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


PRIORITIES = ("high", "normal", "low")
