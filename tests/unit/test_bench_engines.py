"""The arithmetic of the benchmark of engines."""

from __future__ import annotations

import itertools

import pytest
import torch

from bench import engines

pytestmark = pytest.mark.slow


def test_an_engines_best_batch_counts_against_the_best_of_the_others() -> None:
    rates = {engines.CHOSEN: {1: 90.0, 4: 97.0}, "eager": {1: 40.0, 4: 30.0}, "openvino": {1: 100.0, 4: 80.0}}
    assert engines.ratio(rates) == pytest.approx(0.97)


def test_engines_take_turns_and_their_pictures_are_counted() -> None:
    order: list[tuple[str, int]] = []
    runs = {name: lambda batch, name=name: order.append((name, len(batch))) for name in ("chosen", "eager")}
    ticks = itertools.count()
    rates = engines.measure(runs, [torch.zeros(1, 3), torch.zeros(4, 3)], lambda: float(next(ticks)))
    turn = [("chosen", 1), ("chosen", 4), ("eager", 1), ("eager", 4)]
    assert order[:8] == turn * 2, "first to warm up, then to be measured"
    assert rates["eager"] == {1: 0.5, 4: 2.0}
