"""Waits last as long as requested, also when the wall clock is set meanwhile."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from api.application import create_app
from api.context import RequestPlaces
from api.http_server import LATE_THREADS
from shared import errors
from shared.adapters.pauses import Pause, Waiting, run
from shared.adapters.queue import waiters
from shared.adapters.queue.waiters import Waiters
from shared.container import Container
from shared.domain.datasets import DatasetState
from shared.domain.jobs import Status, Submission
from shared.domain.models import ModelState
from shared.services import comparisons, datasets, jobs, models, trainings
from tests import stacks
from tests.dataset_fixtures import picture
from tests.unit.test_http_server import serving

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
    unfinished = SimpleNamespace(id="1", tenant="anna", announced=lambda change: None, **values)
    monkeypatch.setattr(module, reader, lambda *_: unfinished)
    wall_clock, steps = time.time, itertools.count()

    def stepping() -> float:
        """Return a wall clock that is an hour further off at every look."""
        return wall_clock() + step * next(steps)

    monkeypatch.setattr(time, "time", stepping)
    began = time.monotonic()

    assert run(wait(replace(container, now=stepping), unfinished, 0.3)) is unfinished

    assert 0.3 <= time.monotonic() - began < 20  # by the stepping clock it would be 28 s


def deaf(container: Container, asked: list[list[str]]) -> Waiters:
    """Return waiters that hear no event; each look at SQL for all who wait is noted."""

    def ended_among(job_ids: Sequence[str]) -> list[str]:
        asked.append(list(job_ids))
        return [job_id for job_id in job_ids if job_id.startswith("ended")]

    waiters = Waiters(container.queue, ended_among=ended_among)
    waiters._wake = lambda event: None  # type: ignore[method-assign]
    return waiters


def waiting_for(waiters: Waiters, job_id: str, seconds: float, looks: list[str]) -> Waiting[str]:
    def look() -> str:
        looks.append(job_id)
        return job_id

    return waiters.until(job_id, look, lambda state: state.startswith("ended"), seconds, announced=lambda _: None)


def test_all_who_wait_for_jobs_are_looked_up_together_and_only_the_ended_go_on(container: Container) -> None:
    asked: list[list[str]] = []
    looks: list[str] = []
    waiters, began = deaf(container, asked), time.monotonic()
    with ThreadPoolExecutor(8) as callers:
        ended = [callers.submit(run, waiting_for(waiters, f"ended-{number}", 30.0, looks)) for number in range(4)]
        running = [callers.submit(run, waiting_for(waiters, f"running-{number}", 600.0, looks)) for number in range(4)]
        assert {call.result() for call in ended} == {f"ended-{number}" for number in range(4)}
        assert all(look.startswith("ended") for look in looks)
        waiters.end_within(0.1)
        assert {call.result() for call in running} == {f"running-{number}" for number in range(4)}
    assert len(asked) <= 2 + time.monotonic() - began  # once a second, and at its end
    assert len(looks) == 8
    waiters.close()


def test_while_sql_does_not_answer_those_who_wait_go_on_waiting(container: Container) -> None:
    def away(job_ids: Sequence[str]) -> list[str]:
        raise errors.Unavailable("The database does not answer.")

    waiters = Waiters(container.queue, ended_among=away)
    assert run(waiting_for(waiters, "running", 1.5, [])) == "running"
    waiters.close()


def test_a_process_that_stops_ends_all_waits_and_those_that_begin_later(container: Container) -> None:
    waiters = deaf(container, [])
    with ThreadPoolExecutor(1) as callers:
        long = callers.submit(run, waiting_for(waiters, "running", 600.0, []))
        waiters.end_within(0.2)
        assert long.result(30) == "running"
    assert run(waiting_for(waiters, "running", 600.0, [])) == "running"
    waiters.close()


def test_an_event_that_comes_between_two_waits_is_not_missed(container: Container) -> None:
    waiters = container.waiters
    with waiters.subscribe("1") as subscription:
        waiters._wake({"1": None})
        began = time.monotonic()
        assert subscription.wait(30.0)
        assert not subscription.wait(0.01)
    assert time.monotonic() - began < 20


def test_a_look_that_hangs_holds_up_nobody_whose_time_is_over(container: Container) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def hang(job_ids: Sequence[str]) -> list[str]:
        hangs.set()
        go_on.wait(30)
        return []

    waiters = Waiters(container.queue, ended_among=hang)
    with ThreadPoolExecutor(1) as callers:
        long = callers.submit(run, waiting_for(waiters, "running", 600.0, []))
        assert hangs.wait(10)
        assert run(waiting_for(waiters, "another", 0.1, [])) == "another"
        waiters.end_within(0.1)
        assert long.result(10) == "running"
    go_on.set()
    waiters.close()


def test_the_timer_outlives_what_cannot_be_resumed_and_rests_when_all_waits_have_ended(container: Container) -> None:
    waiters = deaf(container, [])

    def fail() -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    with waiters.subscribe("1") as subscription:
        subscription.start(0.01, fail)
        assert run(waiting_for(waiters, "running", 0.05, [])) == "running"
    waiters.end_within(0.0)
    assert run(waiting_for(waiters, "running", 600.0, [])) == "running"
    rounds = itertools.count()
    waiting = waiters._waiting

    def count() -> dict[Any, str]:
        next(rounds)
        return waiting()

    waiters._waiting = count  # type: ignore[method-assign]
    with waiters.subscribe("2") as subscription:
        subscription.wait(0.3)
    assert next(rounds) < 20
    waiters.close()


def free(places: RequestPlaces, number: int) -> bool:
    """Return whether so many places are free."""
    taken = [places.acquire() for _ in range(number)]
    for is_taken in taken:
        if is_taken:
            places.release()
    return all(taken)


def test_clients_that_have_gone_leave_their_places_to_others(container: Container) -> None:
    job, _ = run(jobs.submit(container, "default", Submission([picture(1)], "digits")))
    app = create_app(replace(container, settings=container.settings.changed(max_waiting=2, max_wait=60.0)))
    places: RequestPlaces = app.extensions["inferq.waiting_places"]
    with serving(app) as address:
        host, port = address.split(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(2)]
        for client in clients:
            client.sendall(f"GET /v1/jobs/{job.id} HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: wait=60\r\n\r\n".encode())
        stacks.until(lambda: not free(places, 1), 10)
        for client in clients:
            client.close()
        stacks.until(lambda: free(places, 2), 20)


def test_bodies_that_drip_in_hold_up_no_answer_of_others(container: Container) -> None:
    job, _ = run(jobs.submit(container, "default", Submission([picture(1)], "digits")))
    head = f"GET /v1/jobs/{job.id} HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: wait=0.2\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    with serving(create_app(container), threads=64) as address:
        host, port = address.split(":")
        clients = [socket.create_connection((host, int(port)), timeout=10) for _ in range(2 * LATE_THREADS)]
        for client in clients:
            client.sendall(head.encode() + b"1\r\nx\r\n")
        url = f"http://{address}/v1/jobs/{job.id}"
        for _ in range(3):
            assert httpx.get(url, headers={"Prefer": "wait=0.5"}, timeout=10).status_code == 200
        for client in clients:
            client.close()


def test_requests_that_wait_for_a_commit_of_others_hold_no_thread(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_commit, commit = threading.Event(), threading.Event(), jobs._commit

    def held(container: Container, registrations: Sequence[jobs.Registration]) -> list[Any]:
        began.set()
        assert may_commit.wait(10)
        return commit(container, registrations)

    monkeypatch.setattr(jobs, "_commit", held)
    with serving(create_app(container), threads=2) as address, ThreadPoolExecutor(9) as clients:
        post = partial(httpx.post, f"http://{address}/v1/jobs", headers={"Content-Type": "image/png"},
                       content=picture(1).data)  # fmt: skip
        answers = [clients.submit(post)]
        assert began.wait(10)
        answers += [clients.submit(post) for _ in range(8)]
        grouped = container.grouped(jobs._register)
        stacks.until(lambda: len(grouped._waiting) == 8, 10)
        assert httpx.get(f"http://{address}/healthz").status_code == 200  # one thread of two is free
        may_commit.set()
        assert [answer.result(10).status_code for answer in answers] == [202] * 9
    assert len({answer.result().json()["_id"] for answer in answers}) == 9


def test_a_client_that_has_gone_before_the_commit_does_not_wait_for_its_job(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_commit, commit = threading.Event(), threading.Event(), jobs._commit
    has_gone, given_up, give_up = threading.Event(), threading.Event(), waiters._EventPause.give_up

    def held(container: Container, registrations: Sequence[jobs.Registration]) -> list[Any]:
        began.set()
        assert may_commit.wait(20)
        return commit(container, registrations)

    def noted(pause: waiters._EventPause) -> None:
        give_up(pause)
        given_up.set()

    monkeypatch.setattr(jobs, "_commit", held)
    monkeypatch.setattr(Pause, "give_up", lambda _pause: has_gone.set())  # that of the commit, which does nothing
    monkeypatch.setattr(waiters._EventPause, "give_up", noted)
    app = create_app(container)
    body = picture(1).data
    head = "POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with serving(app) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as first:
            first.sendall(request)  # it leads the commit
            assert began.wait(10)
            with socket.create_connection((host, int(port))) as second:
                second.sendall(request)
                stacks.until(lambda: len(container.grouped(jobs._register)._waiting) == 1, 10)
            assert has_gone.wait(10)
            may_commit.set()
            assert given_up.wait(10)
