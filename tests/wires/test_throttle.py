"""Rate limits on every wire: headers with what is left, and refusals in the words of the wire."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import __main__, setup
from api.application import create_app
from api.dialects import native
from shared.adapters.rate_limits import RateLimits
from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT, SCOPES, Caller
from shared.services import keys

NATIVE = "/v1/models"
SAP_V1, SAP_V2 = "/jobs/unknown", "/api/v2/image/classification/jobs/unknown"


def limited(container: Container, **rates: str) -> FlaskClient:
    """The app with these rules, such as `native_rate="3/minute"`."""
    return create_app(replace(container, settings=container.settings.changed(**rates))).test_client()


def key_of(container: Container, tenant: str = DEFAULT_TENANT, stage: str = "live") -> dict[str, str]:
    """Return the header of a new key."""
    _, text = keys.create(container, Caller(DEFAULT_TENANT, SCOPES), tenant=tenant, scopes=SCOPES, stage=stage)
    return {"Authorization": f"Bearer {text}"}


def last_of(client: FlaskClient, path: str, count: int) -> TestResponse:
    """Return the answer to the last of so many requests."""
    for _ in range(count):
        answer = client.get(path)
    return answer


def test_every_answer_of_a_limited_wire_says_what_is_left(container: Container) -> None:
    client = limited(container, native_rate="3/minute")
    for left in (2, 1, 0):
        answer = client.get(NATIVE)
        assert answer.status_code == 200
        assert answer.headers["RateLimit"].startswith(f'"api";r={left};t=')
        assert 0 < int(answer.headers["RateLimit"].rpartition("t=")[2]) <= 60
        assert answer.headers["RateLimit-Policy"] == '"fixed window";"api";q=3;w=60'


def test_a_request_that_fails_counts_and_shows_what_is_left_too(container: Container) -> None:
    answer = limited(container, native_rate="3/minute").get("/v1/jobs/unknown")
    assert answer.status_code == 404
    assert answer.headers["RateLimit"].startswith('"api";r=2;')


@pytest.mark.parametrize("path", [NATIVE, SAP_V1, SAP_V2])
def test_one_request_too_many_is_refused_with_a_time_to_come_back(path: str, container: Container) -> None:
    answer = last_of(limited(container, native_rate="2/minute", sap_rate="2/minute"), path, 3)
    assert answer.status_code == 429
    left, seconds = answer.headers["RateLimit"].removeprefix('"api";').split(";")
    assert left == "r=0"
    assert seconds == f"t={answer.headers['Retry-After']}"
    assert answer.headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=60'


def test_the_native_wire_refuses_with_a_problem_document(container: Container) -> None:
    answer = last_of(limited(container, native_rate="1/minute"), NATIVE, 2)
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert (answer.json["status"], answer.json["code"]) == (429, "too_many_requests")
    assert answer.headers["Retry-After"] in answer.json["detail"]


@pytest.mark.parametrize("path", [SAP_V1, SAP_V2])
def test_the_sap_wire_refuses_as_its_gateway_does(path: str, container: Container) -> None:
    answer = last_of(limited(container, sap_rate="1/minute"), path, 2)
    assert answer.json is not None
    assert set(answer.json) == {"fault"}
    assert answer.headers["Retry-After"] in answer.json["fault"]["faultstring"]


def test_two_tenants_do_not_share_a_window(container: Container) -> None:
    client = limited(container, native_rate="1/minute")
    anna, bert = key_of(container), key_of(container, "bert")
    assert [client.get(NATIVE, headers=key).status_code for key in (anna, anna, bert)] == [200, 429, 200]


def test_two_keys_of_one_tenant_share_a_window(container: Container) -> None:
    client = limited(container, native_rate="1/minute")
    first, other = key_of(container), key_of(container)
    assert [client.get(NATIVE, headers=key).status_code for key in (first, other)] == [200, 429]


def test_two_wires_do_not_share_a_window(container: Container) -> None:
    client = limited(container, native_rate="1/minute", sap_rate="1/minute")
    assert [client.get(path).status_code for path in (NATIVE, NATIVE, SAP_V1, SAP_V2)] == [200, 429, 404, 429]


def test_the_stages_test_and_live_do_not_share_a_window(container: Container) -> None:
    client = limited(container, native_rate="1/minute")
    live, test = key_of(container, stage="live"), key_of(container, stage="test")
    assert [client.get(NATIVE, headers=key).status_code for key in (live, live, test)] == [200, 429, 200]


def test_a_wire_without_a_rule_has_neither_limit_nor_headers(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = limited(container, native_rate="1/minute", sap_rate="")
    assert not _headers(last_of(client, SAP_V1, 3))
    monkeypatch.delattr(native, "allowance")
    assert not _headers(last_of(client, NATIVE, 3))


def test_what_is_public_is_not_counted(container: Container) -> None:
    client = limited(container, native_rate="1/minute")
    answer = last_of(client, "/healthz", 3)
    assert answer.status_code == 200
    assert not _headers(answer)
    assert client.get(NATIVE).status_code == 200


def test_a_request_without_a_valid_key_uses_up_no_tenants_requests(container: Container) -> None:
    client = limited(container, native_rate="1/minute")
    key = key_of(container)
    refused = client.get(NATIVE, headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401
    assert not _headers(refused)
    assert client.get(NATIVE, headers=key).status_code == 200


@pytest.mark.redis
def test_two_api_processes_share_one_window(container: Container, valkey: str) -> None:
    settings = container.settings.changed(
        redis_url=valkey, prefix=f"test-{uuid.uuid4().hex[:8]}:", native_rate="2/minute"
    )
    first, other = (
        create_app(replace(container, settings=settings, rate_limits=RateLimits(settings))).test_client()
        for _ in range(2)
    )
    assert [client.get(NATIVE).status_code for client in (first, other, first, other)] == [200, 200, 429, 429]


def test_without_redis_requests_go_through(container: Container) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed_port = f"redis://127.0.0.1:{free.getsockname()[1]}/0"
    settings = container.settings.changed(redis_url=closed_port, native_rate="1/minute")
    client = create_app(replace(container, settings=settings, rate_limits=RateLimits(settings))).test_client()
    answer = last_of(client, NATIVE, 3)
    assert answer.status_code == 200
    assert not _headers(answer)


@pytest.mark.parametrize("start", [setup.main, __main__.main])
def test_a_rule_that_is_none_stops_the_start_with_one_line(
    start: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERQ_DATA", str(tmp_path))
    monkeypatch.setenv("INFERQ_SAP_RATE", "many")
    assert start() == 2
    error = capsys.readouterr().err
    assert error.startswith("inferq: INFERQ_SAP_RATE must be a rule")
    assert error.count("\n") == 1


def _headers(answer: TestResponse) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("RateLimit")]
