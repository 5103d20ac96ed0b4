"""load_shedding.py: what is refused for overload is refused again at once, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.load_shedding import HOLDS_FOR, MOST, LoadShedding, Refusal
from tests.unit.test_http_server import serving

SENT: dict[str, Any] = {
    "method": "POST", "url": "/v1/classify?model=cats", "headers": {"Content-Type": "image/png", "X-Key": "anna"},
}  # fmt: skip


class Application:
    """Refuses all requests, each with its number, for longer than a test lasts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.calls += 1
        environ["wsgi.input"].read()
        environ[HOLDS_FOR] = 600.0
        start_response("503 Service Unavailable", [("Retry-After", "7"), ("Content-Length", "1")])
        return [str(self.calls).encode()]


def test_a_refusal_is_given_again_to_requests_that_differ_in_their_body_only() -> None:
    application = Application()
    with serving(application) as address, httpx.Client(base_url=f"http://{address}") as client:
        answers = [client.request(**SENT, content=body) for body in (b"a picture", b"another", b"x" * 100_000)]
    assert application.calls == 1
    assert {(answer.status_code, answer.headers["Retry-After"], answer.text) for answer in answers} == {(503, "7", "1")}


@pytest.mark.parametrize("other", [
    {"method": "PUT"},
    {"url": "/v1/classify?model=dogs"},
    {"url": "/v1/jobs?model=cats"},
    {"headers": {"Content-Type": "image/png", "X-Key": "bert"}},
    {"headers": {"Content-Type": "image/png", "X-Key": "anna", "Prefer": "wait=9"}},
])  # fmt: skip
def test_any_other_request_is_looked_at(other: dict[str, Any]) -> None:
    application = Application()
    with serving(application) as address, httpx.Client(base_url=f"http://{address}") as client:
        client.request(**SENT, content=b"a picture")
        assert client.request(**SENT | other, content=b"a picture").text == "2"


class Scope:
    """A request as granian describes it."""

    method, path, query_string, client = "POST", "/", "", "127.0.0.1:5000"

    def __init__(self, key: str = "") -> None:
        self.headers = {"x-key": key}


def test_a_refusal_holds_no_longer_than_was_said_and_few_are_kept() -> None:
    now = 100.0
    shedding: Any = LoadShedding(lambda: now)
    refusal = Refusal(503, [], b"")
    for number in range(MOST + 5):
        shedding.keep(Scope(str(number)), refusal, 0.05)
    assert shedding.find(Scope("0")).status == shedding.find(Scope(str(MOST - 1))).status == 503
    assert shedding.find(Scope(str(MOST))) is None
    now += 0.06
    assert shedding.find(Scope("0")) is None
    shedding.keep(Scope("new"), refusal, 0.05)
    assert shedding.find(Scope("new")).status == 503


def test_each_request_that_is_refused_again_has_its_own_id() -> None:
    application = Application()
    with serving(application) as address, httpx.Client(base_url=f"http://{address}") as client:
        answers = [
            client.request(**SENT | {"headers": SENT["headers"] | about}, content=b"a picture")
            for about in ({}, {"X-Request-Id": "two"}, {"X-Request-Id": "not well-formed"}, {"traceparent": "x"})
        ]
    assert application.calls == 1
    ids = [answer.headers.get_list("X-Request-Id") for answer in answers[1:]]
    assert ids[0] == ["two"]
    assert [len(found[0]) for found in ids[1:]] == [16, 16]
