"""Routes that wait hold no thread, under the server and any other; the request goes on as if it had not waited."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import httpx
import pytest
from flask import after_this_request, g, request

from api.coroutine_routes import Flask
from shared import errors
from shared.adapters.pauses import Pause
from tests.unit.test_http_server import serving

WAITING = 20


class Gate(Pause):
    """A pause that ends when the test says so."""

    def __init__(self) -> None:
        self._resumes: list[Callable[[], None]] = []
        self.began = threading.Semaphore(0)

    def start(self, resume: Callable[[], None]) -> None:
        self._resumes.append(resume)
        self.began.release()

    def open(self) -> None:
        """Resume all that wait, in this thread."""
        resumes, self._resumes = self._resumes, []
        for resume in resumes:
            resume()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def app(gate: Gate) -> Flask:
    app = Flask("waiting")

    @app.before_request
    def _begin() -> None:
        g.seen = request.args.get("name", "")

    @app.after_request
    def _count(response: flask.Response) -> flask.Response:
        response.headers["X-After"] = response.headers.get("X-After", "") + g.seen
        return response

    @app.get("/wait")
    async def wait() -> str:
        @after_this_request
        def _header(response: flask.Response) -> flask.Response:
            response.headers["X-This"] = "kept"
            return response

        await gate
        await gate
        return f"{request.args['name']} {g.seen}"

    @app.get("/fail")
    async def fail() -> str:
        await gate
        raise errors.NotFound("gone meanwhile")

    @app.get("/quick")
    def quick() -> str:
        return "quick"

    @app.errorhandler(errors.NotFound)
    def _not_found(error: errors.NotFound) -> tuple[str, int]:
        return f"{g.seen}: {error.message}", 404

    return app


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with serving(app, threads=1) as address:
        yield f"http://{address}"


def wait_for(gate: Gate, number: int) -> None:
    for _ in range(number):
        assert gate.began.acquire(timeout=10)


def test_requests_that_wait_hold_no_thread(address: str, gate: Gate) -> None:
    with ThreadPoolExecutor(WAITING) as clients:
        answers = [clients.submit(httpx.get, f"{address}/wait?name={number}") for number in range(WAITING)]
        wait_for(gate, WAITING)
        assert httpx.get(f"{address}/quick").text == "quick"  # there is one thread
        gate.open()
        wait_for(gate, WAITING)
        gate.open()
        assert [answer.result().text for answer in answers] == [f"{number} {number}" for number in range(WAITING)]


def test_what_was_set_before_the_wait_is_there_after_it_and_happens_once(address: str, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(httpx.get, f"{address}/wait?name=anna")
        for _ in range(2):
            wait_for(gate, 1)
            gate.open()
        assert answer.result().headers["X-After"] == "anna"
        assert answer.result().headers["X-This"] == "kept"


def test_an_error_after_the_wait_is_answered_as_one_before_it(address: str, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(httpx.get, f"{address}/fail?name=bert")
        wait_for(gate, 1)
        gate.open()
        assert (answer.result().status_code, answer.result().text) == (404, "bert: gone meanwhile")
        assert answer.result().headers["X-After"] == "bert"


def test_under_another_server_the_thread_waits(app: Flask, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(lambda: app.test_client().get("/wait?name=cleo"))
        for _ in range(2):
            wait_for(gate, 1)
            gate.open()
        assert answer.result().text == "cleo cleo"


def test_an_answer_that_comes_before_the_thread_has_let_go_is_given(app: Flask, gate: Gate) -> None:
    gate.start = lambda resume: resume()  # type: ignore[method-assign]  # at once, in the thread of the request
    with serving(app, threads=1) as address:
        assert httpx.get(f"http://{address}/wait?name=dora").text == "dora dora"
