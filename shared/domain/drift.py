"""Drift: whether the pictures that a version answers are still like those of its reference (rules, no I/O).

Three things are counted each day and compared with the reference, each by itself: the labels of the answers, which
change with seasons and customers; their confidence; and the distance of the pictures from the training features, which
grows if they show something else. A drift must be both larger than chance makes it and large.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shared.domain import chance
from shared.domain.models import ModelVersion, ProblemType
from shared.domain.observations import Observation
from shared.domain.rejection import best_score
from shared.domain.scores import lowest_logits

KEPT_DAYS = 90
"""Days for which counts are kept."""
RECENT_DAYS, RECENT_PICTURES = 7, 100
"""The verdict on a version is on as few of its last days as hold so many pictures, so that it is of today where many
are sent, and a few pictures a day say something as well."""
FEWEST, FEWEST_KNOWN = 30, 15
"""Pictures of a day, and of a reference, below which nothing is said."""
SIGNIFICANCE = 0.001
"""The probability of chance above which a difference is no drift. Stricter than for one comparison: three things are
compared on each day, so that a version without drift would raise about one false alarm a year by this alone."""
LEAST_EFFECT = 0.15
"""The Jensen-Shannon distance from which a difference is a drift: thousands of pictures make any difference larger than
chance. It is that of a population stability index of about 0.125, between 0.1, from which one is customarily watched,
and 0.25, from which one acts (Siddiqi 2006, "Credit Risk Scorecards")."""
MEASURE_PREFIX = "drift_reference:"
_CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Between the bins of the confidence: finer towards 1, where most answers of a good model are."""
_DISTANCE_STEP, _LAST_DISTANCE = 0.05, 39
"""The width of the bins of the distance, and the number of the last."""


class Kind(StrEnum):
    """What is compared."""

    LABELS = "labels"
    CONFIDENCE = "confidence"
    DISTANCE = "distance"


class Source(StrEnum):
    """Which pictures a reference was measured on."""

    TEST = "test"
    """The test pictures of the training."""
    UNSEEN = "unseen"
    """Pictures that the training, or the part of it that gave the answer, has not learned from, where there are fewer
    than FEWEST_KNOWN test pictures."""
    DATASET = "dataset"
    """Those of a dataset that was given later."""


class Unknown(StrEnum):
    """Why nothing is said of a kind."""

    NO_REFERENCE = "no_reference"
    TOO_FEW = "too_few_pictures"
    TOO_FEW_IN_REFERENCE = "too_few_reference_pictures"
    NOT_MEASURED = "not_measured"
    """The version measures no distance, or the reference has none from the same features."""


class Verdict(StrEnum):
    """What the last days say of a version."""

    NOT_COUNTED = "not_counted"
    NO_REFERENCE = "no_reference"
    TOO_FEW = "too_few_pictures"
    ALIKE = "alike"
    OTHER_LABELS = "other_labels"
    OTHER_CONFIDENCE = "other_confidence"
    UNLIKE_PICTURES = "unlike_pictures"


SENTENCES = {
    Verdict.NOT_COUNTED: "Answers of models of the catalogue are not counted, since all tenants share them.",
    Verdict.NO_REFERENCE: "There is no reference that its answers could be compared with.",
    Verdict.TOO_FEW: "Too few pictures to tell.",
    Verdict.ALIKE: "No drift.",
    Verdict.OTHER_LABELS: "It answers other labels than on the reference; nothing else has changed as much.",
    Verdict.OTHER_CONFIDENCE: "It is not as sure of its answers as it was on the reference.",
    Verdict.UNLIKE_PICTURES: "The pictures are unlike those that it has learned from.",
}
"""What each verdict says to people."""
ADVICE = {
    Verdict.NOT_COUNTED: "Train or import a model of your own.",
    Verdict.NO_REFERENCE: "Give it one: inferq models drift NAME --reference DATASET.",
    Verdict.TOO_FEW: f"At least {FEWEST} pictures are needed in the last {RECENT_DAYS} days, and {FEWEST_KNOWN} in the "
    "reference.",
    Verdict.ALIKE: "",
    Verdict.OTHER_LABELS: "A season or other customers may be the reason. If it stays, train again with pictures of "
    "these labels in the shares of today.",
    Verdict.OTHER_CONFIDENCE: "Look at the pictures that it is least sure of (inferq models suggest NAME), add them "
    "to the dataset with their labels, and train again.",
    Verdict.UNLIKE_PICTURES: "Look at some of them (inferq models suggest NAME), add pictures like these to the "
    "dataset with their labels, and train again.",
}
"""What to do at each verdict."""


VERDICTS = {
    Kind.DISTANCE: Verdict.UNLIKE_PICTURES,
    Kind.CONFIDENCE: Verdict.OTHER_CONFIDENCE,
    Kind.LABELS: Verdict.OTHER_LABELS,
}
"""What each kind says if it has drifted; the first of them that has is the verdict, since unlike pictures change labels
and confidence as well."""


