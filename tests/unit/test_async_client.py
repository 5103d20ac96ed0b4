"""The asynchronous client beside the blocking one: the same methods, and the same requests, retries and errors."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, get_type_hints

import httpx
import pytest

from inferq import errors
from inferq.client import AsyncClient, Client, MapProgress, mapping
from inferq.client.connection import LONGEST_PAUSE
from inferq.client.loop_runtime import LoopRuntime
from inferq.client.map_sources import BATCH
from inferq.client.runtime import ThreadRuntime
from shared.schemas.workers import Queue
from tests.unit.answers import complete, job
from tests.unit.toy_server import Answer, ToyRequest, ToyServer

Call = Callable[[Any], Any]
Ask = Callable[..., Any]
BUSY = {"code": "queue_full", "detail": "The queue is full."}


@pytest.fixture(params=[Client, AsyncClient])
def ask(request: pytest.FixtureRequest, server: ToyServer) -> Ask:
    """A function that calls a method of either client, and returns its answer, a list of those that it yields."""

    def blocking(call: Call, **settings: Any) -> Any:
        with Client(server.url, **settings) as client:
            answer = call(client)
            return [*answer] if hasattr(answer, "__iter__") and not isinstance(answer, list) else answer

    async def awaited(call: Call, **settings: Any) -> Any:
        async with AsyncClient(server.url, **settings) as client:
            answer = call(client)
            return [each async for each in answer] if hasattr(answer, "__aiter__") else await answer

    if request.param is Client:
        return blocking
    return lambda call, **settings: asyncio.run(awaited(call, **settings))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that either client has slept, which take no time."""
    seconds: list[float] = []

    async def sleep(self: object, wanted: float) -> None:
        seconds.append(wanted)

    monkeypatch.setattr(ThreadRuntime, "sleep", sleep)
    monkeypatch.setattr(LoopRuntime, "sleep", sleep)
    return seconds


def classifier(server: ToyServer) -> list[list[str]]:
    """Answer every job with a label for each of its pictures; returns the names of the pictures of each job."""
    jobs: list[list[str]] = []
    lock = threading.Lock()

    def submit(request: ToyRequest) -> Answer:
        names = [part.split('"')[0] for part in request.body.decode("latin-1").split('filename="')[1:]]
        if "bad" in names:
            return 400, {}, {"code": "not_a_picture", "detail": "It is no picture."}
        with lock:
            jobs.append(names)
            number = len(jobs)
        server.on(f"GET /v1/jobs/j{number}", (200, {}, ended(f"j{number}", names)))
        return 202, {}, job("QUEUED", progress={"total": len(names)}) | {"_id": f"j{number}"}

    server.on("POST /v1/jobs", submit)
    return jobs


def ended(job_id: str, names: list[str]) -> Any:
    predictions = [{"name": name, "results": [{"label": f"label of {name}", "score": 1.0}]} for name in names]
    counted = {"total": len(names), "done": len(names)}
    return job("DONE", progress=counted, predictions=predictions) | {"_id": job_id}


# the surface


