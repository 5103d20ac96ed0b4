"""The result of a comparison of trainings as data: one row for each run, and the means over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench.result import Goal
from bench.training import figures
from bench.training.figures import Mean

OURS, PLAIN = "inferq", "plain recipe"
BEHIND, AHEAD = -1.0, 2.0
"""Percentage points of accuracy: the least against the best of the others, and against the plain recipe."""
MISCALIBRATED = 0.0
"""The most that the temperature may add to the calibration error."""
WANTED = 0.95
"""The precision that trainings with a rejection rule are asked for."""
PRECISION, REJECTED = 0.93, 0.8
"""The least measured precision on pictures that are held back, and the least share of foreign pictures rejected."""
FOUND = 2 / 3
"""The least share of the wrong labels among inferq's first suspects, as many as are wrong."""


@dataclass(frozen=True)
class Row:
    """One training of one contestant."""

    task: str
    contestant: str
    seed: int
    pictures: int
    """Held back pictures that it answered."""
    accuracy: float
    calibration_error: float
    uncalibrated_error: float | None
    """The calibration error before the temperature; None if there is none."""
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Found:
    """The wrong labels that a contestant found in one draw of a noisy task."""

    task: str
    contestant: str
    seed: int
    flipped: int
    share: float
    """Of the flipped pictures, those among its first suspects, as many as were flipped."""


@dataclass(frozen=True)
class Rejection:
    """What a version with a rejection rule does with pictures that are held back, and with foreign ones."""

    task: str
    seed: int
    precision: float | None
    """Share of right answers among those that it believes; None if it believes none."""
    coverage: float
    """Share of the held back pictures that it believes."""
    foreign_rejected: float


@dataclass
class Result:
    """The whole result, as it is written to the JSON file."""

    machine: dict[str, Any]
    seeds: int
    epochs: int = 0
    """Those of the plain recipe."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Task -> its labels, and how many pictures train and are held back."""
    rows: list[Row] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """What was not measured -> the reason."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Result:
        """Return the result that `as_json` made a document of; raises KeyError and TypeError if it is none."""
        return cls(
            document["machine"], document["seeds"], document["epochs"], document["tasks"],
            [Row(**row) for row in document["rows"]], [Found(**row) for row in document["found"]],
            [Rejection(**row) for row in document["rejections"]], document["left_out"],
        )  # fmt: skip

    def only_seeds(self, count: int) -> Result:
        """Return the result of the first seeds alone."""
        kept: Any = {what: [row for row in getattr(self, what) if row.seed < count]
                     for what in ("rows", "found", "rejections")}  # fmt: skip
        return replace(self, seeds=count, **kept)

    def has(self, task: str, contestant: str, seed: int) -> bool:
        """Return True if that training was measured."""
        return any((row.task, row.contestant, row.seed) == (task, contestant, seed) for row in self.rows)

    @property
    def contestants(self) -> list[str]:
        """The contestants in the order in which they ran first."""
        return list(dict.fromkeys(row.contestant for row in self.rows))

    def values(self, task: str, contestant: str, measure: str) -> dict[int, float]:
        """Return seed -> value of a field of the rows, without those that have none."""
        return {
            row.seed: value for row in self.rows
            if (row.task, row.contestant) == (task, contestant) and (value := getattr(row, measure)) is not None
        }  # fmt: skip

    def mean(self, task: str, contestant: str, measure: str) -> Mean | None:
        """Return the mean over the seeds; None if there is no value."""
        values = self.values(task, contestant, measure)
        return figures.mean(list(values.values())) if values else None

    def best_other(self, task: str) -> str:
        """Return the contestant beside inferq with the highest mean accuracy; empty if there is none."""
        means = {other: found.mean for other in self.contestants
                 if other != OURS and (found := self.mean(task, other, "accuracy"))}  # fmt: skip
        return max(means, key=lambda other: means[other], default="")

    def ahead(self, task: str, other: str) -> Mean | None:
        """Return by how many percentage points inferq is more often right than the other, over the seeds that both
        have; None if there are none."""
        ours, theirs = (self.values(task, contestant, "accuracy") for contestant in (OURS, other))
        differences = [100 * (ours[seed] - theirs[seed]) for seed in ours.keys() & theirs.keys()]
        return figures.mean(differences) if differences else None

    def goals(self) -> list[Goal]:
        """Return the goals that this run can judge."""
        goals = []
        best = [self.ahead(task, self.best_other(task)) for task in self.tasks]
        plain = [self.ahead(task, PLAIN) for task in self.tasks]
        recipe = next((f"{PLAIN}, {row.note}" for row in self.rows if row.contestant == PLAIN), "")
        for name, limit, found in (("best other of each task", BEHIND, best), (recipe, AHEAD, plain)):
            means = [each.mean for each in found if each]
            if means:
                goals.append(Goal(f"accuracy minus that of the {name}, mean", limit, _mean(means), False, "points"))
        added = [after.mean - before.mean for task in self.tasks
                 if (before := self.mean(task, OURS, "uncalibrated_error"))
                 and (after := self.mean(task, OURS, "calibration_error"))]  # fmt: skip
        if added:
            goals.append(Goal("calibration error that the temperature adds, worst task", MISCALIBRATED, max(added)))
        if shares := [each.share for each in self.found if each.contestant == OURS]:
            goals.append(Goal("wrong labels among the first suspects, mean", FOUND, _mean(shares), at_most=False))
        return goals + self._rejection_goals()

    def _rejection_goals(self) -> list[Goal]:
        precisions = [each.precision for each in self.rejections if each.precision is not None]
        rejected = [each.foreign_rejected for each in self.rejections]
        goals = []
        if precisions:
            goals.append(
                Goal(f"precision where {WANTED:g} is wanted, mean", PRECISION, _mean(precisions), at_most=False)
            )
        if rejected:
            goals.append(Goal("foreign pictures rejected, mean", REJECTED, _mean(rejected), at_most=False))
        return goals

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON, with means, differences and goals, which are computed from the rows."""
        document = asdict(self)
        document["means"] = [
            {"task": task, "contestant": contestant}
            | {measure: asdict(found) for measure in ("accuracy", "calibration_error", "uncalibrated_error", "seconds")
               if (found := self.mean(task, contestant, measure))}
            for task in self.tasks for contestant in self.contestants
        ]  # fmt: skip
        document["ahead"] = [
            {"task": task, "other": other, "points": asdict(points)}
            for task in self.tasks for other in self.contestants
            if other != OURS and (points := self.ahead(task, other))
        ]  # fmt: skip
        document["goals"] = [asdict(goal) | {"reached": goal.reached} for goal in self.goals()]
        return document


def _mean(values: Sequence[float]) -> float:
    return figures.mean(values).mean
