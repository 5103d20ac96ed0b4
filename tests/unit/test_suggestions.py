"""What makes a picture worth labelling, and the choice of pictures that differ, recomputed by other means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.models import ModelState, ModelVersion, ProblemType
from shared.domain.seen_pictures import SeenPicture, Why, measure_uncertainty, without_copies
from shared.similarity import Rows, choose_different, unit

SINGLE = ModelVersion("v", "anna", "m", "1", "", "", ModelState.READY, 0.0, labels=("a", "b", "c"))
MULTI = replace(SINGLE, problem_type=ProblemType.MULTI_LABEL)


def seen(name: str, uncertainty: float = 0.5, mark: int | None = None, *, is_unlike: bool = False) -> SeenPicture:
    return SeenPicture(name, "c", name, "v", "j", name, "a", 0.5, uncertainty, is_unlike, 1, 0.0, mark)


# uncertainty


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=9))
def test_a_single_label_answer_is_as_uncertain_as_its_margin_is_small(logits: list[float]) -> None:
    powers = np.exp(np.array(logits, dtype=np.longdouble))
    best, second = np.sort(powers / powers.sum())[::-1][:2]
    assert measure_uncertainty(SINGLE, logits) == pytest.approx(float(1 - (best - second)), abs=1e-9)


@pytest.mark.parametrize("logits", [[0.0], [1000.0, -1000.0, 3.0]])
def test_an_answer_without_a_rival_is_certain(logits: list[float]) -> None:
    assert measure_uncertainty(SINGLE, logits) == 0.0


def test_a_multi_label_answer_is_as_uncertain_as_its_score_nearest_to_a_threshold() -> None:
    def logit(score: float) -> float:
        return math.log(score / (1 - score))

    assert measure_uncertainty(MULTI, [0.0, 9.0, -9.0]) == 1.0  # a score of 0.5, and no thresholds
    assert measure_uncertainty(MULTI, [-900.0, 900.0, 900.0]) == 0.0
    strict = replace(MULTI, thresholds=(0.9, 0.2, 0.5))
    assert measure_uncertainty(strict, [logit(0.9), 50.0, 50.0]) == pytest.approx(1.0)
    assert measure_uncertainty(strict, [50.0, logit(0.1), 50.0]) == pytest.approx(0.5)  # half way from 0 to 0.2
    assert measure_uncertainty(strict, [50.0, logit(0.6), 50.0]) == pytest.approx(0.5)  # half way from 0.2 to 1
    assert measure_uncertainty(replace(MULTI, thresholds=(0.2,)), [50.0, logit(0.6), 50.0]) == pytest.approx(0.5)


def test_a_picture_unlike_the_training_is_worth_most_and_says_so_first() -> None:
    assert (seen("a", 0.3).worth, seen("a", 0.3).why) == (0.3, (Why.UNCERTAIN,))
    assert (seen("a", 0.3, is_unlike=True).worth, seen("a", 0.3, is_unlike=True).why) == (
        1.0, (Why.UNLIKE_TRAINING, Why.UNCERTAIN),
    )  # fmt: skip
    assert seen("a", 0.01, is_unlike=True).why == (Why.UNLIKE_TRAINING,)


# copies


def test_a_known_picture_and_its_copies_are_left_out_and_of_other_copies_the_first_stays() -> None:
    dataset, dismissed, other, lonely = 0x0123_4567_89AB_CDEF, 0x7000_F0F0_3333_5555, 0x1111_2222_4444_7777, 0x0F0F
    candidates = [
        seen("in the dataset", mark=None),
        seen("a copy of one in the dataset", mark=dataset ^ 0b101),
        seen("first", mark=other),
        seen("a copy of the first", mark=other ^ 1),
        seen("a copy of a dismissed one", mark=dismissed),
        seen("cannot be compared", mark=None),
        seen("lonely", mark=lonely),
    ]
    left = without_copies(candidates, {"in the dataset"}, [dataset, None, dismissed ^ (1 << 40)])
    assert [picture.id for picture in left] == ["first", "cannot be compared", "lonely"]


# the choice


def clusters(seed: int, count: int) -> tuple[list[float], Rows, list[int]]:
    """Return (worth, rows, cluster of each) of pictures in far clusters, each much narrower than their distance."""
    made = np.random.default_rng(seed)
    of = [int(each) for each in made.integers(0, count, 8 * count)] + list(range(count))
    rows = unit(np.eye(count + 3)[of] + made.normal(0, 0.02, (len(of), count + 3)))
    return [float(each) for each in made.uniform(0.4, 1.0, len(of))], rows.astype(np.float32), of


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 5, 12])
def test_no_two_are_of_one_cluster_while_another_is_not_represented(seed: int, count: int) -> None:
    worth, rows, of = clusters(seed, count)
    within = max(math.dist(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if of[i] == of[j])
    between = min(math.dist(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if of[i] != of[j])
    assert max(worth) * within < min(worth) * between  # else a pair of one cluster may rightly come first

    chosen = choose_different(worth, rows, len(rows))

    assert sorted(of[each] for each in chosen[:count]) == list(range(count))
    assert len(set(chosen)) == len(chosen) == len(rows)


def by_definition(worth: Sequence[float], rows: Rows, most: int) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < most:
        gains = {
            number: worth[number] * min((math.dist(rows[number], rows[other]) for other in chosen), default=1.0)
            for number in range(len(rows)) if number not in chosen
        }  # fmt: skip
        chosen.append(max(gains, key=lambda number: gains[number]))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_each_has_the_largest_product_of_worth_and_distance_to_those_before(seed: int) -> None:
    made = np.random.default_rng(seed)
    rows = unit(made.normal(size=(40, 6)))
    worth = [float(each) for each in made.uniform(0.1, 1.0, 40)]
    chosen = choose_different(worth, rows, 15)
    assert chosen == by_definition(worth, rows, 15)
    assert chosen == choose_different(worth, rows, 15)
    assert chosen[:4] == choose_different(worth, rows, 4)


@pytest.mark.parametrize("seed", range(5))
def test_of_equal_worth_no_row_is_farther_than_twice_the_least_that_any_choice_allows(seed: int) -> None:
    rows = unit(np.random.default_rng(seed).normal(size=(10, 3)))
    distances = [[math.dist(a, b) for b in rows] for a in rows]

    def radius(centres: Sequence[int]) -> float:
        return max(min(row[centre] for centre in centres) for row in distances)

    best = min(radius(centres) for centres in itertools.combinations(range(10), 3))
    assert radius(choose_different([1.0] * 10, rows, 3)) <= 2 * best + 1e-9


def test_equal_rows_are_chosen_once_the_one_that_is_worth_most() -> None:
    rows = unit(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=np.float16).astype(np.float32))
    assert choose_different([0.5, 0.9, 0.3, 0.3], rows, 4) == [1, 2]
    assert choose_different([], rows[:0], 4) == []
    assert choose_different([0.5, 0.9], rows[:2], 0) == []
