"""The history: percentiles from steps, and arrivals from what was taken off the queue and how it has grown."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from shared.domain.history import Counted, Measure, Point, arrivals, merged, percentile, step_of


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.5])
def test_percentiles_from_steps_are_within_a_tenth_of_those_of_the_times_themselves(spread: float) -> None:
    chance = random.Random(7)
    times = sorted(min(3600.0, max(0.002, chance.lognormvariate(-1.0, spread))) for _ in range(5000))
    steps = Counter(map(step_of, times))
    for share in (0.5, 0.95, 0.99):
        exact = times[int(share * len(times)) - 1]
        assert percentile(steps, share) == pytest.approx(exact, rel=0.1)


def test_a_single_time_is_every_percentile() -> None:
    point = Point(0, 1, answered=1, latencies={step_of(0.25): 1})
    assert point.latency is not None
    assert point.latency.p50 == point.latency.p99 == pytest.approx(0.25, rel=0.1)
    assert Point(0, 1).latency is None


def test_times_below_a_millisecond_and_of_a_clock_that_went_back_are_one_step() -> None:
    assert step_of(0.0005) == step_of(-3.0) == 0
    assert percentile({0: 3}, 0.5) == 0.001


def counted(minute: int, measure: Measure, count: int, tenant: str = "anna", step: int = 0) -> dict[Counted, int]:
    return {Counted(minute, tenant, "v1", measure, step): count}


def sampled(*minutes: int) -> dict[Counted, int]:
    return {Counted(minute, "", "", Measure.WORKERS): 1 for minute in minutes}


def test_what_arrived_was_taken_off_the_queue_or_is_still_on_it() -> None:
    counts = (
        sampled(9, 10)
        | counted(9, Measure.DEPTH, 6) | counted(10, Measure.DEPTH, 4) | counted(10, Measure.WAITING, 70)
        | counted(10, Measure.ANSWERED, 7) | counted(10, Measure.ANSWERED, 3, step=4) | counted(10, Measure.DROPPED, 1)
        | counted(10, Measure.DEPTH, 4, "bert")
    )  # fmt: skip
    assert arrivals(counts, 10) == counted(10, Measure.ARRIVED, 9) | counted(10, Measure.ARRIVED, 4, "bert")


def test_without_a_sample_of_the_minute_before_arrivals_are_what_was_taken_off() -> None:
    counts = sampled(10) | counted(10, Measure.DEPTH, 50) | counted(10, Measure.ANSWERED, 7)
    assert arrivals(counts, 10) == counted(10, Measure.ARRIVED, 7)


def test_a_queue_that_was_emptied_by_hand_gives_no_arrivals_below_none() -> None:
    counts = sampled(9, 10) | counted(9, Measure.DEPTH, 50) | counted(10, Measure.DEPTH, 0)
    assert arrivals(counts, 10) == {}


def test_points_are_added_up_and_levels_are_the_most() -> None:
    first = Point(3, 1, 4, 5, 1, {8: 5}, 2, 0, 1.5, 2, {10: 5})
    second = Point(4, 1, 1, 2, 0, {8: 1, 1: 1}, 7, 1, 0.5, 1, {10: 1, 12: 1})
    whole = merged([first, second, Point(5, 1)])
    assert whole == Point(3, 3, 5, 7, 1, {8: 6, 1: 1}, 7, 1, 1.5, 2, {10: 6, 12: 1})
    assert merged([Point(5, 1), Point(6, 1)]).waiting is None
