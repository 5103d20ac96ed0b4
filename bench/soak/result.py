"""The result of a soak as data: series of samples, and the slope of each after the first tenth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, linear_regression
from typing import Any

WARM_UP = 0.1
"""Share of the time at the beginning that no slope counts: caches and pools fill meanwhile."""
GROWTH = 0.01
"""Bytes grow only if the line through them rises by this share of their mean; descriptors and threads, by one."""
BYTES, COUNT = "bytes", ""
"""The units of series."""


@dataclass
class Series:
    """The samples of one measure, such as the resident bytes of one process."""

    what: str
    """The process or the part that was measured."""
    measure: str
    unit: str
    seconds: list[float] = field(default_factory=list)
    """When each sample was taken, in seconds since the load began."""
    values: list[float] = field(default_factory=list)

    def add(self, second: float, value: float) -> None:
        """Keep a sample."""
        self.seconds.append(second)
        self.values.append(value)

    def settled(self, duration: float) -> tuple[Sequence[float], Sequence[float]]:
        """Return seconds and values after the first tenth of `duration` seconds."""
        kept = [
            (second, value)
            for second, value in zip(self.seconds, self.values, strict=True)
            if second >= WARM_UP * duration
        ]
        return [second for second, _ in kept], [value for _, value in kept]

    def slope(self, duration: float) -> float | None:
        """Return the slope per hour of the least squares line after the first tenth; None of fewer than three
        samples."""
        seconds, values = self.settled(duration)
        return linear_regression(seconds, values).slope * 3600 if len(seconds) >= 3 else None

    def grows(self, duration: float) -> bool:
        """Return True if the line after the first tenth rises, and that of the second half does as well: a step, such
        as the first use of a second thread, is no growth."""
        seconds, values = self.settled(duration)
        half = len(seconds) // 2
        return self._rises(seconds, values, 1.0) and self._rises(seconds[half:], values[half:], 0.5)

    def _rises(self, seconds: Sequence[float], values: Sequence[float], share: float) -> bool:
        """Return True if the line rises by more than the samples scatter around it, and by `share` of what counts."""
        if len(seconds) < 3:
            return False
        slope, intercept = linear_regression(seconds, values)
        rise = slope * (seconds[-1] - seconds[0])
        squares = [(value - slope * second - intercept) ** 2 for second, value in zip(seconds, values, strict=True)]
        least = GROWTH * abs(fmean(values)) if self.unit == BYTES else 1.0
        return rise > share * least and rise > 2 * math.sqrt(fmean(squares))


@dataclass
class Kind:
    """What was sent in one way, and what came back."""

    sent: int = 0
    unexpected: int = 0
    """Answers that are wrong for what was sent, and requests without an answer."""
    first: str = ""
    """The first unexpected answer."""


@dataclass
class Soak:
    """The whole result, as it is written to the JSON file."""

    machine: dict[str, Any]
    workers: int
    minutes: float
    capacity: float = 0.0
    """Requests/s of the mixed load with as many callers as the service bears."""
    rate: float = 0.0
    """Requests/s that were sent during the soak."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    callbacks: int = 0
    """Webhooks that arrived; each of the jobs with one should cause one."""
    series: list[Series] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    """Processes that ended during the soak."""

    @property
    def duration(self) -> float:
        """Seconds of the load."""
        return self.minutes * 60

    def named(self, what: str, measure: str, unit: str) -> Series:
        """Return the series, made when it is first asked for."""
        for series in self.series:
            if (series.what, series.measure) == (what, measure):
                return series
        self.series.append(Series(what, measure, unit))
        return self.series[-1]

    @property
    def growing(self) -> list[Series]:
        """The series that grow."""
        return [series for series in self.series if series.grows(self.duration)]

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON, with slopes and verdicts, which are computed from the samples."""
        return {
            "machine": self.machine,
            "workers": self.workers,
            "minutes": self.minutes,
            "capacity": self.capacity,
            "rate": self.rate,
            "kinds": {name: vars(kind) for name, kind in self.kinds.items()},
            "callbacks": self.callbacks,
            "restarts": self.restarts,
            "series": [
                vars(series) | {"slope_per_hour": series.slope(self.duration), "grows": series.grows(self.duration)}
                for series in self.series
            ],
        }
