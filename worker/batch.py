"""A batch: pictures that a worker has claimed together, on their way from the stream to their outcomes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from shared.domain.jobs import BatchRun, Outcome
from shared.domain.stream_entry import StreamEntry

MOST_SLOW = 4
"""Explained pictures and searches in one batch; the others of a claim are put back, so that nobody waits for more than
these: a search among a million pictures takes seconds."""


class Absent(NamedTuple):
    """A picture that the storage lacks although nobody removed it."""

    entry: StreamEntry


class Input(NamedTuple):
    """A prepared picture, ready to run."""

    entry: StreamEntry
    tensor: Tensor
    key: str
    """The key of its logits in the result cache; empty when they are not to be cached."""


@dataclass
class Batch:
    """Entries that were claimed together, with their inputs and outcomes so far."""

    inputs: list[Input] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    entries: list[StreamEntry] = field(default_factory=list)
    """All claimed entries, to be acknowledged when the outcomes are stored."""
    missed: list[Outcome] = field(default_factory=list)
    """Those of pictures that did not run since their deadline had passed, which are recorded already."""
    alone: bool = False
    """True for a single picture that was delivered before."""
    started_at: float | None = None
    """Unix seconds at which its first picture was claimed."""
    is_full: bool = False
    """True if it has as many pictures as the worker takes at once."""
    decode: float = 0.0
    """Seconds from the claim until its pictures were decoded."""
    is_second: bool = False
    """True for a part whose pictures were decoded with those of another part."""
    claimed_at: float = field(default_factory=time.monotonic)
    """Monotonic seconds."""
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    """What log lines and traces call it."""

    def __bool__(self) -> bool:
        return bool(self.entries)

    @property
    def is_explained(self) -> bool:
        """True if its pictures get explanations; `parts` sees to it that all of them or none do."""
        return any(prepared.entry.explain is not None for prepared in self.inputs)

    def within_limit(self, entries: Sequence[StreamEntry]) -> list[StreamEntry]:
        """Return the entries without the slow ones that are beyond MOST_SLOW with those of the batch."""
        room = MOST_SLOW - sum(_is_slow(prepared.entry) for prepared in self.inputs)
        beyond = set(map(id, [entry for entry in entries if _is_slow(entry)][max(0, room) :]))
        return [entry for entry in entries if id(entry) not in beyond]

    def parts(self) -> list[Batch]:
        """Return the batch divided into pictures without and with explanations, the quick ones first."""
        inputs = [prepared for prepared in self.inputs if prepared.entry.explain is not None]
        entries = [prepared.entry for prepared in inputs]
        ids = set(map(id, entries))
        others = [entry for entry in self.entries if id(entry) not in ids]
        if not inputs or not others:
            return [self]
        quick = [prepared for prepared in self.inputs if prepared.entry.explain is None]
        explained = replace(self, inputs=inputs, entries=entries, outcomes=[], missed=[], is_second=True)
        return [replace(self, inputs=quick, entries=others), explained]

    def run(self, worker_id: str, forward: float, now: float) -> BatchRun:
        """Return what the timelines of its jobs tell of it; `forward` is in seconds."""
        claimed_at = now if self.started_at is None else self.started_at
        closed = "alone" if self.alone else "full" if self.is_full else "none_left"
        return BatchRun(claimed_at, worker_id, len(self.entries), self.decode, forward, closed)


def failed(entry: StreamEntry, code: str, message: str) -> Outcome:
    """Return the outcome of a picture without an answer."""
    return Outcome(entry.job_id, entry.position, error_code=code, error=message, retries=entry.retries)


def _is_slow(entry: StreamEntry) -> bool:
    return entry.is_search or entry.explain is not None


def task_of(prepared: Input) -> str:
    """Return the task, by which a batch is divided into passes of the model."""
    return prepared.entry.task


def answer_options(entry: StreamEntry) -> tuple[int, str, bool]:
    """Return the options by which the rows of a pass are divided, since each has answers of its own."""
    return entry.top_k, entry.function_to_apply, entry.with_thresholds
