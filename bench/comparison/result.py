"""The result of a comparison as data: points of several rounds, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.result import Goal, Percentiles

INFERQ, INFERQ_FAST, LITSERVE = "inferq", "inferq, fast", "LitServe"
DIGITS, DIGITS_POSTGRES, NO_OP = "inferq, digits", "inferq, digits, PostgreSQL", "LitServe, no-op"
PICTURES, PHOTOS, HARDLY, ARCHIVE = "pictures", "12-megapixel photos", "hardly any model", "archive"
DEVICES = "simulated devices"
"""The sections: what is sent."""


@dataclass(frozen=True)
class Sample:
    """One measurement of a contestant, in one round."""

    rate: float
    """Pictures/s."""
    latency: Percentiles | None
    """Milliseconds of one request."""
    cpu_ms: Mapping[str, float]
    """Milliseconds of CPU per picture, for each part; `client` is the benchmark's own."""
    memory: int
    """Resident bytes of all processes of the contestant, just after the load."""
    others: float
    """Cores that other processes used meanwhile."""
    errors: int = 0
    first_error: str = ""


@dataclass
class Point:
    """The samples of all rounds of one contestant, with one setting and at one number of callers."""

    section: str
    contestant: str
    setting: str
    """Workers × threads of torch."""
    callers: int
    samples: list[Sample] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median of the rounds, pictures/s."""
        return median(sample.rate for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The slowest and the fastest round, pictures/s."""
        rates = [sample.rate for sample in self.samples]
        return min(rates), max(rates)

    def latency(self, percentile: str) -> float | None:
        """Return the median of the rounds' `p50`, `p95` or `p99`, in milliseconds; None if nothing was answered."""
        values = [getattr(sample.latency, percentile) for sample in self.samples if sample.latency]
        return median(values) if values else None

    def cpu(self, part: str = "") -> float:
        """Return the median milliseconds of CPU per picture of a part; of all parts but the client by default."""
        return median(
            sample.cpu_ms.get(part, 0.0) if part else sum(ms for of, ms in sample.cpu_ms.items() if of != "client")
            for sample in self.samples
        )

    @property
    def memory(self) -> int:
        """The most resident bytes of any round."""
        return max(sample.memory for sample in self.samples)

    @property
    def errors(self) -> int:
        """The errors of all rounds."""
        return sum(sample.errors for sample in self.samples)


@dataclass(frozen=True)
class Once:
    """The jobs that a client was answered, beside the jobs that the service lists."""

    contestant: str
    answered: int
    listed: int
    missing: int
    """Jobs that were answered and are not listed."""
    repeated: int
    """Job ids that were answered or listed more than once."""
    unfinished: int
    """Listed jobs whose pictures have not each exactly one answer."""

    @property
    def exact(self) -> bool:
        """True if every answered job is listed once, and every listed job has its answers."""
        return not (self.missing or self.repeated or self.unfinished)


@dataclass(frozen=True)
class Overload:
    """An open loop at a multiple of the peak rate."""

    factor: float
    peak: float
    """Pictures/s of the closed loop before."""
    budget_ms: float
    """Twice the p99 of that closed loop; a later answer is no good answer."""
    offered: float
    """Requests/s that arrived."""
    answered: float
    """Requests/s that were answered with 200."""
    good: float
    """Of these, those within the budget: the goodput, requests/s."""
    p99_ms: float | None
    """Of the answered."""
    statuses: Mapping[str, int]
    """Status -> answers; 0 is a connection that failed."""
    guided: float | None
    """The share of the refused (not 200, not 202) whose answer has Retry-After; None if none was refused."""
    waiting: int
    """Requests without an answer at the end."""

    @property
    def share(self) -> float:
        """Goodput as a share of the peak."""
        return self.good / self.peak


@dataclass(frozen=True)
class Waiting:
    """Clients that all wait at once."""

    clients: int
    seconds: float
    """Until the last was answered."""
    errors: int
    first_error: str
    api_bytes: int
    """The most resident bytes of the API's processes meanwhile."""
    idle_bytes: int
    """Before."""


