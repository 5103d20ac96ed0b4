"""The journal is the load's own record of what it sent, what was accepted and what was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

POISON = "poison"
"""In place of a label: the picture must fail with this code."""


@dataclass
class Request:
    """One request of a caller, with the polls that follow it. Times are seconds of the journal."""

    number: int
    way: str
    right: tuple[str, ...]
    """The right label of each picture, or POISON."""
    began: float
    job_id: str = ""
    """Set once the service has named the job: from then on it is accepted, unless `in_doubt`."""
    answer: tuple[str, ...] | None = None
    """The labels that the caller was given."""
    callback: str = ""
    """The address that must be called once, empty if none must."""
    errors: list[str] = field(default_factory=list)
    """What the caller saw meanwhile, such as `503` or `ReadTimeout`; it may have tried again."""
    broken: str = ""
    """A promise that was broken in front of the caller, in words; empty if none was."""
    ended: float | None = None
    """When the caller had its answer or gave up; None while it still tries."""
    in_doubt: bool = False
    """True if the service said of the job only that it may be stored; it is not owed if it is not found."""

    @property
    def accepted(self) -> bool:
        """True if the service owes an answer, or has given one."""
        return (bool(self.job_id) and not self.in_doubt) or self.answer is not None

    @property
    def is_right(self) -> bool:
        """True if the caller was given the right answer."""
        return self.answer == self.right


class Journal:
    """All requests of a run, in the order in which they began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self._began

    def begin(self, way: str, right: Sequence[str]) -> Request:
        """Write down a request before it is sent."""
        with self._lock:
            request = Request(len(self.requests), way, tuple(right), self.now())
            self.requests.append(request)
        return request

    def rate(self, since: float, until: float) -> float:
        """Return the right answers per second between two times."""
        right = sum(r.is_right and r.ended is not None and since <= r.ended < until for r in self.requests)
        return right / (until - since) if until > since else 0.0
