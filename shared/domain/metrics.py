"""Metrics that the processes count: their names, labels and buckets, and the sums that counts are added up to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, product
from typing import NamedTuple, TypeAlias

from shared.domain import webhooks

Labels: TypeAlias = tuple[str, ...]
PRIVATE = "(private)"
"""Stands for all models that a caller may not see: even their names are confidential."""
HIDDEN: Labels = (PRIVATE, "")
"""The labels `model` and `version` of these."""
SUM = -2
"""The place of the sum of a histogram; the others are those of its buckets, the last of them without a bound. It was
-1 when sums were stored as fractions."""
MILLIONTHS = 1_000_000
"""A sum is counted and stored in whole millionths: of fractions, the rounding of a difference lets a sum fall."""

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True)
class Metric:
    """A counter, or a histogram if it has buckets."""

    name: str
    """Without the `_total` that the text format adds to counters."""
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, rising."""
    always: tuple[Labels, ...] = ()
    """Labels that are shown from the beginning: of what first appears with a 1, no alarm sees the rise."""

    def place(self, value: float) -> int:
        """Return the bucket of a value: the first whose bound is not below it."""
        return bisect_left(self.buckets, value)


_MODEL = ("model", "version")
_ROUTE = ("wire", "method", "route")

REQUESTS = Metric("inferq_requests", "Requests that were answered.", (*_ROUTE, "status"))
REQUEST_SECONDS = Metric(
    "inferq_request_seconds", "From the arrival of a request until its answer begins.", _ROUTE, _LONG[:13]
)
PICTURES = Metric(
    "inferq_pictures", "Pictures that workers have taken off the queue, by what became of them.",
    (*_MODEL, "outcome", "code"),
)  # fmt: skip
JOBS = Metric("inferq_jobs", "Jobs that have ended, by how.", (*_MODEL, "outcome"))
CACHED = Metric("inferq_cached_answers", "Answers from the result cache, for which no picture ran.", _MODEL)
WAIT_SECONDS = Metric(
    "inferq_wait_seconds", "From the queue until a worker has claimed the picture.", (*_MODEL, "priority"), _LONG
)
DECODE_SECONDS = Metric("inferq_decode_seconds", "Reading the pictures of a batch.", _MODEL, _SHORT)
FORWARD_SECONDS = Metric("inferq_forward_seconds", "A batch in the network.", _MODEL, _SHORT)
STORE_SECONDS = Metric("inferq_store_seconds", "Storing and announcing the answers of a batch.", _MODEL, _SHORT)
BATCH_PICTURES = Metric(
    "inferq_batch_pictures", "Pictures of a batch.", _MODEL, (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
)
BATCHES = Metric("inferq_batches", "Batches, by why they took no more pictures.", (*_MODEL, "closed"))
ATTEMPTS = Metric(
    "inferq_picture_attempts", "Times that a picture was claimed until it had an outcome.", _MODEL, (1.0, 2.0, 3.0)
)
DEADLINE_MARGIN = Metric(
    "inferq_deadline_margin_seconds", "Left until its deadline when a job ended; 0 if that had passed.", _MODEL,
    (0.0, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)  # fmt: skip
WEBHOOKS = Metric(
    "inferq_webhook_attempts", "Attempts to call back, by how they ended.", ("kind", "outcome"),
    always=tuple(product(webhooks.KINDS, ("delivered", "failed", "retried"))),
)  # fmt: skip
WEBHOOK_SECONDS = Metric("inferq_webhook_seconds", "How long a receiver took.", ("kind",), _SHORT[5:])
TRAINING_SECONDS = Metric(
    "inferq_training_seconds", "From the start of a training until it ended.", ("outcome",),
    (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 43_200.0), always=(("cancelled",), ("done",), ("failed",)),
)  # fmt: skip
COUNTED = (
    REQUESTS, REQUEST_SECONDS, PICTURES, JOBS, CACHED, WAIT_SECONDS, DECODE_SECONDS, FORWARD_SECONDS, STORE_SECONDS,
    BATCH_PICTURES, BATCHES, ATTEMPTS, DEADLINE_MARGIN, WEBHOOKS, WEBHOOK_SECONDS, TRAINING_SECONDS,
)  # fmt: skip


class Owner(NamedTuple):
    """The version of a single tenant that something is counted of."""

    tenant: str
    version_id: str


class Sums:
    """All that was counted, of all models or of some."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[Labels, dict[int, float]]] = {}

    def add(self, metric: str, labels: Labels, place: int, number: float) -> None:
        """Add a number, which may be negative; `place` is 0 for a counter, and a SUM is in MILLIONTHS."""
        numbers = self._numbers.setdefault(metric, {}).setdefault(labels, {})
        numbers[place] = numbers.get(place, 0.0) + number

    def of(self, metric: Metric) -> dict[Labels, dict[int, float]]:
        """Return labels -> place -> number, with the sum of a histogram in the unit of its values."""
        return {
            labels: {place: number / MILLIONTHS if place == SUM else number for place, number in numbers.items()}
            for labels, numbers in sorted(self._numbers.get(metric.name, {}).items())
        }

    def __iter__(self) -> Iterator[tuple[str, Labels, int, float]]:
        for metric, of_metric in self._numbers.items():
            for labels, numbers in of_metric.items():
                for place, number in numbers.items():
                    yield metric, labels, place, number


def below(metric: Metric, numbers: Mapping[int, float]) -> list[float]:
    """Return, for each bound of a histogram and for none, how many values were not above it."""
    return list(accumulate(numbers.get(place, 0.0) for place in range(len(metric.buckets) + 1)))