@dataclass(frozen=True)
class Profile:
    """How often each label, confidence and distance has occurred: number of a bin -> pictures."""

    labels: Counter[int] = field(default_factory=Counter)
    confidence: Counter[int] = field(default_factory=Counter)
    distance: Counter[int] = field(default_factory=Counter)

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return self.labels.total()

    def __add__(self, other: Profile) -> Profile:
        return Profile(*(self.of(kind) + other.of(kind) for kind in Kind))

    def of(self, kind: Kind) -> Counter[int]:
        """Return the counts of one kind."""
        counts: Counter[int] = getattr(self, kind)
        return counts

    def to_values(self) -> dict[str, dict[str, int]]:
        """Return the counts as JSON holds them."""
        return {kind: {str(number): count for number, count in self.of(kind).items()} for kind in Kind}

    @classmethod
    def from_values(cls, values: Mapping[str, Mapping[str, int]]) -> Profile:
        """Return what `to_values` has made."""
        return cls(*(Counter({int(number): count for number, count in values[kind].items()}) for kind in Kind))


@dataclass(frozen=True)
class Reference:
    """What a version answers on pictures that it has not learned from and that are like those expected of callers."""

    version_id: str
    profile: Profile
    source: Source
    measured_at: float
    """Unix seconds."""
    dataset: str = ""
    """The name of the dataset, for `Source.DATASET`."""
    bank: str = ""
    """As in Observation, of its distances."""


@dataclass(frozen=True)
class Counted:
    """What was counted of one version on one day; apart for each bank of features."""

    day: str
    """In UTC, such as `2026-11-26`."""
    bank: str
    profile: Profile


@dataclass(frozen=True)
class Shift:
    """How far one kind is from the reference, and whether chance alone may explain that."""

    effect: float | None = None
    """The Jensen-Shannon distance, 0 for equal to 1 for nothing in common, less what chance leads to expect; None if
    `unknown` says why."""
    p_value: float | None = None
    """The probability that chance alone makes the difference as large."""
    unknown: Unknown | None = None

    @property
    def is_drift(self) -> bool:
        """True if the difference is large, and more than chance."""
        if self.effect is None or self.p_value is None:
            return False
        return self.effect >= LEAST_EFFECT and self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """The pictures of a day, or of several, compared with the reference."""

    since: str
    day: str
    """The first and the last of the days."""
    pictures: int
    shifts: Mapping[Kind, Shift]

    @property
    def drifted(self) -> list[Kind]:
        """The kinds that have drifted."""
        return [kind for kind, shift in self.shifts.items() if shift.is_drift]


@dataclass(frozen=True)
class Alarm:
    """A finished day on which one kind has drifted; there is one for each version, day and kind."""

    id: str
    tenant: str
    version_id: str
    name: str
    """The name of the model."""
    version: str
    day: str
    kind: Kind
    effect: float
    p_value: float
    pictures: int
    reference_pictures: int
    webhook: str
    """The URL that is called back; empty if the model has none."""
    webhook_secret: str
    created_at: float


def observe(version: ModelVersion, logits: Sequence[float], distance: float | None, bank: str) -> Observation:
    """Return the observation of one answer. The worker observes a batch in the same way."""
    top = max(range(len(logits)), key=logits.__getitem__)
    if version.problem_type is not ProblemType.MULTI_LABEL:
        return Observation(version.id, top, best_score(logits), distance, bank)
    lowest = lowest_logits(version, with_thresholds=True)
    answered = [number for number, logit in enumerate(logits) if not lowest or logit >= lowest[number]]
    label = max(answered, key=logits.__getitem__, default=len(logits))
    best = logits[label if answered else top]
    confidence = 1.0 / (1.0 + math.exp(-best)) if best > -700 else 0.0
    return Observation(version.id, label, confidence, distance, bank)


def count(observations: Iterable[Observation]) -> dict[tuple[str, str], Profile]:
    """Return (version id, bank) -> the counts of its observations."""
    profiles: dict[tuple[str, str], Profile] = {}
    for seen in observations:
        profile = profiles.setdefault((seen.version_id, seen.bank), Profile())
        profile.labels[seen.label] += 1
        profile.confidence[bisect_right(_CONFIDENCE_EDGES, seen.confidence)] += 1
        if seen.distance is not None:
            profile.distance[min(_LAST_DISTANCE, int(seen.distance / _DISTANCE_STEP))] += 1
    return profiles


def measure_name(version_id: str) -> str:
    """Return the name of the key-value pair that holds the reference that is asked for, or why it was not measured."""
    return f"{MEASURE_PREFIX}{version_id}"


def bank_name(key: str) -> str:
    """Return the name of a bank of features, the checksum in the key of its blob; empty for an empty key."""
    return key.rpartition("/")[2]


def day_of(when: float) -> str:
    """Return the day of a time (Unix seconds) in UTC, as `2026-11-26`."""
    return datetime.fromtimestamp(when, UTC).date().isoformat()


def days_before(day: str, number: int) -> str:
    """Return the day that is so many days before another."""
    return (datetime.fromisoformat(day).date() - timedelta(days=number)).isoformat()


