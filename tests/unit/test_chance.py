"""What a number of pictures can show, against SciPy's figures."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, t

from shared.domain import chance


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (3, 3), (7, 10), (72, 100), (999, 1000)])
def test_the_interval_of_an_accuracy_is_that_of_scipy(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert chance.accuracy_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_picture_says_nothing() -> None:
    assert chance.accuracy_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 0), (0, 5), (9, 1), (30, 20), (700, 600), (1500, 1400)])
def test_the_sign_test_is_that_of_scipy(better: int, worse: int) -> None:
    changed = better + worse
    expected = binomtest(better, changed, alternative="greater").pvalue if changed else 1.0
    assert chance.sign_test(better, worse) == pytest.approx(expected, abs=2e-3)


def test_five_changes_are_the_fewest_that_are_more_than_chance() -> None:
    assert chance.fewest_changes() == 5


@pytest.mark.parametrize("count", [8, 20, 100])
def test_a_mean_is_believed_from_the_quantile_of_students_distribution(count: int) -> None:
    limit = t.ppf(0.95, count - 1) / count**0.5
    assert chance.is_above_zero(limit * 1.01, 1.0, count)
    assert not chance.is_above_zero(limit * 0.99, 1.0, count)


def test_few_or_equal_differences_show_nothing() -> None:
    assert not chance.is_above_zero(5.0, 0.1, 7)
    assert not chance.is_above_zero(0.0, 0.0, 100)
