"""The client and the commands that retry, delete and replay, against a small real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import Result

from inferq.client import Client, InferqHTTPError
from shared.schemas.dead_letters import DeadLetter, DeadLetterPage, Replay
from tests.unit.answers import complete, job
from tests.unit.toy_server import Answer, ToyServer

REPLAY = "POST /v1/dead-letters/replay"


@pytest.fixture
def client(server: ToyServer) -> Iterator[Client]:
    with Client(server.url, "") as client:
        yield client


def replayed(jobs: int, pictures: int, skipped: int = 0, following: str | None = None) -> Answer:
    return 200, {}, complete(Replay, jobs=jobs, pictures=pictures, skipped=skipped, next=following)


def test_a_retry_says_how_many_pictures_run_again(server: ToyServer, run: Callable[..., Result]) -> None:
    queued = job("QUEUED", progress={"total": 9, "done": 7, "failed": 0})
    server.on("POST /v1/jobs/j1/retry", (202, {}, queued))
    assert run("jobs", "retry", "j1").stderr == "2 pictures run again; wait with: inferq jobs wait j1\n"


def test_a_job_that_has_ended_is_deleted_by_one_call(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("DELETE /v1/jobs/j1", (204, {}, b""))
    assert run("jobs", "delete", "j1").stderr == "deleted j1\n"
    assert len(server.requests) == 1


def test_a_job_that_has_not_ended_is_cancelled_and_then_deleted(server: ToyServer, client: Client) -> None:
    server.on("DELETE /v1/jobs/j1", (200, {}, job("CANCELLED")), (204, {}, b""))
    client.jobs.delete("j1")
    assert [request.method for request in server.requests] == ["DELETE", "DELETE"]


def test_dead_letters_are_listed_by_the_filters_of_the_command(server: ToyServer, run: Callable[..., Result]) -> None:
    letter = complete(DeadLetter, job_id="j1", position=3, name="duck.png", reason="poison",
                      created_at="2026-01-02T03:04:05Z", model={"name": "birds", "version": "2"})  # fmt: skip
    server.on("GET /v1/dead-letters", (200, {}, complete(DeadLetterPage, dead_letters=[letter])))
    shown = run("jobs", "dead-letters", "--reason", "poison", "--model", "birds").stdout
    assert all(word in shown for word in ("j1", "3", "duck.png", "poison", "2026-01-02"))
    assert server.requests[0].path == "/v1/dead-letters?reason=poison&model=birds&limit=20"
    assert json.loads(run("jobs", "dead-letters", "--json").stdout) == [letter]


def test_no_dead_letters_are_said_to_be_none(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/dead-letters", (200, {}, complete(DeadLetterPage, dead_letters=[])))
    assert run("jobs", "dead-letters").stderr == "no dead letters\n"


def test_a_replay_takes_as_many_calls_as_needed_and_adds_them_up(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(REPLAY, replayed(5, 50, 1, "j5_1"), replayed(1, 2))
    result = run("jobs", "replay", "--reason", "gone", "--since", "1700000000")
    assert "52 pictures of 6 jobs run again" in result.stderr
    assert "1 job skipped" in result.stderr
    wanted = {"reason": "gone", "since": "1700000000"}
    assert [json.loads(request.body) for request in server.requests] == [wanted, wanted | {"cursor": "j5_1"}]


FULL: Answer = (429, {}, {"title": "Full", "code": "too_many_requests", "detail": "The queue is full."})


def test_a_replay_that_fills_the_queue_says_so_with_what_it_has_done(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on(REPLAY, replayed(5, 50, 0, "j5_1"), FULL)
    result = run("jobs", "replay")
    assert result.exit_code == 1
    assert "50 pictures of 5 jobs run again\nthe queue is full; replay the others later" in result.stderr


def test_a_replay_into_a_full_queue_is_refused(server: ToyServer, client: Client) -> None:
    server.on(REPLAY, FULL)
    with pytest.raises(InferqHTTPError, match="The queue is full"):
        client.dead_letters.replay()