def compare(counted: Sequence[Counted], reference: Reference | None) -> Comparison:
    """Compare what was counted on some days, at least one, with the reference.

    Only distances from the features that the reference was measured with are looked at.
    """
    total = sum((each.profile for each in counted), Profile())
    shifts = {kind: Shift(unknown=Unknown.NO_REFERENCE) for kind in Kind}
    if reference is not None:
        same = (each.profile for each in counted if reference.bank and each.bank == reference.bank)
        served = {kind: total.of(kind) for kind in Kind} | {Kind.DISTANCE: sum(same, Profile()).distance}
        shifts = {kind: shift(served[kind], reference.profile.of(kind), kind) for kind in Kind}
    days = [each.day for each in counted]
    return Comparison(min(days), max(days), total.pictures, shifts)


def recent(counted: Sequence[Counted], today: str) -> list[Counted]:
    """Return what was counted on the last days, oldest first: as few as hold RECENT_PICTURES, of RECENT_DAYS."""
    first = days_before(today, RECENT_DAYS - 1)
    for day in sorted({each.day for each in counted if each.day >= first}, reverse=True):
        first = day
        if sum(each.profile.pictures for each in counted if each.day >= day) >= RECENT_PICTURES:
            break
    return [each for each in counted if each.day >= first]


def shift(served: Counter[int], reference: Counter[int], kind: Kind) -> Shift:
    """Return how far the counts of one kind are from those of the reference."""
    if kind is Kind.DISTANCE and not (served and reference):
        return Shift(unknown=Unknown.NOT_MEASURED)
    if reference.total() < FEWEST_KNOWN:
        return Shift(unknown=Unknown.TOO_FEW_IN_REFERENCE)
    if served.total() < FEWEST:
        return Shift(unknown=Unknown.TOO_FEW)
    left, right = _merged(served, reference, is_ordered=kind is not Kind.LABELS)
    freedom = len(left) - 1
    # Counts of two equal distributions differ as well: 8 ln 2 times the squared distance has about the chi-square
    # distribution, scaled by the numbers of pictures (as Yurdakul 2018 shows for the population stability index).
    by_chance = freedom * (1 / sum(left) + 1 / sum(right)) / (8 * math.log(2))
    effect = math.sqrt(max(0.0, jensen_shannon(left, right) ** 2 - by_chance))
    return Shift(effect, chance.same_distribution(left, right))


def jensen_shannon(left: Sequence[int], right: Sequence[int]) -> float:
    """Return the Jensen-Shannon distance of two lists of counts, to the base 2: 0 for equal shares, 1 for nothing in
    common (Lin 1991, "Divergence Measures Based on the Shannon Entropy"; the distance is the root of the divergence).

    The population stability index was rejected: it is infinite where a bin of one side is empty.
    """
    n, m = sum(left), sum(right)
    divergence = 0.0
    for a, b in zip(left, right, strict=True):
        p, q = a / n, b / m
        middle = (p + q) / 2
        divergence += sum(share * math.log2(share / middle) for share in (p, q) if share) / 2
    return math.sqrt(max(0.0, divergence))


def verdict(recent: Comparison | None) -> Verdict:
    """Return what the last days say of a version, from what has drifted; None for days without pictures."""
    if recent is None:
        return Verdict.TOO_FEW
    unknown = {shift.unknown for kind, shift in recent.shifts.items() if kind is not Kind.DISTANCE}
    if Unknown.NO_REFERENCE in unknown:
        return Verdict.NO_REFERENCE
    drifted = recent.drifted
    for kind, said in VERDICTS.items():
        if kind in drifted:
            return said
    return Verdict.TOO_FEW if None not in unknown else Verdict.ALIKE


def _merged(served: Counter[int], reference: Counter[int], *, is_ordered: bool) -> tuple[list[int], list[int]]:
    """Return the counts of both sides in bins that are large enough for the test, or in two that are not.

    Neighbours are merged where bins have an order, and the rarest labels where they have none. Which are merged depends
    on the sums of both sides only, so that the test stays what it is.
    """
    both = served + reference
    share = min(served.total(), reference.total()) / both.total()
    order = sorted(both) if is_ordered else sorted(both, key=lambda number: (both[number], number))

    def expected(group: Sequence[int]) -> float:
        return share * sum(both[number] for number in group)

    groups: list[list[int]] = [[]]
    for number in order:
        if expected(groups[-1]) >= chance.EXPECTED:
            groups.append([])
        groups[-1].append(number)
    if len(groups) > 1 and expected(groups[-1]) < chance.EXPECTED:
        last = groups.pop()
        groups[-1] += last
    if len(groups) == 1 and len(order) > 1:  # a few pictures, all of them unlike the others, must not vanish
        places = range(1, len(order))
        best = max(places, key=lambda place: min(expected(order[:place]), expected(order[place:])))
        groups = [order[:best], order[best:]]
    left, right = ([sum(side[number] for number in group) for group in groups] for side in (served, reference))
    return left, right
