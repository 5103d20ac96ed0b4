"""Jobs: what they hold, and how their status may change.

A job moves along these arrows and no others; any other move raises Conflict or changes nothing:

    QUEUED ──a──> RUNNING ──b──> DONE        at least one picture has an answer
      ├──────────────┴──────c──> FAILED      no picture has one
      ├──────────────┴──────d──> CANCELLED   the caller asked for it
      └─────────────────────e──> EXPIRED     the deadline passed before it ran

A job whose worker was killed stays RUNNING while its pictures wait for another worker: no arrow leads back to QUEUED,
so that a poller never sees a status move backwards. Each picture of a job is an item with an outcome of its own; one
that fails never affects the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared import errors
from shared.domain.pictures import Picture


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
class AnswerOptions:
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
class ImageReference:
    """A picture that was uploaded before and is now referred to."""

    id: str
    name: str
    blob: str
    size: int


@dataclass(frozen=True)
class Submission:
    """One request for predictions, in the domain's words; every wire reads its requests into this."""

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
    options: AnswerOptions
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


def job_created_at(job_id: str) -> float:
    """Unix seconds at which an id was made: the first 48 bits of a UUIDv7 are milliseconds. Infinite for no id."""
    try:
        return int(job_id.replace("-", "")[:12], 16) / 1000
    except ValueError:
        return math.inf


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise errors.BadOption(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


PRIORITIES = ("high", "normal", "low")
