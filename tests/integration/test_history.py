"""The history on SQLite and PostgreSQL: counts add up, levels are sampled, old ones are folded, tenants stay apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from shared.adapters.database.unit_of_work import Database
from shared.container import Container, Pushed
from shared.domain import history as rules
from shared.domain.history import Counted, Measure
from shared.domain.jobs import Outcome
from shared.domain.stream_entry import StreamEntry
from shared.services import history
from tests.conftest import container_in
from tests.query_plans import plan
from worker.counting import Counting

NOW = 1_700_000_040.0 + history.SETTLED  # the minute before has just settled
MINUTE = rules.minute_of(NOW)


@pytest.fixture
def service(database: Database, tmp_path: Path, empty_file: Path) -> Iterator[Container]:
    """A container on each kind of database, whose clock the tests set."""
    (tmp_path / "container").mkdir()
    with container_in(tmp_path / "container", empty_file) as made:
        yield at(replace(made, database=database), NOW)


def at(container: Container, now: float) -> Container:
    return replace(container, now=lambda: now)


def answered(minute: int, count: int, tenant: str = "anna", step: int = 20, version: str = "v1") -> dict[Counted, int]:
    return {Counted(minute, tenant, version, Measure.ANSWERED, step): count}


def pushed(container: Container, tenant: str, count: int, priority: str = "normal") -> None:
    entries = [StreamEntry(f"job-{n}", 0, "", 0, 1, "classify", 5, "softmax", True) for n in range(count)]
    container.queue.streams.push([Pushed("v1", priority, tenant, entries)])


def test_what_several_workers_count_adds_up(service: Container) -> None:
    for _ in range(3):
        history.add(service, answered(MINUTE - 1, 5) | answered(MINUTE - 1, 2, step=30))
    history.add(service, {})
    (point,) = [point for point in history.read(service, None, "hour").points if point.answered]
    assert (point.minute, point.answered, point.latencies) == (MINUTE - 1, 21, {20: 15, 30: 6})


def test_an_hour_is_sixty_minutes_and_a_day_is_ninety_six_quarters_without_gaps(service: Container) -> None:
    hour, day = history.read(service, None, "hour"), history.read(service, None, "day")
    assert [point.minute for point in hour.points] == list(range(MINUTE - 60, MINUTE))
    assert {point.minutes for point in hour.points} == {1}
    starts = [point.minute for point in day.points]
    assert (len(starts), {later - start for start, later in pairwise(starts)}) == (96, {15})
    assert starts[-1] <= MINUTE - 1 < starts[-1] + 15
    assert sum(point.minutes for point in day.points) == MINUTE - starts[0]
    assert hour.recent.minutes == history.RECENT


def test_the_queue_is_sampled_over_all_priorities(service: Container) -> None:
    pushed(service, "anna", 3)
    pushed(service, "anna", 2, "high")
    service.queue.workers.heartbeat("w", {"rates": {}}, 1e9)
    started = service.queue.clock.now()
    history.sample(at(service, started))
    point = history.read(at(service, started + 60 + history.SETTLED), "anna", "hour").points[-1]
    assert (point.waiting, point.running, point.workers) == (5, 0, 1)
    assert history.read(at(service, started + 60 + history.SETTLED), "bert", "hour").points[-1].waiting == 0


def test_of_several_samples_of_a_minute_the_most_is_shown_and_the_last_one_tells_the_arrivals(
    service: Container,
) -> None:
    history.sample(service)
    pushed(service, "anna", 5)
    history.sample(at(service, NOW + 65))
    (version_id,) = service.queue.streams.version_ids()
    entries = service.queue.streams.claim(version_id, "w", 3)
    service.queue.conclude(entries, [])
    history.add(service, answered(MINUTE + 1, 3))
    for seconds in (80, 130):
        history.sample(at(service, NOW + seconds))
    found = {point.minute: point for point in history.read(at(service, NOW + 180), "anna", "hour").points}
    assert (found[MINUTE + 1].waiting, found[MINUTE + 1].arrived) == (5, 5)


def test_a_minute_that_was_not_sampled_is_not_an_empty_queue(service: Container) -> None:
    history.add(service, answered(MINUTE - 1, 5))
    point = history.read(service, None, "hour").points[-1]
    assert (point.answered, point.waiting, point.oldest_seconds, point.workers) == (5, None, None, None)


def test_arrivals_follow_from_samples_and_counts_and_are_corrected_by_late_ones(service: Container) -> None:
    history.sample(service)  # an empty queue
    pushed(service, "anna", 4)
    history.sample(at(service, NOW + 70))
    history.add(service, answered(MINUTE + 1, 6))
    history.sample(at(service, NOW + 125))
    history.add(service, answered(MINUTE + 1, 2))  # of a worker that was late
    history.sample(at(service, NOW + 140))
    found = {point.minute: point for point in history.read(at(service, NOW + 180), "anna", "hour").points}
    assert (found[MINUTE + 1].arrived, found[MINUTE + 1].answered, found[MINUTE + 1].waiting) == (12, 8, 4)


def test_a_tenant_sees_its_own_pictures_and_the_operator_those_of_all(service: Container) -> None:
    history.add(service, answered(MINUTE - 1, 5, "anna") | answered(MINUTE - 1, 7, "bert"))
    totals = {who: history.read(service, who, "hour").recent.answered for who in ("anna", "bert", "clara", None)}
    assert totals == {"anna": 5, "bert": 7, "clara": 0, None: 12}


def test_folding_changes_no_sum_and_leaves_a_row_for_each_quarter(service: Container) -> None:
    for minute in range(MINUTE - 600, MINUTE):
        waits = {Counted(minute, "anna", "v1", Measure.WAITING): minute % 7}
        with service.database.write() as uow:
            uow.history.add(answered(minute, minute % 5 + 1))
            uow.history.set(waits | {Counted(minute, "", "", Measure.WORKERS): 2})
    before = history.read(service, None, "day")
    for _ in range(2):  # a second time folds nothing twice
        history.fold(service)
    after = history.read(service, None, "day")
    assert after == before
    assert sum(point.answered for point in after.points) == sum(
        minute % 5 + 1 for minute in range(MINUTE - 600, MINUTE)
    )
    with service.database.read() as uow:
        minutes = {row[0] for row in uow.history.sums(0, MINUTE, None)}
    assert {minute for minute in minutes if minute < MINUTE - 90} <= {m for m in minutes if m % 15 == 0}
    assert len(minutes) < 90 + 600 / 15


def test_what_is_older_than_a_day_is_dropped(service: Container) -> None:
    history.add(service, answered(MINUTE - rules.KEPT - 1, 1) | answered(MINUTE - 1, 2))
    history.fold(service)
    with service.database.read() as uow:
        assert {row[0] for row in uow.history.sums(0, MINUTE, None)} == {MINUTE - 1}


def test_the_history_of_a_tenant_is_read_from_its_key(database: Database) -> None:
    (line, *_) = [
        line
        for line in plan(database, lambda uow: uow.history.sums(MINUTE - 60, MINUTE, ["anna", ""]))
        if "history" in line or line.startswith("Index Cond")
    ]
    assert "SCAN" not in line
    assert "Seq Scan" not in line


def test_a_worker_counts_answers_failures_and_what_was_dropped() -> None:
    entries = [
        StreamEntry(f"job-{n}", 0, "", 0, 1, "classify", 5, "softmax", True, id=f"{int(NOW - 2) * 1000}-{n}",
                    stream="lane:v1:normal:anna")
        for n in range(4)
    ]  # fmt: skip
    outcomes = [Outcome("job-0", 0, [["cat", 1.0]]), Outcome("job-1", 0, error_code="poison"), Outcome("job-2", 0, [])]
    counting = Counting()
    counting.add("v1", entries, outcomes, NOW)
    taken = counting.take()
    step = rules.step_of(2.0)
    assert taken == {
        Counted(MINUTE, "anna", "v1", Measure.ANSWERED, step): 3,
        Counted(MINUTE, "anna", "v1", Measure.BATCH, 4): 3,
        Counted(MINUTE, "anna", "v1", Measure.FAILED): 1,
        Counted(MINUTE, "anna", "v1", Measure.DROPPED): 1,
    }
    assert counting.take() == {}
    counting.give_back(taken)
    assert counting.take() == taken
