"""What one run of the benchmark has found, as data; the goals are judged here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

MB = 1_000_000
NOISE = 0.15
"""Cores in use by others above which a share of the limit says more about them than about us."""
ADDED_MS, SHARE, API_MB, QUEUE_MB, TRAINED_S = 10.0, 0.8, 150.0, 150.0, 60.0
"""The goals: p50 added on an idle system, share of the in-process limit, API process, 100,000 queued pictures, a
training on a hundred."""
GOAL_BASE = "mobilenet_v2"
"""The base for which the last one is set; another one may be ten times as large."""
GOAL_WAYS = ("synchronous", "submit, poll", "one archive")
"""Of which the share is a goal; the other rows show what a wire costs, and one of them does not run the model."""


@dataclass(frozen=True)
class Percentiles:
    """Of latencies in milliseconds."""

    p50: float
    p95: float
    p99: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Nearest rank: always a value that was measured; raises ValueError for none."""
        if not values:
            raise ValueError("nothing was measured")
        ranked = sorted(values)
        p50, p95, p99 = (ranked[-(-share * len(ranked) // 100) - 1] for share in (50, 95, 99))
        return cls(p50, p95, p99, len(ranked))


@dataclass(frozen=True)
class Limit:
    """The same engine without queue and HTTP, all processes together."""

    by_batch: dict[int, float]
    """Batch size -> pictures/s."""
    best_batch: int
    runs: list[float]
    """Pictures/s at the best batch size: before, between and after the loads."""
    one_picture: Percentiles
    """Milliseconds of one picture alone."""
    cpu_ms: float
    """Milliseconds of CPU per picture in the last run."""
    others: list[float]
    """Cores that other people's processes used during each of the runs."""

    @property
    def mean(self) -> float:
        """Pictures/s."""
        return fmean(self.runs)


@dataclass(frozen=True)
class Row:
    """One way of sending at one concurrency, saturated."""

    way: str
    concurrency: int
    rate: float
    """Pictures/s."""
    latency: Percentiles | None
    """Of one request, of one picture; None for an archive, which is one job."""
    batch: float | None
    """Mean pictures per forward pass, as the workers tell."""
    cpu_ms: dict[str, float]
    """Milliseconds of CPU per picture, for each part."""
    cpu_share: dict[str, float]
    """Cores in use by each part."""
    others: float = 0.0
    """Cores that other people's processes used meanwhile."""
    errors: int = 0


ALONE, BESIDE = "no training beside", "training beside"
"""The ways of two rows: single pictures just before a training, and while it runs."""
FIRST, AGAIN = "first training", "again, features kept"


@dataclass(frozen=True)
class Step:
    """One thing that the trainer did, from the request until it was ready."""

    what: str
    seconds: float
    cpu: dict[str, float]
    """Seconds of CPU, for each part."""
    others: float
    """Cores that other people's processes used meanwhile."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage of a training, as its evidence has them, and `waiting`, until a trainer had begun."""
    method: str = ""
    """`head` or `fine-tuned`, of a training."""
    accuracy: float | None = None
    """On its test pictures, of a training."""


@dataclass(frozen=True)
class Goal:
    """One thing that was to be reached."""

    name: str
    limit: float
    value: float
    at_most: bool = True
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether it was."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass
class Result:
    """Everything, as it goes into the JSON file."""

    machine: dict[str, Any]
    model: str
    workers: int
    material: dict[str, Any]
    """What was sent."""
    limit: Limit | None = None
    idle: dict[str, Percentiles] = field(default_factory=dict)
    """`warm` and `bell`: one picture at a time, back to back, and spaced so that the bell must ring."""
    rows: list[Row] = field(default_factory=list)
    api: list[dict[str, Any]] = field(default_factory=list)
    """Resident bytes of each API process after the load, and whether torch is in it."""
    queued: dict[str, float] = field(default_factory=dict)
    """`pictures`, `bytes` of Redis that they take, `seconds` to push them."""
    teaching: list[Step] = field(default_factory=list)
    """An archive of labelled pictures loaded, and trainings on it."""

    def added(self, kind: str) -> float | None:
        """p50 of one picture over HTTP, less p50 of the same in process; milliseconds."""
        return self.idle[kind].p50 - self.limit.one_picture.p50 if self.limit and kind in self.idle else None

    def share(self, row: Row) -> float | None:
        """Throughput as a part of the in-process limit of the same run."""
        return row.rate / self.limit.mean if self.limit else None

    def cpu_share(self, row: Row) -> float | None:
        """CPU of one picture in process over CPU of one picture here: what the share is on busy cores, whoever else
        runs."""
        used = sum(spent for part, spent in row.cpu_ms.items() if part != "trainer")  # it works on no picture of these
        return self.limit.cpu_ms / used if self.limit and len(row.cpu_ms) > 1 else None

    @property
    def beside(self) -> float | None:
        """The rate of single pictures while a training runs, as a part of that just before."""
        rates = {row.way: row.rate for row in self.rows}
        return rates[BESIDE] / rates[ALONE] if ALONE in rates and BESIDE in rates else None

    @property
    def noise(self) -> float:
        """Cores that others used in the most disturbed stretch."""
        measured = [row.others for row in self.rows] + [step.others for step in self.teaching]
        return max(measured + (self.limit.others if self.limit else []), default=0.0)

    def goals(self) -> list[Goal]:
        """Those that this run can judge."""
        found = [
            Goal(f"p50 added on an idle system, {said}", ADDED_MS, added, unit="ms")
            for kind, said in (("warm", "back to back"), ("bell", "bell rung for each"))
            if (added := self.added(kind)) is not None
        ]
        for way in GOAL_WAYS:
            shares = [share for row in self.rows if row.way == way and (share := self.share(row)) is not None]
            if shares:
                found.append(Goal(f"share of the in-process limit, {way}", SHARE, max(shares), at_most=False))
        if self.api:
            found.append(Goal("API process", API_MB, max(row["rss"] for row in self.api) / MB, unit="MB"))
            found.append(Goal("API processes with torch", 0, sum(row["torch"] for row in self.api)))
        if self.queued:
            found.append(Goal("Redis, 100,000 queued pictures", QUEUE_MB, self.queued["bytes"] / MB, unit="MB"))
        if self.model == GOAL_BASE:
            about = f"{self.material.get('taught')} pictures of {self.material.get('taught_labels')} labels trained"
            found += [Goal(about, TRAINED_S, step.seconds, unit="s") for step in self.teaching if step.what == FIRST]
        return found

    def as_json(self) -> dict[str, Any]:
        """With what follows from it, so that nobody has to compute it again."""
        made = asdict(self)
        if self.limit:
            made["limit"]["mean"] = self.limit.mean
        for shown, row in zip(made["rows"], self.rows, strict=True):
            shown["share_of_limit"] = self.share(row)
            shown["cpu_share_of_limit"] = self.cpu_share(row)
        made["added_p50_ms"] = {kind: self.added(kind) for kind in self.idle}
        made["rate_beside_training"] = self.beside
        made["noise"] = self.noise
        made["goals"] = [asdict(goal) | {"reached": goal.reached} for goal in self.goals()]
        return made