@dataclass
class Comparison:
    """The whole result, as it is written to the JSON file."""

    machine: dict[str, Any]
    model: str
    material: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    """Distribution -> version, of the peers and the databases."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Contestant -> the reason for which it was not measured."""
    points: list[Point] = field(default_factory=list)
    once: list[Once] = field(default_factory=list)
    overload: Overload | None = None
    waiting: Waiting | None = None
    devices: list[Point] = field(default_factory=list)
    """Simulated devices; `setting` is their number."""
    device_rate: float = 0.0
    """Pictures/s of one simulated device."""

    def add(self, section: str, contestant: str, setting: str, callers: int, sample: Sample) -> None:
        """Add a sample to its point."""
        place = (section, contestant, setting, callers)
        points = self.devices if section == DEVICES else self.points
        for point in points:
            if (point.section, point.contestant, point.setting, point.callers) == place:
                point.samples.append(sample)
                return
        points.append(Point(*place, [sample]))

    def best(self, section: str) -> list[Point]:
        """Return for each contestant and number of callers the point with the better of its settings."""
        chosen: dict[tuple[str, int], Point] = {}
        for point in self.points:
            place = point.contestant, point.callers
            if point.section == section and (place not in chosen or point.rate > chosen[place].rate):
                chosen[place] = point
        return list(chosen.values())

    def saturated(self, section: str, contestants: Sequence[str] = ()) -> dict[str, float]:
        """Return contestant -> its best rate at any number of callers, of all contestants by default."""
        rates: dict[str, float] = {}
        for point in self.best(section):
            if not contestants or point.contestant in contestants:
                rates[point.contestant] = max(rates.get(point.contestant, 0.0), point.rate)
        return rates

    @property
    def noise(self) -> float:
        """Cores that other processes used in the most disturbed measurement."""
        return max((sample.others for point in self.points for sample in point.samples), default=0.0)

    def goals(self) -> list[Goal]:
        """Return the goals that this run can judge."""
        goals = []
        for section, exact, fast in ((PICTURES, 1.8, 3.0), (PHOTOS, 1.4, 5.0)):
            rates = self.saturated(section)
            peers = [rate for contestant, rate in rates.items() if contestant not in (INFERQ, INFERQ_FAST)]
            for own, least in ((INFERQ, exact), (INFERQ_FAST, fast)):
                if own in rates and peers:
                    name = f"{own} ÷ best peer, saturated, {section}"
                    goals.append(Goal(name, least, rates[own] / max(peers), at_most=False))
        rates = self.saturated(HARDLY)
        for contestant, least in ((DIGITS, 1.0), (DIGITS_POSTGRES, 0.8)):
            if contestant in rates and NO_OP in rates:
                name = f"{contestant} ÷ {NO_OP}"
                goals.append(Goal(name, least, rates[contestant] / rates[NO_OP], at_most=False))
        for contestant, rate in self.saturated(ARCHIVE).items():
            goals.append(Goal(f"archive, {contestant}", 5000, rate, at_most=False, unit="pictures/s"))
        goals += self._other_goals()
        return goals

    def _other_goals(self) -> list[Goal]:
        goals = [Goal(f"not answered exactly once, {once.contestant}", 0, 0 if once.exact else 1) for once in self.once]
        by_devices = {int(point.setting): point.rate for point in self.devices}
        if 1 in by_devices and 8 in by_devices:
            goals.append(Goal("8 simulated devices ÷ 1", 7.2, by_devices[8] / by_devices[1], at_most=False))
        if self.overload:
            name = f"goodput at {self.overload.factor:g}× overload ÷ peak"
            goals.append(Goal(name, 0.95, self.overload.share, at_most=False))
        if self.waiting:
            goals.append(Goal(f"{self.waiting.clients:,} waiting clients, errors", 0, self.waiting.errors))
            goals.append(Goal("their API", 250, self.waiting.api_bytes / 1e6, unit="MB"))
        return goals

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON, with the medians, the noise and the goals, which are computed from it."""
        document = asdict(self)
        for shown, point in zip(document["points"] + document["devices"], self.points + self.devices, strict=True):
            shown |= {"rate": point.rate, "spread": point.spread, "cpu_ms": point.cpu(), "memory": point.memory}
        if self.overload:
            document["overload"]["share"] = self.overload.share
        document["noise"] = self.noise
        document["goals"] = [asdict(goal) | {"reached": goal.reached} for goal in self.goals()]
        return document