def methods(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


def parts(kind: type) -> dict[str, type]:
    return {name: part for name, part in get_type_hints(kind).items() if part is not str}


def test_both_clients_have_the_same_resources_and_the_same_methods() -> None:
    blocking, other = parts(Client), parts(AsyncClient)
    assert list(blocking) == list(other)
    assert len(blocking) > 8
    for name in blocking:
        assert list(methods(blocking[name])) == list(methods(other[name])), name
    assert set(methods(mapping.Map)) == set(methods(mapping.AsyncMap))


@pytest.mark.parametrize("name", parts(Client))
def test_a_method_has_the_same_signature_and_the_same_words_in_both(name: str) -> None:
    blocking, other = methods(parts(Client)[name]), methods(parts(AsyncClient)[name])
    for method, function in blocking.items():
        here, there = inspect.signature(function), inspect.signature(other[method])
        assert here.parameters == there.parameters, method
        assert here.return_annotation == str(there.return_annotation).removeprefix("Async"), method
        assert inspect.getdoc(function) == inspect.getdoc(other[method])
        assert not inspect.iscoroutinefunction(function)
        assert not inspect.isasyncgenfunction(function)


def test_both_clients_are_made_alike() -> None:
    assert inspect.signature(Client.__init__).parameters == inspect.signature(AsyncClient.__init__).parameters


def test_the_blocking_client_can_be_used_where_an_event_loop_runs(server: ToyServer) -> None:
    async def notebook() -> str:
        with Client(server.url) as client:
            return [each.status for each in client.jobs.stream("j1")][-1]

    server.on("GET /v1/jobs/j1", (200, {}, job("DONE")))
    assert asyncio.run(notebook()) == "DONE"


def test_the_event_loop_is_free_while_the_asynchronous_client_waits(server: ToyServer) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def late(_request: ToyRequest) -> Answer:
        is_asked.set()
        assert may_answer.wait(20)
        return 200, {}, job("DONE")

    async def both() -> str:
        async with AsyncClient(server.url) as client:
            waiting = asyncio.create_task(client.jobs.get("j1"))
            assert await asyncio.to_thread(is_asked.wait, 20)
            may_answer.set()  # never, if the request held the loop
            return (await waiting).status

    server.on("GET /v1/jobs/j1", late)
    assert asyncio.run(both()) == "DONE"


# retries


@pytest.mark.parametrize(
    ("given", "seconds"), [("7", 7.0), ("0", 0.0), (timedelta(seconds=12), 12.0), (timedelta(seconds=-60), 0.0)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_submit_is_repeated_under_one_key_after_the_time_that_the_server_asks_for(
    server: ToyServer, ask: Ask, slept: list[float], status: int, given: str | timedelta, seconds: float
) -> None:
    def busy(_request: ToyRequest) -> Answer:
        now = datetime.now(UTC)
        after = given if isinstance(given, str) else format_datetime(now + given, usegmt=True)
        return status, {"Retry-After": after}, BUSY

    server.on("POST /v1/jobs", busy, (202, {}, job("QUEUED")))
    assert ask(lambda client: client.jobs.submit(b"x")).id == "j1"
    # The dates of the answer are in whole seconds, and it may be another one when the server writes its own.
    assert slept == [pytest.approx(seconds, abs=0 if isinstance(given, str) else 1)]
    first, second = (request.headers["idempotency-key"] for request in server.requests)
    assert first == second
    assert server.requests[0].body.count(b"x") == server.requests[1].body.count(b"x")


def test_each_submit_has_a_key_of_its_own_unless_one_is_given(server: ToyServer, ask: Ask) -> None:
    server.on("POST /v1/jobs", (202, {}, job("QUEUED")))
    for key in ("", "", "mine"):
        ask(lambda client, key=key: client.jobs.submit(b"x", idempotency_key=key))
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert (len({*keys}), keys[2]) == (3, "mine")


def test_a_classify_is_repeated_too(server: ToyServer, ask: Ask, slept: list[float]) -> None:
    server.on("POST /v1/classify", (503, {"Retry-After": "1"}, BUSY), (200, {}, job("DONE")))
    assert ask(lambda client: client.jobs.classify(b"x")).status == "DONE"
    assert slept == [1.0]


@pytest.mark.parametrize("given", [str(int(LONGEST_PAUSE) + 1), "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_a_server_that_asks_for_more_patience_than_a_caller_has_is_not_asked_again(
    server: ToyServer, ask: Ask, slept: list[float], given: str
) -> None:
    server.on("POST /v1/jobs", (429, {"Retry-After": given}, BUSY))
    with pytest.raises(errors.TooManyRequests) as caught:
        ask(lambda client: client.jobs.submit(b"x"))
    assert caught.value.retry_after
    assert caught.value.retry_after > LONGEST_PAUSE
    assert (len(server.requests), slept) == (1, [])


@pytest.mark.parametrize("retries", [0, 2])
def test_a_request_is_repeated_only_as_often_as_is_asked_for(
    server: ToyServer, ask: Ask, slept: list[float], retries: int
) -> None:
    server.on("GET /v1/queue", (503, {"Retry-After": "1"}, BUSY))
    with pytest.raises(errors.Unavailable):
        ask(lambda client: client.workers.queue(), retries=retries)
    assert (len(server.requests), slept) == (retries + 1, [1.0] * retries)


@pytest.mark.parametrize("given", ["soon", "", "nan", "inf"])
def test_a_busy_queue_that_says_no_time_is_told_to_the_caller(server: ToyServer, ask: Ask, given: str) -> None:
    server.on("GET /v1/queue", (429, {"Retry-After": given}, BUSY))
    with pytest.raises(errors.TooManyRequests) as caught:
        ask(lambda client: client.workers.queue())
    assert (caught.value.retry_after, len(server.requests)) == (None, 1)


def test_a_connection_that_breaks_off_is_repeated_but_only_to_a_server_that_was_there(
    server: ToyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[httpx.Response | Exception] = []

    async def request(self: ThreadRuntime, method: str, path: str, **rest: Any) -> httpx.Response:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(ThreadRuntime, "request", request)
    there = httpx.Response(200, json=complete(Queue, waiting=3))
    with Client(server.url) as client:
        outcomes[:] = [httpx.ReadError("reset"), there]
        with pytest.raises(errors.Unreachable):
            client.workers.queue()
        outcomes[:] = [there, httpx.ReadError("reset"), there]
        assert [client.workers.queue().waiting, client.workers.queue().waiting] == [3, 3]


def test_a_server_that_is_too_slow_is_an_error_of_its_own_and_not_asked_again(server: ToyServer, ask: Ask) -> None:
    is_over = threading.Event()

    def late(_request: ToyRequest) -> Answer:
        is_over.wait(20)
        return 200, {}, complete(Queue)

    server.on("GET /v1/queue", late)
    try:
        with pytest.raises(errors.TimedOut, match="does not answer in time"):
            ask(lambda client: client.workers.queue(), timeout=0.5)
        assert len(server.requests) == 1
    finally:
        is_over.set()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest), (401, errors.Unauthorized), (403, errors.Forbidden), (404, errors.NotFound),
        (409, errors.Conflict), (413, errors.BadRequest), (415, errors.BadRequest), (422, errors.BadRequest),
        (429, errors.TooManyRequests), (502, errors.Unavailable), (503, errors.Unavailable), (504, errors.Unavailable),
        (418, errors.InferqHTTPError), (500, errors.InferqHTTPError),
    ],
)  # fmt: skip
def test_an_error_has_the_class_of_its_status(
    server: ToyServer, ask: Ask, status: int, kind: type[errors.InferqHTTPError]
) -> None:
    server.on("GET /v1/queue", (status, {}, {"code": "no", "detail": "Why."}))
    with pytest.raises(kind, match="Why") as caught:
        ask(lambda client: client.workers.queue(), retries=0)
    assert (type(caught.value), caught.value.status) == (kind, status)


# map


def test_thousands_of_a_generator_are_answered_in_its_order(server: ToyServer, ask: Ask) -> None:
    jobs, told = classifier(server), list[MapProgress]()
    names = [f"{number}.jpg" for number in range(10 * BATCH)]
    answers = ask(lambda client: client.jobs.map(((name, b"x") for name in names), progress=told.append))
    assert [each.prediction.results[0].label for each in answers] == [f"label of {name}" for name in names]
    assert [each.index for each in answers] == [*range(len(names))]
    assert len(jobs) == 10
    assert (told[-1].ended, told[-1].total, told[-1].failed) == (len(names), len(names), 0)
    assert len(told) == 10


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(("bad", b"x"), "no picture"), (7, "must be a path"), ("/nowhere/a.jpg", "cannot be read: No such file")],
    ids=["refused", "no picture", "absent"],
)
def test_a_picture_that_cannot_be_used_does_not_end_the_others(
    server: ToyServer, ask: Ask, bad: Any, reason: str
) -> None:
    classifier(server)
    first, wrong, last = ask(lambda client: client.jobs.map(iter([("a", b"x"), bad, ("c", b"x")])))
    assert [first.prediction.results[0].label, last.prediction.results[0].label] == ["label of a", "label of c"]
    assert reason in wrong.prediction.error.message


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_jobs_run_at_once_and_a_generator_is_read_only_a_few_jobs_ahead(
    server: ToyServer, ask: Ask, concurrency: int
) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x"

    server.on("POST /v1/jobs", lambda request: (202, {}, job("QUEUED", progress={"total": BATCH})))
    server.on("GET /v1/jobs/j1", (200, {}, job("RUNNING")))
    with pytest.raises(errors.StillRunning):
        ask(lambda client: client.jobs.map(endless(), concurrency=concurrency, timeout=0.4))
    assert sum(request.method == "POST" for request in server.requests) <= concurrency
    assert BATCH < taken <= (mapping.AHEAD * concurrency + 1) * BATCH + 1


