"""Dead letters are the pictures of ended jobs that have failed, or that never ran because their job expired."""

from __future__ import annotations

from dataclasses import dataclass

EXPIRED = "expired"
"""The reason of pictures whose deadline passed; the other reasons are the codes of their errors, such as `poison`."""
LAST = 2**31 - 1
"""A position after the last picture of every job."""


@dataclass(frozen=True)
class DeadLetter:
    """A picture without an answer, whose job has ended."""

    job_id: str
    position: int
    name: str
    reason: str
    error: str
    model: str
    version: str
    created_at: float
    """When the job was created (Unix seconds)."""

    @property
    def id(self) -> str:
        """The text that a page of the list begins after."""
        return cursor(self.job_id, self.position)


@dataclass(frozen=True)
class Wanted:
    """Which dead letters are meant; an empty field means all."""

    reason: str = ""
    model: str = ""
    since: float | None = None
    """Those of jobs that were created then (Unix seconds) or later."""
    until: float | None = None
    """Those of jobs that were created before."""


@dataclass(frozen=True)
class Replay:
    """What one call has put on the queue again."""

    jobs: int
    pictures: int
    skipped: int
    """Jobs that cannot run again: their pictures or their model were removed, or more pictures have failed than may
    wait."""
    left_after: str
    """The place in the list where the call has stopped; empty if it has reached the end."""


def cursor(job_id: str, position: int = LAST) -> str:
    """Return the cursor after a picture, or after all pictures of the job."""
    return f"{job_id}_{position}"


def split_cursor(text: str) -> tuple[str, int]:
    """Return (job id, position) of a cursor; raises ValueError."""
    job_id, _, position = text.rpartition("_")
    if not job_id or not position.isdecimal() or int(position) > LAST:
        raise ValueError(text)
    return job_id, int(position)
