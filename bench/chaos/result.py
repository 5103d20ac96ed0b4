"""The result of one run as data: what became of the requests around each fault, and the targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.chaos.journal import Journal, Request
from bench.chaos.reconcile import DOUBLED, LOST, WRONG, Finding
from bench.result import Goal

RECOVERY_S, GOODPUT = 15.0, 0.98
"""Targets: seconds until every caller has right answers again, and right answers per second after all faults, as a
share of those before."""
CALM = "no fault"


@dataclass
class Window:
    """A fault with the time until the next one. Times are seconds of the journal."""

    fault: str
    began: float
    ended: float
    """When the fault was over."""
    until: float
    """When the next one began."""
    recovery: dict[str, float | None] = field(default_factory=dict)
    """Caller -> seconds from the end of the fault to the right answer of a request that began later; None if there was
    none."""


@dataclass
class Row:
    """One kind of fault, all its windows together."""

    fault: str
    times: int = 0
    accepted: int = 0
    right: int = 0
    wrong: int = 0
    lost: int = 0
    doubled: int = 0
    recovery_p50: float | None = None
    """Seconds; None where no caller recovered, and where there was no fault."""
    recovery_max: float | None = None
    unrecovered: int = 0
    """Callers that had no right answer until the next fault."""
    errors: dict[str, int] = field(default_factory=dict)
    """What callers saw -> how often; they may have tried again with success."""


@dataclass
class Result:
    """A whole run."""

    machine: dict[str, Any]
    seed: int
    database: str
    windows: list[Window]
    left_out: dict[str, str]
    """Fault -> why it was not injected."""
    findings: list[str]
    rows: list[Row]
    rates: list[float]
    """Right answers in each second of the run."""
    before: float
    """Right answers per second before the first fault."""
    after: float
    """Right answers per second after the last fault."""
    others: float
    """Cores that other processes used meanwhile, on average."""
    repeated: int
    """Callbacks that came more than once with the same content, which receivers must expect."""

    def total(self, name: str) -> int:
        """Return the sum of a column of counts."""
        return sum(getattr(row, name) for row in self.rows)

    @property
    def exit_code(self) -> int:
        """1 if anything that was accepted is lost, wrong or doubled."""
        return int(self.total(LOST) + self.total(WRONG) + self.total(DOUBLED) > 0)

    def goals(self) -> list[Goal]:
        """Return the targets with what was measured."""
        slowest = max((row.recovery_max for row in self.rows if row.recovery_max is not None), default=0.0)
        return [
            Goal("lost", 0, self.total(LOST)),
            Goal("doubled", 0, self.total(DOUBLED)),
            Goal("wrong", 0, self.total(WRONG)),
            Goal("callers that did not recover", 0, self.total("unrecovered")),
            Goal("slowest recovery", RECOVERY_S, slowest, unit="s"),
            Goal("goodput afterwards, of that before", GOODPUT, self.after / self.before if self.before else 0.0,
                 at_most=False),
        ]  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON."""
        goals = [asdict(goal) | {"reached": goal.reached} for goal in self.goals()]
        return asdict(self) | {"goals": goals, "exit_code": self.exit_code}


def rows(journal: Journal, windows: Sequence[Window], findings: Sequence[Finding]) -> list[Row]:
    """Return a row for each kind of fault, in the order of their first windows; the first row is the time without."""
    table = {CALM: Row(CALM)}
    for window in windows:
        row = table.setdefault(window.fault, Row(window.fault))
        row.times += 1
        row.unrecovered += sum(seconds is None for seconds in window.recovery.values())
    for name, row in table.items():
        seconds = [s for w in windows if w.fault == name for s in w.recovery.values() if s is not None]
        if seconds:
            row.recovery_p50, row.recovery_max = median(seconds), max(seconds)
    faulty: dict[int, set[str]] = {}
    for finding in findings:
        faulty.setdefault(finding.request, set()).add(finding.kind)
    for request in journal.requests:
        _count(table[fault_of(request, windows)], request, faulty.get(request.number, set()))
    table[CALM].lost += sum(finding.request < 0 for finding in findings)
    return list(table.values())


def _count(row: Row, request: Request, faults: set[str]) -> None:
    row.accepted += request.accepted
    row.right += request.accepted and not faults
    for kind in faults:
        setattr(row, kind, getattr(row, kind) + 1)
    row.errors = dict(Counter(row.errors) + Counter(request.errors))


def fault_of(request: Request, windows: Sequence[Window]) -> str:
    """Return the fault in whose window the request ended: one that was sent before may suffer from it as well.

    What ended before the first window or after the last one ended without a fault.
    """
    when = request.began if request.ended is None else request.ended
    if windows and when >= windows[-1].until:
        return CALM
    return next((window.fault for window in reversed(windows) if window.began <= when), CALM)
