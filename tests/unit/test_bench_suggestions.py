"""The comparison of suggested with random pictures: its rules, its pairs, and that it finds what is there."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.training import suggestions
from bench.training.suggestions import RANDOM, RULES, SUGGESTED, Pool, Result, Row
from bench.training.tasks import Picture, Task
from shared.domain.models import ProblemType
from shared.similarity import unit

pytestmark = pytest.mark.slow
VERSION: Any = SimpleNamespace(problem_type=ProblemType.SINGLE_LABEL)
MACHINE = {"date": "2026-11-26", "revision": "abc", "cores": 2, "device": "cpu", "cpu": "", "python": "", "torch": ""}


def task(each: int, labels: int = 2) -> Task:
    pictures = [Picture(f"{label}-{number}", label, b"") for label in range(labels) for number in range(each)]
    return Task("fruit", ("pear", "plum", "lime")[:labels], tuple(pictures))


def pool(uncertainty: list[float], rows: list[list[float]]) -> Pool:
    every = unit(np.array([[1.0, 0.0], *rows], dtype=np.float32))
    return Pool(every, np.array([0]), np.arange(1, len(every)), np.array(uncertainty))


def test_the_rule_of_the_service_chooses_uncertain_pictures_that_differ() -> None:
    seen = pool([0.05, 0.9, 0.8, 0.7], [[0, -1], [0, 1], [0.01, 1], [-1, 0]])
    assert list(RULES[SUGGESTED](seen, 2)) == [1, 3], "not the sure one, nor one like the first"
    assert list(RULES["most uncertain"](seen, 2)) == [1, 2]
    assert list(RULES["different"](seen, 2)) == [0, 1]
    near = pool([0.9, 0.8], [[1, 0.01], [0, 1]])
    assert list(RULES[SUGGESTED](near, 1)) == [0]
    assert list(RULES["away from the labelled"](near, 1)) == [1], "the first is like a picture that has a label"


def test_the_pictures_of_a_draw_are_divided_and_none_is_held_back_and_learned() -> None:
    labels = np.repeat([0, 1], [30, 200])
    start, rest, held = suggestions._divide(labels, np.random.default_rng(0))
    assert sorted(np.concatenate([start, rest, held])) == list(range(230))
    assert np.bincount(labels[start]).tolist() == [suggestions.FIRST] * 2
    assert np.bincount(labels[held]).tolist() == [10, 40]


def test_uncertain_pictures_that_teach_more_are_found_to_do_so() -> None:
    """Most pictures of both labels are far apart, and few lie where the labels meet: only these teach where."""
    random = np.random.default_rng(1)
    features = np.concatenate([
        np.stack([side * np.where(random.uniform(size=90) < 0.7, 5.0, random.uniform(0, 1.2, 90)) + turn,
                  random.normal(0, 0.3, 90), np.full(90, 3.0)], axis=1)
        for side, turn in ((-1, 0.4), (1, 0.4))
    ]).astype(np.float32)  # fmt: skip
    measured = Result(MACHINE, 6)
    said: list[str] = []
    suggestions.measure(measured, task(90), features, VERSION, said.append)
    assert measured.steps("fruit") == [16, 24, 32]
    ahead = measured.ahead("fruit", SUGGESTED)
    assert ahead is not None
    assert ahead.low is not None
    assert ahead.low > 0
    first = {row.accuracy for row in measured.rows if row.seed == 0 and row.labelled == 8}
    assert len(first) == 1, "all begin alike"
    assert len(said) == 6


def test_a_difference_is_paired_by_seed_and_is_the_mean_of_the_rounds() -> None:
    rows = [
        Row("fruit", rule, seed, labelled, accuracy)
        for seed in (0, 1)
        for rule, accuracies in ((RANDOM, (0.5, 0.6 + seed / 10, 0.7)), (SUGGESTED, (0.5, 0.7 + seed / 10, 0.7)))
        for labelled, accuracy in zip((8, 16, 24), accuracies, strict=True)
    ]
    measured = Result(MACHINE, 2, {"fruit": {}}, rows)
    after, mean = measured.ahead("fruit", SUGGESTED, 16), measured.ahead("fruit", SUGGESTED)
    assert after is not None
    assert mean is not None
    assert (after.mean, after.low, after.high) == pytest.approx((10.0, 10.0, 10.0))
    assert mean.mean == pytest.approx(5.0)
    assert measured.ahead("fruit", "different") is None
    assert [goal.reached for goal in measured.goals()] == [True]


def test_the_report_shows_each_rule_and_is_kept(tmp_path: Path) -> None:
    rows = [Row("fruit", rule, seed, labelled, accuracy) for seed in (0, 1) for labelled in (8, 16)
            for rule, accuracy in ((RANDOM, 0.8), (SUGGESTED, 0.85 + seed / 100))]  # fmt: skip
    measured = Result(MACHINE, 2, {"fruit": {}}, rows)
    shown = io.StringIO()
    suggestions._shown(measured, Console(file=shown, width=160))
    assert "+5.5 ±" in shown.getvalue()
    written = suggestions.write(measured, tmp_path)
    assert [path.name for path in written] == [
        f"2026-11-26-abc-2cores-cpu-suggestions.{end}" for end in ("json", "png")
    ]
    assert "fruit +5.5 ±" in (tmp_path / "README.md").read_text()