def test_a_map_without_concurrency_is_refused(server: ToyServer, ask: Ask) -> None:
    with pytest.raises(errors.InferqError, match="concurrency is 0; at least one job must run"):
        ask(lambda client: client.jobs.map([b"x"], concurrency=0))


@pytest.mark.parametrize("one", ["duck.jpg", b"quack"])
def test_a_single_picture_is_no_map(server: ToyServer, ask: Ask, one: Any) -> None:
    with pytest.raises(errors.InferqError, match="a map takes several pictures"):
        ask(lambda client: client.jobs.map(one))
    assert server.requests == []


def test_a_map_that_is_left_early_waits_for_nothing(server: ToyServer) -> None:
    async def first() -> str:
        async with AsyncClient(server.url) as client:
            batches = client.jobs.map([b"x"] * BATCH + ["https://example.org/never.jpg"]).batches()
            batch = await anext(batches)
            await batches.aclose()
            assert len(asyncio.all_tasks()) == 1
            return str(batch[0].job and batch[0].job.id)

    done = ended("j1", [f"picture-{number}" for number in range(1, BATCH + 1)])
    server.on("GET /v1/jobs/j1", (200, {}, done))
    server.on("GET /v1/jobs/j2", (200, {}, job("RUNNING") | {"_id": "j2"}))
    server.on(
        "POST /v1/jobs",
        lambda request: (202, {}, job("QUEUED") | {"_id": "j2" if b"never.jpg" in request.body else "j1"}),
    )
    assert asyncio.run(first()) == "j1"


