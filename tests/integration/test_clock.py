"""The clock of Redis is shared by processes whose own clocks are wrong, or are put right while they run."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import redis

from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue import clock
from shared.adapters.queue.clock import ASK_EVERY, QUESTIONS, Clock
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.jobs import Submission
from shared.services import jobs, maintenance, workers
from shared.settings import Settings
from tests.integration.test_maintenance import a_picture
from tests.stacks import until

SLACK = 20.0
"""Seconds that a busy machine may lose within a test; clocks are wrong by more."""


class Machine:
    """The clocks of a machine, in place of the module `time`."""

    def __init__(self, wrong_by: float = 0.0) -> None:
        self.wrong_by = wrong_by
        """Seconds by which its wall clock is ahead."""
        self.passed = 0.0
        """Seconds by which both clocks were moved, as if that time had passed."""

    def time(self) -> float:
        return time.time() + self.wrong_by + self.passed

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


class Server:
    """A Redis of which only the clock is asked; it may be away, and counts the questions."""

    def __init__(self) -> None:
        self.wrong_by, self.is_away, self.asked = 0.0, False, 0

    def time(self) -> tuple[int, int]:
        self.asked += 1
        if self.is_away:
            raise redis.ConnectionError
        return int(time.time() + self.wrong_by), 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(clock, "time", machine)
    return machine


@pytest.mark.parametrize("wrong_by", [120.0, -120.0])
def test_a_machine_with_a_wrong_clock_has_the_time_of_redis(queue: Queue, machine: Machine, wrong_by: float) -> None:
    machine.wrong_by = wrong_by
    assert queue.clock.now() == pytest.approx(time.time(), abs=SLACK)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_correction_of_the_machines_clock_does_not_move_the_time(machine: Machine, step: float) -> None:
    server = Server()
    shared = Clock(server)
    shared.now()
    server.is_away = True
    machine.wrong_by = step
    assert shared.now() == pytest.approx(time.time(), abs=SLACK)


def test_redis_is_asked_again_only_after_some_seconds(machine: Machine) -> None:
    server = Server()
    shared = Clock(server)
    for _ in range(100):
        shared.now()
    assert server.asked == QUESTIONS
    server.wrong_by = 60.0
    machine.passed += ASK_EVERY
    assert shared.now() == pytest.approx(time.time() + 60.0, abs=SLACK)
    assert server.asked == 2 * QUESTIONS


def test_the_fastest_answer_counts_and_a_slow_one_does_not_move_the_time(machine: Machine) -> None:
    server = Server()
    answers, exact = iter([30.0, 0.0, 50.0, 40.0, 30.0, 50.0]), server.time

    def slow() -> tuple[int, int]:
        seconds = next(answers)  # that the question and the answer are on their way
        machine.passed += seconds / 4
        server.wrong_by = machine.passed
        answer = exact()
        machine.passed += seconds * 3 / 4
        return answer

    server.time = slow  # type: ignore[method-assign]
    shared = Clock(server)
    assert shared.now() == pytest.approx(time.time() + machine.passed, abs=2.0)
    machine.passed += ASK_EVERY
    assert shared.now() == pytest.approx(time.time() + machine.passed, abs=2.0)


def test_redis_is_asked_at_once_after_the_machine_has_slept(machine: Machine) -> None:
    server = Server()
    shared = Clock(server)
    shared.now()
    server.wrong_by = machine.wrong_by = 3600.0  # the monotonic clock stands still in a sleep
    assert shared.now() == pytest.approx(time.time() + 3600.0, abs=SLACK)


def test_without_redis_the_last_answer_is_counted_on_and_redis_is_not_asked_each_time(machine: Machine) -> None:
    server = Server()
    shared = Clock(server)
    server.wrong_by = 120.0
    shared.now()
    server.is_away = True
    machine.passed += ASK_EVERY
    for _ in range(100):
        assert shared.now() == pytest.approx(time.time() + 120.0 + ASK_EVERY, abs=SLACK)
    assert server.asked == QUESTIONS + 1


def test_before_redis_has_ever_answered_the_machines_own_clock_counts(machine: Machine) -> None:
    server = Server()
    server.is_away = True
    machine.wrong_by = 120.0
    assert Clock(server).now() == pytest.approx(time.time() + 120.0, abs=SLACK)


@pytest.mark.parametrize("wrong_by", [120.0, -120.0])
def test_a_worker_with_a_wrong_clock_is_listed_as_long_as_it_beats(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(clock, "time", Machine(wrong_by))
        far = Queue(queue.connection.settings, queue.connection.redis)
        far.workers.heartbeat("far", {}, 60.0)
        far.workers.heartbeat("silent", {}, 0.2)
    until(lambda: [worker["id"] for worker in queue.workers.list()] == ["far"], 10)


# who takes work


def test_the_service_is_ready_while_nothing_waits_however_long_no_worker_has_claimed(container: Container) -> None:
    container.queue.workers.heartbeat("idle", {"holds": 0, "claimed_at": container.now() - 3600}, 60)
    workers.check_claiming(container)


@pytest.mark.parametrize(
    ("about", "is_claiming"),
    [
        ({"holds": 0, "claimed_at": -300.0}, False),
        ({"holds": 3, "claimed_at": -300.0}, True),
        ({"holds": 0, "claimed_at": 95.0}, True),
        ({"holds": 0}, True),
    ],
    ids=["silent", "at work", "claims others", "older version"],
)
def test_workers_that_leave_pictures_waiting_are_not_ready(
    container: Container, about: dict[str, float], is_claiming: bool
) -> None:
    now = time.time()
    if "claimed_at" in about:
        about = about | {"claimed_at": now + about["claimed_at"]}
    container.queue.workers.heartbeat("worker", about, 600)
    run(jobs.submit(container, "anna", Submission([a_picture()])))
    workers.check_claiming(container)  # the picture has just come

    later = replace(container, now=lambda: now + 100)
    if is_claiming:
        workers.check_claiming(later)
        return
    with pytest.raises(errors.Unavailable, match=r"waiting for up to (99|100) s, and no worker has claimed"):
        workers.check_claiming(later)


# notifications


@pytest.mark.redis
def test_a_notification_has_no_end_that_another_machine_could_judge_by_its_clock(valkey: str) -> None:
    queue = Queue(Settings(redis_url=valkey, prefix=f"test-{time.monotonic_ns()}:"))
    assert queue.notifications.send_task("drain", "v1")
    (message,) = queue.connection.redis.lrange(queue.connection.settings.broker_prefix + "bells", 0, -1)
    assert '"expires": null' in message
    assert '"eta": null' in message
    queue.close()


def test_notifications_that_nobody_receives_do_not_pile_up(container: Container) -> None:
    broker = f"{container.queue.connection.settings.broker_prefix}bells"
    container.queue.connection.redis.lpush(broker, *range(1500))
    maintenance.trim_notifications(container)
    kept = container.queue.connection.redis.lrange(broker, 0, -1)
    assert (len(kept), kept[0]) == (1000, "1499")  # the newest are kept
