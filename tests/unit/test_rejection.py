"""Rejection: distances as scikit-learn finds them, rules that keep the wanted precision, and verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save
from sklearn.neighbors import NearestNeighbors

from shared.domain.rejection import Doubt, RejectionRule, Verdict, answer_without_doubt, find_doubt, judge
from shared.errors import BadOption, BadWeights
from worker import rejection
from worker.rejection import FeatureBank, curve, fewest, fit, why_none

RULE = RejectionRule(0.95, 0.6, 1.1, "bank", "unknown")


def cloud(count: int, label: int, width: int = 8) -> torch.Tensor:
    """Return features that are spread around a direction of their label."""
    generator = torch.Generator().manual_seed(1000 * label + count)
    return 3 * torch.eye(width)[label] + torch.randn(count, width, generator=generator)


def two_clouds(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([cloud(count, 0), cloud(count, 1)]), torch.arange(2).repeat_interleave(count)


def unit(rows: torch.Tensor) -> np.ndarray:
    return np.asarray(rows / rows.norm(dim=1, keepdim=True))


def test_a_distance_is_that_to_the_third_nearest_neighbour_of_scikit_learn() -> None:
    features, labels = two_clouds(40)
    asked = torch.randn(30, 8, generator=torch.Generator().manual_seed(5))
    neighbours = NearestNeighbors(n_neighbors=3).fit(unit(features))
    expected = neighbours.kneighbors(unit(asked))[0][:, 2]
    assert FeatureBank.build(features, labels).distances(asked).numpy() == pytest.approx(expected, abs=2e-3)


def test_a_distance_within_leaves_the_picture_itself_out() -> None:
    features, labels = two_clouds(40)
    neighbours = NearestNeighbors(n_neighbors=3).fit(unit(features))
    expected = neighbours.kneighbors()[0][:, 2]  # without arguments: of each row among the others
    assert FeatureBank.build(features, labels).distances_within().numpy() == pytest.approx(expected, abs=2e-3)


def test_a_distance_within_leaves_out_what_looks_like_the_picture() -> None:
    """Each picture is there four times; among its own copies it would be at no distance."""
    features, labels = two_clouds(20)
    groups = torch.arange(40).repeat_interleave(4)
    copies = FeatureBank.build(features.repeat_interleave(4, dim=0), labels.repeat_interleave(4), groups)
    neighbours = NearestNeighbors(n_neighbors=1).fit(unit(features))  # three of four copies are the third nearest
    expected = neighbours.kneighbors()[0][:, 0].repeat(4)
    assert copies.distances_within().numpy() == pytest.approx(expected, abs=2e-3)
    alone = FeatureBank.build(features, labels, torch.zeros(40, dtype=torch.int64))
    assert alone.distances_within().tolist() == [2.0] * 40


def test_a_bounded_bank_knows_the_groups_of_the_features_that_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = two_clouds(20)
    doubled = features.repeat_interleave(2, dim=0), labels.repeat_interleave(2), torch.arange(40).repeat_interleave(2)
    monkeypatch.setattr(rejection, "MOST_ROWS", 30)
    assert float(FeatureBank.build(*doubled).distances_within().min()) > 0.1


def test_a_distance_does_not_depend_on_the_length_of_features() -> None:
    bank = FeatureBank.build(*two_clouds(20))
    asked = cloud(6, 2)
    assert bank.distances(7 * asked).numpy() == pytest.approx(bank.distances(asked).numpy(), abs=1e-5)


def test_a_bank_that_was_stored_tells_the_same_distances() -> None:
    bank = FeatureBank.build(*two_clouds(20))
    asked = cloud(6, 2)
    again = FeatureBank.from_bytes(bank.to_bytes())
    assert torch.equal(again.distances(asked), bank.distances(asked))
    assert (len(again), again.width) == (40, 8)


def test_a_damaged_bank_is_refused() -> None:
    for data in (b"", b"nonsense", FeatureBank.build(*two_clouds(9)).to_bytes()[:-5], save({"other": torch.ones(2)})):
        with pytest.raises(BadWeights, match="damaged"):
            FeatureBank.from_bytes(data)


def test_a_bank_is_bounded_and_has_as_many_features_of_each_label_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "MOST_ROWS", 60)
    features = torch.cat([cloud(5, 0), cloud(400, 1), cloud(900, 2)])
    labels = torch.cat([torch.full((5,), 0), torch.full((400,), 1), torch.full((900,), 2)])
    bank = FeatureBank.build(features, labels)
    kept = NearestNeighbors(n_neighbors=1).fit(unit(features)).kneighbors(bank._rows.numpy())[1][:, 0]
    assert torch.bincount(labels[kept]).tolist() == [5, 27, 28]
    assert len(set(kept.tolist())) == 60


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_bank_of_very_few_pictures_tells_distances(count: int) -> None:
    bank = FeatureBank.build(cloud(count, 0), torch.zeros(count, dtype=torch.int64))
    assert bank.distances(cloud(4, 1)).shape == (4,)
    assert bank.distances_within().shape == (count,)


def test_more_labels_than_a_bank_has_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "MOST_ROWS", 3)
    assert len(FeatureBank.build(cloud(10, 0), torch.arange(10))) == 3


def best_threshold(scores: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """Return the lowest score that keeps the precision, by trying each of them."""

    def keeps(threshold: float) -> bool:
        kept, wrong = int((scores >= threshold).sum()), int((~right[scores >= threshold]).sum())
        return (wrong + 1 + math.sqrt(wrong) / 2) / (kept + 1) <= 1 - precision + 1e-9

    allowed = [threshold for threshold in scores if keeps(threshold)]
    if not allowed:
        return None
    lower = scores[scores < min(allowed)]
    return float(min(allowed) + max(lower)) / 2 if len(lower) else 0.0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95])
def test_the_lowest_score_is_the_one_that_a_search_over_all_finds(seed: int, precision: float) -> None:
    random = np.random.default_rng(seed)
    scores = random.uniform(0.2, 1, 80).round(2)  # rounded, so that some are equal
    right = random.uniform(size=80) < scores**0.3
    rule = fit(torch.tensor(scores), torch.tensor(right), None, precision)
    expected = best_threshold(scores, right, precision)
    assert (rule.min_score if rule else None) == (pytest.approx(expected) if expected is not None else None)


def test_new_answers_that_a_rule_believes_keep_the_wanted_precision_on_average() -> None:
    random = np.random.default_rng(3)

    def answers(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        scores = random.uniform(0.3, 1, count)
        return torch.tensor(scores), torch.tensor(random.uniform(size=count) < scores)

    kept, right = 0, 0
    for _ in range(200):
        rule = fit(*answers(160), None, 0.9)
        if rule:
            scores, correct = answers(200)
            believed = scores >= rule.min_score
            kept, right = kept + int(believed.sum()), right + int((correct & believed).sum())
    assert kept > 4000
    assert 0.89 <= right / kept <= 0.93


def test_few_pictures_make_no_rule_and_the_reason_says_how_many_are_needed() -> None:
    right = torch.ones(18, dtype=torch.bool)
    assert fewest(0.95) == 19
    assert fit(torch.rand(18), right, None, 0.95) is None
    assert "18 labelled pictures" in why_none(18, 0.95)
    assert "at least 19" in why_none(18, 0.95)
    assert fit(torch.rand(19), torch.ones(19, dtype=torch.bool), None, 0.95) is not None
    for precision in (0.5, 0.8, 0.9, 0.99, 0.999):
        needed = fewest(precision)
        assert fit(torch.rand(needed), torch.ones(needed, dtype=torch.bool), None, precision) is not None
        assert fit(torch.rand(needed - 1), torch.ones(needed - 1, dtype=torch.bool), None, precision) is None


def test_answers_that_are_wrong_with_the_highest_scores_make_no_rule() -> None:
    scores = torch.linspace(0, 1, 100)
    assert fit(scores, scores < 0.5, None, 0.95) is None
    assert "No score separates" in why_none(100, 0.95)


def test_no_pictures_make_no_rule() -> None:
    nothing = torch.zeros(0)
    assert fit(nothing, nothing.bool(), nothing, 0.9) is None


@pytest.mark.parametrize("precision", [0.0, 0.4, 1.0, 1.5, math.nan])
def test_a_precision_out_of_range_is_refused(precision: float) -> None:
    with pytest.raises(BadOption, match="precision"):
        fit(torch.rand(100), torch.ones(100, dtype=torch.bool), None, precision)


def test_the_largest_distance_lets_96_of_100_known_pictures_pass() -> None:
    distances = torch.linspace(0.01, 1, 100)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    rule = fit(torch.rand(100), torch.ones(100, dtype=torch.bool), distances, 0.9)
    assert rule
    assert rule.max_distance is not None
    assert 95 <= int((distances <= rule.max_distance).sum()) <= 97


def test_the_lowest_score_is_chosen_among_pictures_that_are_near_enough() -> None:
    """Wrong answers to pictures that are rejected for their distance cost no right answers their belief."""
    scores = torch.cat([torch.full((97,), 0.7), torch.full((3,), 0.99)])
    right = torch.arange(100) < 97
    distances = torch.where(right, 0.5, 1.5)
    assert fit(scores, right, distances, 0.98) == RejectionRule(0.98, 0.0, 0.5)
    assert fit(scores, right, None, 0.98) is None


def test_a_curve_tells_coverage_and_accuracy_of_each_score() -> None:
    random = np.random.default_rng(0)
    scores, right = random.uniform(size=200), random.uniform(size=200) < 0.8
    distances = random.uniform(size=200)
    rule = RejectionRule(0.9, 0.5, 0.9, "bank")
    points = curve(torch.tensor(scores), torch.tensor(right), torch.tensor(distances), rule)
    assert 2 <= len(points) <= 50
    for point in points:
        believed = (scores >= point["min_score"]) & (distances <= 0.9)
        assert point["coverage"] == pytest.approx(believed.mean())
        assert point["accuracy"] == pytest.approx(right[believed].mean())
    assert [point["coverage"] for point in points] == sorted(point["coverage"] for point in points)
    assert points[-1]["coverage"] == pytest.approx((distances <= 0.9).mean())


def test_a_curve_without_near_pictures_is_empty() -> None:
    rule = RejectionRule(0.9, 0.5, 0.1, "bank")
    assert curve(torch.rand(5), torch.ones(5, dtype=torch.bool), torch.ones(5), rule) == []


@pytest.mark.parametrize(
    ("score", "distance", "doubt"),
    [
        (0.6, 1.1, ""),
        (0.59, 1.1, Doubt.LOW_SCORE),
        (0.99, 1.11, Doubt.UNLIKE_TRAINING),
        (0.1, 1.11, Doubt.UNLIKE_TRAINING),
        (0.7, None, ""),
        (0.7, math.nan, Doubt.UNLIKE_TRAINING),
    ],
)
def test_a_rule_doubts_low_scores_and_far_pictures(score: float, distance: float | None, doubt: str) -> None:
    assert find_doubt(RULE, score, distance) == doubt
    assert judge(RULE, score, distance).doubt == doubt


def test_a_rule_without_a_distance_does_not_look_at_it() -> None:
    assert find_doubt(RejectionRule(0.95, 0.6, None), 0.7, 5.0) == ""


def test_wires_without_a_word_for_doubt_answer_the_label_of_choice() -> None:
    result = [("cat", 0.5), ("dog", 0.3)]
    assert answer_without_doubt(result, judge(RULE, 0.5, 0.2)) == [("unknown", 0.5)]
    assert answer_without_doubt(result, judge(RULE, 0.5, 2.0)) == [("unknown", 1.0)]
    assert answer_without_doubt(result, judge(RULE, 0.7, 0.2)) == result
    assert answer_without_doubt(result, Verdict(Doubt.LOW_SCORE)) == result
    assert answer_without_doubt(result, None) == result
