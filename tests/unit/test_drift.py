"""Drift: sizes and probabilities against SciPy's, few pictures, equal distributions, and what is said of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom, chi2_contingency, fisher_exact

from shared.domain import chance, drift
from shared.domain.drift import Comparison, Counted, Kind, Profile, Reference, Shift, Source, Unknown, Verdict
from shared.domain.jobs import Outcome
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion, ProblemType
from shared.domain.observations import Observation
from shared.domain.rejection import RejectionRule
from worker.drift_reference import of_training
from worker.judging import Judge
from worker.observing import observations, observed
from worker.rejection import FeatureBank
from worker.training.outcome import Unseen
from worker.training.rejection_rule import Chosen

VERSION = ModelVersion("v", "anna", "fruit", "1", "timm", "resnet18", ModelState.READY, 0.0, labels=("a", "b", "c"))
TODAY = "2026-11-26"


def counts(values: Iterable[int]) -> Counter[int]:
    return Counter({number: int(value) for number, value in enumerate(values) if value})


def seen(count: int, label: int = 0, confidence: float = 0.9, distance: float | None = None) -> list[Observation]:
    return [Observation("v", label, confidence, distance, "" if distance is None else "bank")] * count


def profile(*groups: list[Observation]) -> Profile:
    return sum(drift.count(each for group in groups for each in group).values(), Profile())


def reference(counted: Profile, bank: str = "bank") -> Reference:
    return Reference("v", counted, Source.TEST, 0.0, bank=bank)


def day(counted: Profile, bank: str = "bank", name: str = TODAY) -> Counted:
    return Counted(name, bank, counted)


# the numbers


@pytest.mark.parametrize(
    ("left", "right"),
    [([10, 20, 30], [12, 18, 33]), ([50, 7], [20, 40]), ([5] * 40, [9] * 20 + [1] * 20), ([900, 100], [90, 10])],
)
def test_distance_and_probability_are_those_of_scipy(left: list[int], right: list[int]) -> None:
    assert drift.jensen_shannon(left, right) == pytest.approx(jensenshannon(left, right, base=2), abs=1e-9)
    expected = chi2_contingency([left, right], correction=False).pvalue
    assert chance.same_distribution(left, right) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_nothing_in_common_is_a_distance_of_one() -> None:
    assert drift.jensen_shannon([7, 0], [0, 9]) == pytest.approx(1.0)
    assert chance.same_distribution([100_000, 0], [0, 100_000]) == 0.0
    assert chance.same_distribution([5], [9]) == 1.0


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("bins", "pictures", "known"), [(3, 40, 60), (12, 60, 15), (40, 1000, 200)])
def test_equal_distributions_are_taken_for_drift_no_more_often_than_stated(
    kind: Kind, bins: int, pictures: int, known: int
) -> None:
    """In 1,000 draws; no more than the level allows, itself up to chance."""
    generator = np.random.default_rng(bins)
    shares = generator.dirichlet(np.full(bins, 2.0))
    draws = [
        drift.shift(counts(generator.multinomial(pictures, shares)), counts(generator.multinomial(known, shares)), kind)
        for _ in range(1000)
    ]
    for level in (0.05, drift.SIGNIFICANCE):
        below = sum((draw.p_value or 0.0) < level for draw in draws)
        assert below <= binom.ppf(0.9999, 1000, level), level
    assert sum(draw.is_drift for draw in draws) <= binom.ppf(0.9999, 1000, drift.SIGNIFICANCE)
    assert float(np.mean([draw.effect for draw in draws])) < 0.1, "what chance leads to expect is taken off"


@pytest.mark.parametrize("kind", Kind)
def test_a_real_change_is_seen_with_its_size(kind: Kind) -> None:
    before, after = counts([300, 300, 0]), counts([90, 270, 240])
    found = drift.shift(after, before, kind)
    plain = jensenshannon([90, 270, 240], [300, 300, 0], base=2)
    assert found.is_drift
    assert found.effect == pytest.approx(math.sqrt(plain**2 - 2 * (2 / 600) / (8 * math.log(2))), rel=1e-9)


def test_a_difference_that_is_more_than_chance_and_small_is_no_drift() -> None:
    found = drift.shift(counts([51_500, 48_500]), counts([50_000, 50_000]), Kind.LABELS)
    assert (found.p_value or 0.0) < drift.SIGNIFICANCE
    assert not found.is_drift


def test_twenty_pictures_raise_no_alarm_however_different_they_are() -> None:
    many = counts([0, 500])
    assert drift.shift(counts([20]), many, Kind.LABELS) == Shift(unknown=Unknown.TOO_FEW)
    assert drift.shift(many, counts([14]), Kind.LABELS) == Shift(unknown=Unknown.TOO_FEW_IN_REFERENCE)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("served", "known"), [([30, 0], [0, 500]), ([0, 30], [500, 0]), ([1000, 0], [0, 15]), ([30, 0, 0], [0, 250, 250])]
)
def test_a_few_pictures_that_are_all_unlike_the_reference_are_seen(
    kind: Kind, served: list[int], known: list[int]
) -> None:
    assert drift.shift(counts(served), counts(known), kind).is_drift


@pytest.mark.parametrize(("left", "right"), [([3, 27], [0, 500]), ([30, 0], [1, 499]), ([0, 900], [2, 13])])
def test_two_bins_that_expect_few_are_compared_as_scipys_exact_test_does(left: list[int], right: list[int]) -> None:
    expected = fisher_exact([left, right]).pvalue
    assert chance.same_distribution(left, right) == pytest.approx(expected, rel=1e-6)


def test_rare_labels_are_compared_together() -> None:
    """A hundred labels with one picture each say nothing of one label, but that they are not the usual ones."""
    usual = counts([50, 50, *[0] * 100])
    assert drift.shift(counts([0, 0, *[1] * 100]), usual, Kind.LABELS).is_drift
    assert drift.shift(usual, usual, Kind.LABELS).p_value == 1.0


# what is counted


def test_an_answer_is_counted_once_of_each_kind() -> None:
    counted = profile(seen(2, 1, 0.97, 0.31), seen(1, 0, 1.0, 2.0))
    assert (counted.pictures, counted.labels) == (3, Counter({1: 2, 0: 1}))
    assert counted.confidence.total() == counted.distance.total() == 3
    assert set(counted.distance) == {6, 39}
    assert Profile.from_values(counted.to_values()) == counted


@pytest.mark.parametrize("problem_type", ProblemType)
@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.2, 0.9, 0.5)])
def test_a_batch_is_observed_as_one_answer_is(problem_type: ProblemType, thresholds: tuple[float, ...]) -> None:
    version = replace(VERSION, problem_type=problem_type, thresholds=thresholds)
    rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).abs() * torch.tensor([3.0, 3.0, -3.0, 0.1])
    rows[:8, :3] -= 5
    for one, row in zip(observations(version, rows, "bank"), rows.tolist(), strict=True):
        expected = drift.observe(version, row[:3], row[3], "bank")
        assert one._replace(confidence=0.0) == expected._replace(confidence=0.0)
        assert one.confidence == pytest.approx(expected.confidence, rel=1e-12)


def test_an_answer_without_a_label_counts_as_a_label_of_its_own() -> None:
    version = replace(VERSION, problem_type=ProblemType.MULTI_LABEL, thresholds=(0.5,))
    assert drift.observe(version, [-1.0, -2.0, -3.0], None, "").label == len(VERSION.labels)


def test_the_best_label_that_reaches_its_threshold_is_counted_and_not_a_better_one_that_does_not() -> None:
    version = replace(VERSION, problem_type=ProblemType.MULTI_LABEL, thresholds=(0.95, 0.3, 0.2))
    rows = torch.tensor([[2.0, 0.0, -1.0], [2.0, -3.0, -1.0], [2.0, -3.0, -4.0]])
    expected = [(1, 0.5), (2, 1 / (1 + math.e)), (len(VERSION.labels), 1 / (1 + math.exp(-2)))]
    alone = [drift.observe(version, row, None, "") for row in rows.tolist()]
    for found in (alone, observations(version, rows)):
        assert [each.label for each in found] == [label for label, _ in expected]
        assert [each.confidence for each in found] == pytest.approx([confidence for _, confidence in expected])


def test_models_that_tenants_share_are_not_observed() -> None:
    outcomes, rows = [Outcome("job", 0)], torch.zeros(1, 3)
    seen_of_own = observed(VERSION, outcomes, rows, None)[0].observation
    assert seen_of_own
    assert (seen_of_own.version_id, round(seen_of_own.confidence, 3)) == ("v", 0.333)
    assert observed(replace(VERSION, tenant=ALL_TENANTS), outcomes, rows, None) == outcomes


def test_distances_are_named_by_the_features_that_they_are_from() -> None:
    bank = FeatureBank(torch.eye(4))
    judge = Judge(RejectionRule(0.9, 0.5, 1.0, "rejection/v/0123"), bank)
    rows = judge.measured(torch.cat([torch.zeros(1, 3), torch.eye(4)[:1]], dim=1))
    (outcome,) = observed(VERSION, [Outcome("job", 0)], rows, judge)
    assert outcome.observation
    assert outcome.observation.bank == "0123"
    assert outcome.observation.distance == pytest.approx(2**0.5)


def test_a_picture_of_the_bank_is_compared_with_the_others() -> None:
    rows = torch.nn.functional.normalize(torch.randn(50, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    bank = FeatureBank.from_bytes(FeatureBank.build(rows, torch.zeros(50, dtype=torch.int64)).to_bytes())
    new = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    found = bank.distances_from_others(torch.cat([rows, new]))
    torch.testing.assert_close(found[:50], bank.distances_within(), atol=2e-3, rtol=0)
    torch.testing.assert_close(found[50:], bank.distances(new))


def test_a_picture_of_the_bank_is_compared_with_those_that_look_unlike_it() -> None:
    rows = torch.nn.functional.normalize(torch.randn(20, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    rows = torch.cat([rows, rows + 0.001])  # each has a copy
    groups = torch.arange(20).repeat(2)
    built = FeatureBank.build(rows, torch.zeros(40, dtype=torch.int64), groups)
    stored = FeatureBank.from_bytes(built.to_bytes())
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    found = stored.distances_from_others(rows[shuffled], groups[shuffled])
    torch.testing.assert_close(found, built.distances_within()[shuffled], atol=2e-3, rtol=0)
    assert float(found.min()) > 0.1


# the reference of a training


def test_the_reference_is_from_the_test_pictures_or_from_more_unseen_ones() -> None:
    tested = torch.eye(3).repeat(20, 1) * 9
    unseen = Unseen((), torch.eye(3)[:1].repeat(70, 1) * 9, torch.zeros(70))
    rule = RejectionRule(0.9, 0.5, 1.0, "rejection/v/0123")
    chosen = Chosen(rule, FeatureBank(torch.eye(4)), torch.full((70,), 0.52))

    many = of_training(VERSION, tested, torch.full((60,), 0.12), unseen, chosen, 7.0)
    few = of_training(VERSION, tested[:9], torch.full((9,), 0.12), unseen, chosen, 7.0)
    without = of_training(VERSION, tested, None, unseen, "There is no rule.", 7.0)

    assert (many.source, many.bank, many.profile.labels) == (Source.TEST, "0123", Counter({0: 20, 1: 20, 2: 20}))
    assert many.profile.distance == Counter({2: 60})
    assert (few.source, few.profile.labels, few.profile.distance) == (
        Source.UNSEEN,
        Counter({0: 70}),
        Counter({10: 70}),
    )
    assert (
        few.profile.confidence
        == profile(seen(70, confidence=float(torch.tensor([9.0, 0, 0]).softmax(0)[0]))).confidence
    )
    assert (without.bank, without.profile.distance) == ("", Counter())


# what is said


def test_a_season_is_told_apart_from_unlike_pictures() -> None:
    known = reference(profile(seen(100, 0, 0.9, 0.3), seen(100, 1, 0.9, 0.3)))
    season = drift.compare([day(profile(seen(200, 1, 0.9, 0.3)))], known)
    unlike = drift.compare([day(profile(seen(100, 0, 0.4, 1.2), seen(100, 1, 0.4, 1.2)))], known)
    unsure = drift.compare([day(profile(seen(100, 0, 0.4, 0.3), seen(100, 1, 0.4, 0.3)))], known)
    same = drift.compare([day(known.profile)], known)
    assert [each.drifted for each in (season, unlike, unsure, same)] == [
        [Kind.LABELS], [Kind.CONFIDENCE, Kind.DISTANCE], [Kind.CONFIDENCE], [],
    ]  # fmt: skip
    assert [drift.verdict(each) for each in (season, unlike, unsure, same)] == [
        Verdict.OTHER_LABELS, Verdict.UNLIKE_PICTURES, Verdict.OTHER_CONFIDENCE, Verdict.ALIKE,
    ]  # fmt: skip


def test_distances_from_other_features_are_not_compared_and_the_rest_is() -> None:
    known = reference(profile(seen(60, 0, 0.9, 0.3)))
    days = [day(profile(seen(40, 1, 0.9, 0.3))), day(profile(seen(40, 1, 0.9, 1.3)), "another")]
    found = drift.compare(days, known)
    assert found.pictures == 80
    assert (found.drifted, found.shifts[Kind.DISTANCE].effect) == ([Kind.LABELS], 0.0)
    found = drift.compare(days, reference(profile(seen(60)), bank=""))
    assert found.shifts[Kind.DISTANCE] == Shift(unknown=Unknown.NOT_MEASURED)


def test_nothing_is_said_without_a_reference_or_of_few_pictures() -> None:
    none = drift.compare([day(profile(seen(100)))], None)
    assert {shift.unknown for shift in none.shifts.values()} == {Unknown.NO_REFERENCE}
    assert drift.verdict(none) is Verdict.NO_REFERENCE
    few = drift.compare([day(profile(seen(5))), day(profile(seen(6)), name="2026-11-25")], reference(profile(seen(60))))
    assert (few.day, few.pictures, drift.verdict(few)) == (TODAY, 11, Verdict.TOO_FEW)
    assert drift.verdict(None) is Verdict.TOO_FEW
    assert drift.verdict(Comparison(TODAY, TODAY, 0, dict.fromkeys(Kind, Shift(0.9, 0.0)))) is Verdict.UNLIKE_PICTURES


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if "Look at" in drift.ADVICE[verdict]])
def test_who_is_to_look_at_pictures_is_told_how(verdict: Verdict) -> None:
    assert "inferq models suggest NAME" in drift.ADVICE[verdict]


def test_the_last_days_are_as_few_as_hold_a_hundred_pictures() -> None:
    def since(*pictures: int) -> tuple[str, int]:
        """Return the first of the last days, and their pictures, by the pictures of each day up to TODAY."""
        days = [
            day(profile(seen(count)), name=drift.days_before(TODAY, len(pictures) - 1 - number))
            for number, count in enumerate(pictures)
            if count
        ]
        found = drift.compare(drift.recent(days, TODAY), None)
        return found.since, found.pictures

    assert since(500, 500, 100) == (TODAY, 100)
    assert since(500, 500, 99) == ("2026-11-25", 599)
    assert since(500, *[9] * 7) == ("2026-11-20", 63)
    assert since(40, 0, 0, 0) == ("2026-11-23", 40)
    assert drift.recent([day(profile(seen(500)), name="2026-11-19")], TODAY) == []


def test_days_are_those_of_utc() -> None:
    assert [drift.day_of(when) for when in (0.0, 86_399.9, 86_400.0)] == ["1970-01-01", "1970-01-01", "1970-01-02"]
    assert drift.days_before("2026-03-01", 1) == "2026-02-28"
