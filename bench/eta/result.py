"""The error of `eta` as data: what jobs were told while they waited, and when they ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.result import Goal

LEAST = 1.0
"""Seconds that a job must still have taken for its `eta` to count: of less, a share says nothing."""
ERROR = 0.25
"""The goal: the median error as a share of the real time."""
STAGES = ("submitted", "QUEUED", "RUNNING")
"""When a job was asked for its `eta`: in the answer that accepted it, or later, by its status then."""


@dataclass(frozen=True)
class Look:
    """One look at the `eta` of one job."""

    stage: str
    asked_at: float
    """Seconds since the load began."""
    told: float | None
    """Seconds that the job should still take; None if no `eta` was told."""
    real: float
    """Seconds that it still took."""

    @property
    def error(self) -> float | None:
        """By how much it was told to take longer, as a share of the real time; negative if it was told a shorter
        time."""
        return None if self.told is None else (self.told - self.real) / self.real


@dataclass
class Steady:
    """The looks at the jobs of one model under a steady backlog."""

    model: str
    rate: float
    """Pictures/s while they were looked at."""
    pictures: int
    """Pictures of a job."""
    jobs: int
    """Jobs that wait or run at once."""
    looks: list[Look] = field(default_factory=list)

    def errors(self, stages: Iterable[str] = STAGES) -> list[float]:
        """Return the errors of all looks that count, in those stages."""
        wanted = set(stages)
        return [
            look.error for look in self.looks if look.stage in wanted and look.real >= LEAST and look.error is not None
        ]

    @property
    def untold(self) -> int:
        """The looks without an `eta`."""
        return sum(look.told is None for look in self.looks)


@dataclass(frozen=True)
class Summary:
    """The errors of some looks; each is a share of the real time."""

    count: int
    median: float
    p90: float
    bias: float
    """The median with signs: above 0 if the jobs ended sooner than they were told."""

    @classmethod
    def of(cls, errors: Sequence[float]) -> Summary | None:
        """Return the summary, p90 by nearest rank; None without any error."""
        if not errors:
            return None
        ranked = sorted(map(abs, errors))
        return cls(len(ranked), median(ranked), ranked[-(-90 * len(ranked) // 100) - 1], median(errors))


@dataclass
class Accuracy:
    """The whole result, as it is written to the JSON file."""

    machine: dict[str, Any]
    workers: int
    steady: list[Steady] = field(default_factory=list)

    def goals(self) -> list[Goal]:
        """Return the goals that this run can judge."""
        return [
            Goal(f"median error of eta, {steady.model}", ERROR, summary.median)
            for steady in self.steady
            if (summary := Summary.of(steady.errors()))
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON, with summaries and goals, which are computed from the looks."""
        return {
            "machine": self.machine,
            "workers": self.workers,
            "steady": [
                asdict(steady)
                | {"untold": steady.untold, "all": _summary(steady.errors())}
                | {stage: _summary(steady.errors([stage])) for stage in STAGES}
                for steady in self.steady
            ],
            "goals": [asdict(goal) | {"reached": goal.reached} for goal in self.goals()],
        }


def _summary(errors: Sequence[float]) -> dict[str, float] | None:
    summary = Summary.of(errors)
    return asdict(summary) if summary else None
