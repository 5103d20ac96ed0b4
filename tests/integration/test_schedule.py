"""Maintenance runs by its own schedule, without Celery, a child process or the wall clock."""

from __future__ import annotations

import threading

import pytest

from shared import errors
from shared.container import Container
from shared.services import maintenance
from tests.stacks import until
from worker.schedule import Schedule


def test_a_run_is_handed_what_the_run_before_found_missing(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[frozenset[str]] = []

    def reconcile(_: Container, missing: frozenset[str]) -> frozenset[str]:
        handed.append(missing)
        return frozenset({f"run {len(handed)}"})

    monkeypatch.setattr(maintenance, "reconcile", reconcile)
    object.__setattr__(container, "settings", container.settings.changed(sweep_every=0.1))
    schedule = Schedule(container)
    schedule.start()
    until(lambda: len(handed) >= 3, 20)
    schedule.stop()
    assert handed[:3] == [frozenset(), frozenset({"run 1"}), frozenset({"run 2"})]


@pytest.mark.parametrize("error", [errors.Unavailable("Away."), RuntimeError("a bug")])
def test_a_run_that_fails_does_not_end_the_schedule(
    container: Container, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    runs: list[int] = []

    def reconcile(_: Container, missing: frozenset[str]) -> frozenset[str]:
        runs.append(1)
        raise error

    monkeypatch.setattr(maintenance, "reconcile", reconcile)
    object.__setattr__(container, "settings", container.settings.changed(sweep_every=0.1))
    schedule = Schedule(container)
    schedule.start()
    until(lambda: len(runs) >= 2, 20)
    schedule.stop()


def test_a_stop_waits_for_the_running_step_and_begins_no_other(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, ended = threading.Event(), threading.Event(), list[str]()

    def collect(_: Container) -> None:
        began.set()
        go_on.wait(20)
        ended.append("collected")

    monkeypatch.setattr(maintenance, "collect_garbage", collect)
    schedule = Schedule(container)
    schedule.start()
    assert began.wait(20)
    threading.Timer(0.1, go_on.set).start()
    schedule.stop()
    assert ended == ["collected"]
    assert not any(thread.is_alive() for thread in schedule._threads)
