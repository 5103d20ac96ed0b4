"""The rate of a worker is what it does in a second, whatever its batches are like."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from worker.rate import MEMORY, Rate, is_short, pictures_within, quiet_seconds


def after(batches: Iterable[tuple[int, float]]) -> Rate:
    """Return the rate after batches of (pictures, seconds), one right after the other."""
    rate, now = Rate(), 1000.0
    for pictures, seconds in batches:
        rate.add(pictures, now, now + seconds)
        now += seconds
    return rate


def test_before_the_first_batch_there_is_no_rate() -> None:
    assert Rate().per_second == 0


@pytest.mark.parametrize(("pictures", "seconds"), [(1, 0.001), (16, 0.5), (16, 40.0)])
def test_the_rate_of_equal_batches_is_that_of_each(pictures: int, seconds: float) -> None:
    assert after([(pictures, seconds)] * 30).per_second == pytest.approx(pictures / seconds)


@pytest.mark.parametrize(
    "batches",
    [
        [(64, 0.1), (2, 0.1)],  # 330 a second; the mean of the batches' own rates is above it if their times differ
        [(64, 0.02), (64, 0.5)],
        [(16, 0.01), (1, 0.2), (8, 0.1)],
    ],
)
def test_the_rate_of_unequal_batches_is_all_pictures_by_all_seconds(batches: list[tuple[int, float]]) -> None:
    real = sum(pictures for pictures, _ in batches) / sum(seconds for _, seconds in batches)
    rates = [after([*batches * 200, *batches[:more]]).per_second for more in range(len(batches))]
    assert rates == pytest.approx([real] * len(batches), rel=0.15)


def test_a_few_short_batches_hardly_change_the_rate() -> None:
    usual = [(64, 0.02)] * 500
    disturbed = after([*usual, (64, 0.1), (64, 0.1), (64, 0.1)])
    assert disturbed.per_second == pytest.approx(64 / 0.02, rel=0.1)


def test_the_rate_follows_what_has_changed_for_longer_than_it_remembers() -> None:
    usual = [(16, 0.1)] * 200
    slow = itertools.repeat((16, 0.4), int(3 * MEMORY / 0.4))
    assert after([*usual, *slow]).per_second == pytest.approx(16 / 0.4, rel=0.2)


def test_single_pictures_of_a_quiet_time_do_not_count_long_under_load() -> None:
    rate = Rate()
    for number in range(100):  # one in a second, alone
        rate.add(1, 1000.0 + number, 1000.01 + number)
    now = 1100.0
    for _ in range(5):
        rate.add(64, now, now + 0.1)
        now += 0.1
    assert rate.per_second == pytest.approx(640, rel=0.15)


def test_a_batch_that_took_no_time_that_a_clock_can_tell_counts() -> None:
    assert after([(1, 0.0)]).per_second > 0


def test_a_network_of_a_millisecond_needs_no_help_and_one_of_ten_does() -> None:
    assert (is_short(4, 1000.0), is_short(6, 1000.0), is_short(1, 100.0)) == (True, False, False)
    assert (quiet_seconds(1000.0), quiet_seconds(100.0)) == (0.001, 0.0)


def test_before_the_first_batch_nothing_is_known_to_be_short() -> None:
    assert (is_short(1, 0.0), quiet_seconds(0.0), pictures_within(1.0, 0.0, 0.001)) == (False, 0.0, 0)


def test_what_is_claimed_together_counts_decoding_as_well() -> None:
    assert (pictures_within(0.05, 10_000.0, 0.0004), pictures_within(0.05, 10_000.0, 0.0)) == (100, 500)
