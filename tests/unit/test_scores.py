"""The rule of scores: which function a version and its caller choose, and which labels belong to the answer."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from shared.domain.jobs import AnswerOptions
from shared.domain.models import ModelState, ModelVersion, ProblemType
from shared.domain.scores import Scoring, choose_scoring, lowest_logits
from shared.services import result_cache
from worker.engine import top_k

SINGLE, MULTI = ProblemType.SINGLE_LABEL, ProblemType.MULTI_LABEL


def version(
    problem_type: ProblemType = MULTI, thresholds: tuple[float, ...] = (), labels: str = "abcd"
) -> ModelVersion:
    return ModelVersion("v", "anna", "fruits", "1", "", "resnet18", ModelState.READY, 0.0, labels=tuple(labels),
                        problem_type=problem_type, thresholds=thresholds)  # fmt: skip


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def both(logits: list[float], of: ModelVersion, k: int, **options: Any) -> list[tuple[str, float]]:
    """Return the answer of the worker, after checking that the result cache gives the same."""
    scoring = choose_scoring(of, AnswerOptions(top_k=k, **options))
    lowest = lowest_logits(of, with_thresholds=scoring.with_thresholds)
    (ran,) = top_k(torch.tensor([logits]), of.labels, k, scoring.function_to_apply, lowest)
    stored = torch.tensor(logits).tolist()  # in single precision, as the cache keeps them
    recalled = result_cache.ranked(stored, of.labels, k, scoring.function_to_apply, lowest)
    assert [label for label, _ in recalled] == [label for label, _ in ran]
    assert [score for _, score in recalled] == pytest.approx([score for _, score in ran], rel=1e-12)
    return ran


@pytest.mark.parametrize(
    ("problem_type", "asked", "expected"),
    [
        (SINGLE, "", Scoring("softmax", with_thresholds=False)),
        (MULTI, "", Scoring("sigmoid", with_thresholds=True)),
        (SINGLE, "sigmoid", Scoring("sigmoid", with_thresholds=False)),
        (MULTI, "sigmoid", Scoring("sigmoid", with_thresholds=False)),
        (MULTI, "softmax", Scoring("softmax", with_thresholds=False)),
        (MULTI, "none", Scoring("none", with_thresholds=False)),
    ],
)
def test_a_version_has_its_own_function_and_a_function_that_is_asked_for_has_no_thresholds(
    problem_type: ProblemType, asked: str, expected: Scoring
) -> None:
    assert choose_scoring(version(problem_type, (0.5,)), AnswerOptions(function_to_apply=asked)) == expected


def test_without_thresholds_any_logit_will_do() -> None:
    assert lowest_logits(version(), with_thresholds=True) == ()
    assert lowest_logits(version(thresholds=(0.5,)), with_thresholds=False) == ()


def test_one_threshold_is_for_all_labels_and_several_are_for_each_its_own() -> None:
    assert lowest_logits(version(thresholds=(0.5,)), with_thresholds=True) == (0.0,) * 4
    several = lowest_logits(version(thresholds=(0.5, 0.25, 0.0, 0.9)), with_thresholds=True)
    assert several == pytest.approx((0.0, -math.log(3), -math.inf, math.log(9)))


@pytest.mark.parametrize("threshold", [1e-300, 0.001, 0.3, 0.5, 0.7, 0.999, 1 - 1e-16])
def test_the_score_of_the_lowest_logit_is_the_threshold(threshold: float) -> None:
    (lowest,) = lowest_logits(version(thresholds=(threshold,), labels="a"), with_thresholds=True)
    assert sigmoid(lowest) == pytest.approx(threshold, rel=1e-12)


@pytest.mark.parametrize("threshold", [1.0, 1 - 1e-16])
def test_a_score_that_is_rounded_to_1_reaches_a_threshold_of_1(threshold: float) -> None:
    of = version(thresholds=(threshold,), labels="ab")
    assert both([50.0, 30.0], of, 5) == [("a", 1.0)]


def test_the_answer_is_what_reaches_its_threshold_and_of_that_the_best() -> None:
    of = version(thresholds=(0.9, 0.5, 0.5, 0.5))
    logits = [2.0, 0.0, 3.0, -0.001]
    assert [label for label, _ in both(logits, of, 5)] == ["c", "b"]
    assert [label for label, _ in both(logits, of, 1)] == ["c"]
    assert both(logits, of, 5) == [("c", pytest.approx(sigmoid(3.0))), ("b", 0.5)]


def test_the_answer_may_be_empty() -> None:
    assert both([-1.0, -2.0, -3.0, -4.0], version(thresholds=(0.5,)), 5) == []


def test_a_batch_may_hold_answers_of_different_lengths() -> None:
    rows = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [1.0, 2.0]])
    answers = top_k(rows, "ab", 5, "sigmoid", (0.0, 0.0))
    assert [[label for label, _ in answer] for answer in answers] == [["a"], [], ["b", "a"]]


def test_without_a_threshold_a_model_with_one_output_always_says_its_score() -> None:
    answer = both([0.012], version(labels="x"), 5)
    assert dict(answer) == pytest.approx({"x": 0.503}, abs=1e-6)


@pytest.mark.parametrize("asked", ["", "sigmoid", "softmax", "none"])
@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_the_worker_and_the_result_cache_answer_alike(problem_type: ProblemType, asked: str) -> None:
    chance = random.Random(7)
    labels = "abcdefghijklmnopqrst"
    for _ in range(200):
        logits = [chance.choice([0.0, 1.5, -1.5, chance.gauss(0, 4)]) for _ in labels]
        number = chance.choice([0, 1, len(labels)])
        thresholds = [chance.choice([0.0, 0.5, 1.0, sigmoid(chance.choice(logits)), chance.random()]) for _ in labels]
        of = version(problem_type, tuple(thresholds[:number]), labels)
        answer = both(logits, of, chance.choice([1, 3, 20, 50]), function_to_apply=asked)
        assert [score for _, score in answer] == sorted((score for _, score in answer), reverse=True)
