"""Webhooks in the Python client and on the command line, and the check of a callback by its receiver."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from click.testing import Result

from inferq.client import Client, is_genuine
from shared.domain import webhooks
from shared.schemas.webhooks import Delivery, DeliveryPage, NewWebhookSecret, PingResult
from tests.unit.answers import complete
from tests.unit.toy_server import ToyServer

FAILED = complete(
    Delivery, id="j1", kind="job", status="FAILED", url="https://a.org/hook", attempts=7, response_status=500,
    error="answered 500", last_attempt_at="2026-01-02T03:04:05Z", body_sha256="ab" * 32, next_attempt_at=None,
    delivered_at=None,
)  # fmt: skip


# the check of a receiver

BODY = b'{"type":"job.done"}'


def signed(*secrets: str, at: float | None = None) -> dict[str, str]:
    now = int(time.time() if at is None else at)
    signatures = webhooks.signatures(secrets, "01a1", now, BODY)
    return {"webhook-id": "01a1", "webhook-timestamp": str(now), "webhook-signature": signatures}


@pytest.mark.parametrize("secret", ["plain words", "whsec_c2VjcmV0IGJ5dGVz"])
def test_what_is_signed_is_genuine_and_nothing_else(secret: str) -> None:
    headers = signed(secret)
    assert is_genuine(secret, headers, BODY)
    assert is_genuine(secret, {name.title(): value for name, value in headers.items()}, BODY)
    assert not is_genuine(secret, headers, BODY + b" ")
    assert not is_genuine(secret, headers | {"webhook-id": "01a2"}, BODY)
    assert not is_genuine("whsec_b3RoZXI=", headers, BODY)
    assert not is_genuine([], headers, BODY)


def test_any_secret_of_the_receiver_and_any_signature_of_the_callback_will_do() -> None:
    assert is_genuine("old", signed("new", "old"), BODY)
    assert is_genuine("new", signed("new", "old"), BODY)
    assert is_genuine(["new", "old"], signed("old"), BODY)
    assert not is_genuine(["new", "old"], signed("older", "oldest"), BODY)


@pytest.mark.parametrize("off", [-310, 310])
def test_a_callback_that_is_too_old_or_from_the_future_is_not_genuine(off: int) -> None:
    headers = signed("s", at=time.time() + off)
    assert not is_genuine("s", headers, BODY)
    assert is_genuine("s", headers, BODY, tolerance=400)


@pytest.mark.parametrize(
    "changed",
    [{"webhook-timestamp": ""}, {"webhook-timestamp": "soon"}, {"webhook-timestamp": "²"}, {"webhook-signature": ""},
     {"webhook-signature": "v1,"}, {"webhook-signature": "\udcff v1,é"}, {"webhook-id": "\udcff"}],
)  # fmt: skip
def test_headers_that_make_no_sense_are_not_genuine(changed: dict[str, str]) -> None:
    assert not is_genuine("s", signed("s") | changed, BODY)
    assert not is_genuine("s", {}, BODY)


# client and command


def test_deliveries_are_listed_with_their_filters(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/webhooks/deliveries", (200, {}, complete(DeliveryPage, deliveries=[FAILED], next=None)))
    result = run("webhooks", "list", "--status", "failed", "--kind", "job", "--job", "j1")
    assert [word for word in ("j1", "FAILED", "500", "https://a.org/hook") if word not in result.stdout] == []
    assert server.requests[0].path == "/v1/webhooks/deliveries?status=FAILED&kind=job&job_id=j1&limit=20"
    assert json.loads(run("webhooks", "list", "--json").stdout) == [FAILED]


def test_a_list_without_webhooks_says_so(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/webhooks/deliveries", (200, {}, complete(DeliveryPage, next=None)))
    assert run("webhooks", "list").stderr == "no webhooks\n"


def test_a_delivery_is_shown_and_resent(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/webhooks/deliveries/j1", (200, {}, FAILED))
    server.on("POST /v1/webhooks/deliveries/j1/resend", (202, {}, FAILED | {"status": "WAITING", "attempts": 0}))
    shown = run("webhooks", "show", "j1").stdout
    assert [word for word in ("j1", "FAILED", "7", "answered 500", "ab" * 32) if word not in shown] == []
    assert "next attempt" not in shown
    assert run("webhooks", "resend", "j1").stderr == "j1 is sent again to https://a.org/hook\n"
    with Client(server.url) as client:
        assert client.webhooks.get("j1").error == "answered 500"
        assert client.webhooks.resend("j1").attempts == 0


def test_all_failed_are_resent_with_as_many_calls_as_that_takes(server: ToyServer, run: Callable[..., Result]) -> None:
    path = "/v1/webhooks/deliveries/resend"
    server.on(f"POST {path}", (200, {}, {"deliveries": 1200, "next": "j7"}), (200, {}, {"deliveries": 1, "next": None}))
    assert run("webhooks", "resend", "--failed", "--kind", "job").stderr == "1,201 failed webhooks sent again\n"
    bodies = [json.loads(request.body) for request in server.requests]
    assert bodies == [{"kind": "job", "cursor": ""}, {"kind": "job", "cursor": "j7"}]


@pytest.mark.parametrize("words", [(), ("j1", "--failed"), ("j1", "--kind", "job"), ("--kind", "job")])
def test_a_resend_of_one_or_all_must_be_clear(
    server: ToyServer, run: Callable[..., Result], words: tuple[str, ...]
) -> None:
    assert run("webhooks", "resend", *words).exit_code == 2
    assert not server.requests


@pytest.mark.parametrize(
    ("result", "printed", "exit_code"),
    [
        ({"received": True, "response_status": 204, "signatures": 2}, "answered 204 after 12 ms (2 signatures)\n", 0),
        ({"received": False, "response_status": 500, "error": "answered 500", "signatures": 1},
         "answered 500 after 12 ms (1 signature)\n", 1),
        ({"received": False, "response_status": None, "error": "The host is not there"},
         "The host is not there after 12 ms (unsigned)\n", 1),
    ],
)  # fmt: skip
def test_a_ping_prints_what_came_back(
    server: ToyServer, run: Callable[..., Result], result: dict[str, object], printed: str, exit_code: int
) -> None:
    server.on("POST /v1/webhooks/ping", (200, {}, complete(PingResult, milliseconds=12, **result)))
    ran = run("webhooks", "ping", "https://a.org/hook", "--secret", "s")
    assert (ran.stdout, ran.exit_code) == (printed, exit_code)
    assert json.loads(server.requests[0].body) == {"url": "https://a.org/hook", "secret": "s"}


def test_a_ping_that_is_refused_is_an_error(server: ToyServer, run: Callable[..., Result]) -> None:
    problem = {"title": "…", "code": "bad_option", "detail": "The host 'x' is not on the public internet"}
    server.on("POST /v1/webhooks/ping", (400, {}, problem))
    ran = run("webhooks", "ping", "http://x/")
    assert (ran.stderr, ran.exit_code) == ("inferq: The host 'x' is not on the public internet\n", 1)


def test_a_new_secret_is_all_that_goes_to_stdout(server: ToyServer, run: Callable[..., Result]) -> None:
    made = complete(NewWebhookSecret, secret="whsec_new", previous_until="2026-01-02T03:04:05Z")
    server.on("POST /v1/webhooks/secret/rotate", (201, {}, made), (201, {}, made | {"previous_until": None}))
    ran = run("webhooks", "rotate", "--overlap", "60")
    assert ran.stdout == "whsec_new\n"
    assert "The secret before it signs as well until" in ran.stderr
    assert json.loads(server.requests[0].body) == {"overlap": 60}
    assert "before it" not in run("webhooks", "rotate").stderr
