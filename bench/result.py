"""The result of one run of the benchmark as data, and its goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

MB = 1_000_000
NOISE = 0.15
"""Cores in use by other processes above which a share of the limit is not reliable."""
ADDED_MS, SHARE, API_MB, QUEUE_MB, TRAINED_S = 10.0, 0.8, 150.0, 150.0, 60.0
"""The goals: p50 added on an idle system, share of the in-process limit, API process, 100,000 queued pictures, a
training on a hundred."""
GOAL_BASE = "mobilenet_v2"
"""The base for which the goal of a training holds; another base may be ten times as large."""
GOAL_WAYS = ("synchronous", "submit, poll", "one archive")
"""The ways whose share is a goal; the other rows show the cost of a wire, and one of them does not run the model."""


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of latencies in milliseconds."""

    p50: float
    p95: float
    p99: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Return percentiles by nearest rank, always measured values; raises ValueError without any value."""
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
    """Cores that other processes used during each of the runs."""

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
    """Mean pictures per forward pass, as the workers report it."""
    cpu_ms: dict[str, float]
    """Milliseconds of CPU per picture, for each part."""
    cpu_share: dict[str, float]
    """Cores in use by each part."""
    others: float = 0.0
    """Cores that other processes used meanwhile."""
    errors: int = 0


ALONE, BESIDE = "no training beside", "training beside"
"""The ways of two rows: single pictures just before a training, and while it runs."""
FIRST, AGAIN = "first training", "again, features kept"


@dataclass(frozen=True)
class Step:
    """One step of the trainer, from the request until it was done."""

    what: str
    seconds: float
    cpu: dict[str, float]
    """Seconds of CPU, for each part."""
    others: float
    """Cores that other processes used meanwhile."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage of a training, from its evidence, and `waiting`, the seconds until a trainer began."""
    method: str = ""
    """`head` or `fine-tuned`, of a training."""
    accuracy: float | None = None
    """On its test pictures, of a training."""


@dataclass(frozen=True)
class Goal:
    """One goal: a measured value and its limit."""

    name: str
    limit: float
    value: float
    at_most: bool = True
    unit: str = ""

    @property
    def reached(self) -> bool:
        """True if the value is within the limit."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass
class Result:
    """The whole result, as it is written to the JSON file."""

    machine: dict[str, Any]
    model: str
    workers: int
    material: dict[str, Any]
    """What was sent."""
    limit: Limit | None = None
    idle: dict[str, Percentiles] = field(default_factory=dict)
    """`warm` and `bell`: one picture at a time, back to back, and spaced so that each needs a notification."""
    rows: list[Row] = field(default_factory=list)
    api: list[dict[str, Any]] = field(default_factory=list)
    """Resident bytes of each API process after the load, and whether torch is in it."""
    queued: dict[str, float] = field(default_factory=dict)
    """`pictures`, `bytes` of Redis that they take, `seconds` to push them."""
    teaching: list[Step] = field(default_factory=list)
    """An archive of labelled pictures loaded, and trainings on it."""

    def added(self, kind: str) -> float | None:
        """Return p50 of one picture over HTTP minus p50 in process, in milliseconds; None if either is unknown."""
        return self.idle[kind].p50 - self.limit.one_picture.p50 if self.limit and kind in self.idle else None

    def share(self, row: Row) -> float | None:
        """Return the throughput as a share of the in-process limit of the same run; None without a limit."""
        return row.rate / self.limit.mean if self.limit else None

    def cpu_share(self, row: Row) -> float | None:
        """Return CPU per picture in process over CPU per picture of the service, a share that other processes hardly
        affect."""
        used = sum(
            spent for part, spent in row.cpu_ms.items() if part != "trainer"
        )  # the trainer runs none of these pictures
        return self.limit.cpu_ms / used if self.limit and len(row.cpu_ms) > 1 else None

    @property
    def beside(self) -> float | None:
        """The rate of single pictures while a training runs, as a share of the rate just before it."""
        rates = {row.way: row.rate for row in self.rows}
        return rates[BESIDE] / rates[ALONE] if ALONE in rates and BESIDE in rates else None

    @property
    def noise(self) -> float:
        """Cores that other processes used in the most disturbed measurement."""
        measured = [row.others for row in self.rows] + [step.others for step in self.teaching]
        return max(measured + (self.limit.others if self.limit else []), default=0.0)

    def goals(self) -> list[Goal]:
        """Return the goals that this run can judge."""
        goals = [
            Goal(f"p50 added on an idle system, {label}", ADDED_MS, added, unit="ms")
            for kind, label in (("warm", "back to back"), ("bell", "a notification for each"))
            if (added := self.added(kind)) is not None
        ]
        for way in GOAL_WAYS:
            shares = [share for row in self.rows if row.way == way and (share := self.share(row)) is not None]
            if shares:
                goals.append(Goal(f"share of the in-process limit, {way}", SHARE, max(shares), at_most=False))
        if self.api:
            goals.append(Goal("API process", API_MB, max(row["rss"] for row in self.api) / MB, unit="MB"))
            goals.append(Goal("API processes with torch", 0, sum(row["torch"] for row in self.api)))
        if self.queued:
            goals.append(Goal("Redis, 100,000 queued pictures", QUEUE_MB, self.queued["bytes"] / MB, unit="MB"))
        if self.model == GOAL_BASE:
            about = f"{self.material.get('taught')} pictures of {self.material.get('taught_labels')} labels trained"
            goals += [Goal(about, TRAINED_S, step.seconds, unit="s") for step in self.teaching if step.what == FIRST]
        return goals

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON, with shares, added latency, noise and goals, which are computed from it."""
        document = asdict(self)
        if self.limit:
            document["limit"]["mean"] = self.limit.mean
        for shown, row in zip(document["rows"], self.rows, strict=True):
            shown["share_of_limit"] = self.share(row)
            shown["cpu_share_of_limit"] = self.cpu_share(row)
        document["added_p50_ms"] = {kind: self.added(kind) for kind in self.idle}
        document["rate_beside_training"] = self.beside
        document["noise"] = self.noise
        document["goals"] = [asdict(goal) | {"reached": goal.reached} for goal in self.goals()]
        return document
