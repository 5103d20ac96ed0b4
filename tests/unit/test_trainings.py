"""What a training may ask for, and when its time is over."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.domain.jobs import Status
from shared.domain.trainings import Training, TrainingParameters, checkpoint_key, plot_key
from shared.errors import BadOption

WEEK = 7 * 24 * 3600.0
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (1, 1024),
    "max_unimproved_epochs": (1, 10_000),
    "train_split_ratio": (0.1, 0.95),
    "seed": (0, 2**31 - 1),
    "max_seconds": (1, WEEK),
}


def test_the_defaults_are_the_documented_ones() -> None:
    assert TrainingParameters() == TrainingParameters(
        epochs=100, learning_rate=0.001, batch_size=32, max_unimproved_epochs=10, train_split_ratio=0.8, seed=0,
        with_feedback=True, fine_tune="auto", flip=True, max_seconds=86_400.0,
        reject_below_precision=None, unknown_label="",
    )  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_a_parameter_may_be_at_either_end_of_its_range(name: str) -> None:
    for value in RANGES[name]:
        assert getattr(TrainingParameters(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RANGES)
def test_a_parameter_past_either_end_of_its_range_is_refused_with_the_range(name: str) -> None:
    low, high = RANGES[name]
    step = 1 if isinstance(low, int) else 0.001
    for value in (low - step, high + step, float("nan")):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(BadOption, match=f"^{name} must be from {low:g} to {re.escape(f'{high:g}')}, not "):
            TrainingParameters(**wrong)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.0, 1.5, float("nan")])
def test_a_learning_rate_is_above_zero_and_below_one(rate: float) -> None:
    assert TrainingParameters(learning_rate=1e-9).learning_rate == 1e-9
    assert TrainingParameters(learning_rate=0.999).learning_rate == 0.999
    with pytest.raises(BadOption, match="learning_rate must be above 0 and below 1, not "):
        TrainingParameters(learning_rate=rate)


def test_fine_tuning_is_one_of_three_words() -> None:
    for word in ("auto", "always", "never"):
        assert TrainingParameters(fine_tune=word).fine_tune == word
    with pytest.raises(BadOption, match="fine_tune must be one of auto, always, never, not 'maybe'"):
        TrainingParameters(fine_tune="maybe")


@pytest.mark.parametrize("precision", [0.499, 1.0, 95.0, float("nan")])
def test_a_precision_that_no_rule_can_keep_is_refused(precision: float) -> None:
    assert TrainingParameters(reject_below_precision=0.5).reject_below_precision == 0.5
    with pytest.raises(BadOption, match=r"reject_below_precision must be from 0\.5 to 0\.999, not "):
        TrainingParameters(reject_below_precision=precision)


def test_a_label_for_doubt_needs_a_precision_and_is_printable() -> None:
    assert TrainingParameters(reject_below_precision=0.9, unknown_label="no idea").unknown_label == "no idea"
    with pytest.raises(BadOption, match="give reject_below_precision as well"):
        TrainingParameters(unknown_label="unknown")
    for label in ("two\nlines", "x" * 101, " space"):
        with pytest.raises(BadOption, match="unknown_label must be a printable text"):
            TrainingParameters(reject_below_precision=0.9, unknown_label=label)


@pytest.mark.parametrize(("started", "now", "over"), [
    (100.0, 100.0, False), (100.0, 160.0, False), (100.0, 160.001, True), (None, 1e12, False), (0.0, 61.0, True),
])  # fmt: skip
def test_a_training_is_over_when_more_than_its_seconds_have_passed(
    started: float | None, now: float, over: bool
) -> None:
    parameters = TrainingParameters(max_seconds=60)
    training = Training("id", "anna", "native", "mine", "mine", Status.RUNNING, 1, 1, "scratch", "", parameters, 0.0,
                        0.0, started_at=started)  # fmt: skip
    assert training.is_over(now) is over


def test_its_blobs_lie_where_earlier_versions_put_them() -> None:
    assert checkpoint_key("id") == "checkpoints/id"
    assert plot_key("id", "confusion.svg") == "plots/id/confusion.svg"