def test_a_map_is_patient_where_a_submit_gives_up(server: ToyServer, ask: Ask) -> None:
    busy: Answer = (429, {"Retry-After": "0"}, BUSY)
    server.on("POST /v1/jobs", *[busy] * 8, (202, {}, job("QUEUED", progress={"total": 1})))
    server.on("GET /v1/jobs/j1", (200, {}, ended("j1", ["a"])))
    (answered,) = ask(lambda client: client.jobs.map([("a", b"x")]))
    assert answered.prediction.results[0].label == "label of a"
    assert len({request.headers["idempotency-key"] for request in server.requests if request.method == "POST"}) == 1


def test_urls_and_files_are_sent_in_jobs_of_their_own(server: ToyServer, ask: Ask) -> None:
    bodies: list[Any] = []

    def submit(request: ToyRequest) -> Answer:
        is_json = request.headers["content-type"] == "application/json"
        bodies.append(json.loads(request.body)["inputs"] if is_json else "form")
        return 202, {}, job("QUEUED", progress={"total": 1})

    server.on("POST /v1/jobs", submit)
    server.on("GET /v1/jobs/j1", (200, {}, ended("j1", ["a"])))
    assert len(ask(lambda client: client.jobs.map([b"x", "https://example.org/a.jpg"], concurrency=1))) == 2
    assert bodies == ["form", [{"url": "https://example.org/a.jpg"}]]
