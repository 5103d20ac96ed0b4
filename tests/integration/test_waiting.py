"""Waits last as long as requested, also when the wall clock is set meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shared.adapters.queue.waiters import Waiting, run
from shared.container import Container
from shared.domain.datasets import DatasetState
from shared.domain.jobs import Status
from shared.domain.models import ModelState
from shared.services import comparisons, datasets, jobs, models, trainings

WAITS: dict[str, tuple[Any, str, dict[str, Any], Callable[[Container, Any, float], Waiting[Any]]]] = {
    "job": (jobs, "get", {"status": Status.QUEUED}, jobs.wait),
    "training": (
        trainings, "get", {"status": Status.RUNNING}, lambda c, thing, s: trainings.wait(c, "anna", thing.id, s),
    ),
    "comparison": (
        comparisons, "get", {"status": Status.QUEUED}, lambda c, thing, s: comparisons.wait(c, "anna", thing.id, s),
    ),
    "dataset": (datasets, "get", {"state": DatasetState.LOADING}, datasets.until_loaded),
    "check": (models, "find_version_by_id", {"state": ModelState.CHECKING}, models.until_checked),
    "model": (models, "find_version_by_id", {"state": ModelState.CHECKING}, models.wait),
}  # fmt: skip


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
@pytest.mark.parametrize("name", WAITS)
def test_a_step_of_the_wall_clock_neither_stretches_nor_shortens_a_wait(
    container: Container, monkeypatch: pytest.MonkeyPatch, name: str, step: float
) -> None:
    module, reader, values, wait = WAITS[name]
    unfinished = SimpleNamespace(id="1", tenant="anna", **values)
    monkeypatch.setattr(module, reader, lambda *_: unfinished)
    wall_clock, steps = time.time, itertools.count()

    def stepping() -> float:
        """Return a wall clock that is an hour further off at every look."""
        return wall_clock() + step * next(steps)

    monkeypatch.setattr(time, "time", stepping)
    began = time.monotonic()

    assert run(wait(replace(container, now=stepping), unfinished, 0.3)) is unfinished

    assert 0.3 <= time.monotonic() - began < 3
