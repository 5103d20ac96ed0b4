"""`/v1/webhooks`: the ledger of deliveries, resending, pings and the rotation of secrets, as a caller sees them."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from typing import Any

import pytest
import uuid6
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from inferq.client import is_genuine
from shared.container import Container
from shared.domain.jobs import AnswerOptions, Job, Status
from shared.domain.trainings import Training, TrainingParameters
from shared.services import webhook_deliveries
from tests import apps
from tests.webhook_receivers import deliver, receiving
from tests.wires.described import described_client


@pytest.fixture
def open_container(container: Container) -> Container:
    """The container, with receivers on this machine allowed."""
    return replace(container, settings=container.settings.changed(webhook_private=True))


@pytest.fixture
def client(open_container: Container) -> FlaskClient:
    return described_client(open_container)


def ended_job(container: Container, url: str, tenant: str = "default") -> str:
    job = Job(
        str(uuid6.uuid7()), tenant, "native", Status.QUEUED, "digits", "1", "v", AnswerOptions(), "normal", time.time(),
        1, webhook=url,
    )  # fmt: skip
    with container.database.write() as uow:
        uow.jobs.add([(job, [])])
        uow.jobs.end([job.id], Status.CANCELLED, time.time())
    return job.id


def ended_training(container: Container, url: str) -> str:
    training = Training(
        str(uuid6.uuid7()), "default", "native", "birds", "birds", Status.FAILED, 1, 1, "scratch", "",
        TrainingParameters(), time.time(), time.time(), finished_at=time.time(), webhook=url,
    )  # fmt: skip
    with container.database.write() as uow:
        uow.trainings.add(training)
    return training.id


def refused(answer: TestResponse, status: int, code: str) -> str:
    assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), answer.text
    return str(answer.json["detail"])


def listed(client: FlaskClient, **query: Any) -> list[str]:
    return [each["id"] for each in client.get("/v1/webhooks/deliveries", query_string=query).json["deliveries"]]


# the ledger


def test_a_delivery_says_how_its_last_attempt_ended(client: FlaskClient, open_container: Container) -> None:
    with receiving(503) as hook:
        job_id = ended_job(open_container, hook.url)
        before = client.get(f"/v1/webhooks/deliveries/{job_id}").get_json()
        deliver(open_container)
    after = client.get(f"/v1/webhooks/deliveries/{job_id}").get_json()
    nothing_yet = {"status": "WAITING", "attempts": 0, "last_attempt_at": None, "response_status": None, "error": ""}
    assert before == before | nothing_yet | {"id": job_id, "kind": "job", "url": hook.url, "body_sha256": ""}
    assert after == after | {"status": "WAITING", "attempts": 1, "response_status": 503, "error": "answered 503"}
    assert after["next_attempt_at"] > after["last_attempt_at"] >= before["next_attempt_at"]
    assert len(after["body_sha256"]) == 64
    assert "secret" not in after


def test_deliveries_are_listed_by_status_kind_job_and_training(client: FlaskClient, open_container: Container) -> None:
    with receiving() as good, receiving(410) as gone:
        delivered, failed = ended_job(open_container, good.url), ended_job(open_container, gone.url)
        deliver(open_container)
    waiting = ended_training(open_container, "http://127.0.0.1:9/")
    foreign = ended_job(open_container, "http://127.0.0.1:9/", tenant="bert")
    assert listed(client) == [waiting, failed, delivered]
    assert listed(client, status="waiting") == [waiting]
    assert listed(client, status="DELIVERED") == [delivered]
    assert listed(client, status="FAILED") == [failed]
    assert listed(client, kind="job") == [failed, delivered]
    assert listed(client, kind="training") == [waiting]
    assert listed(client, job_id=failed) == [failed]
    assert listed(client, training_id=waiting) == [waiting]
    assert listed(client, job_id=waiting) == listed(client, job_id=foreign) == []
    refused(client.get("/v1/webhooks/deliveries?status=lost"), 400, "bad_option")
    assert "job_id" in refused(client.get("/v1/webhooks/deliveries?job=1"), 400, "bad_option")


def test_deliveries_come_in_pages(client: FlaskClient, open_container: Container) -> None:
    ids = [ended_job(open_container, "http://127.0.0.1:9/") for _ in range(5)]
    pages: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = client.get("/v1/webhooks/deliveries", query_string={"limit": 2, "cursor": cursor}).get_json()
        pages.append([each["id"] for each in answer["deliveries"]])
        cursor = answer["next"]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


def test_a_delivery_is_resent(client: FlaskClient, open_container: Container) -> None:
    with receiving(410) as hook:
        job_id = ended_job(open_container, hook.url)
        deliver(open_container)
        hook.status = 200
        answer = client.post(f"/v1/webhooks/deliveries/{job_id}/resend")
        assert (answer.status_code, answer.json["status"], answer.json["attempts"]) == (202, "WAITING", 0)
        deliver(open_container)
    (first, body), (second, same_body) = hook.calls
    assert (first["webhook-id"], body) == (second["webhook-id"], same_body)
    assert client.get(f"/v1/webhooks/deliveries/{job_id}").json["status"] == "DELIVERED"


def test_all_failed_deliveries_of_a_kind_are_resent_by_one_call_and_none_of_another_tenant(
    client: FlaskClient, open_container: Container
) -> None:
    path = "/v1/webhooks/deliveries/resend"
    with receiving() as good, receiving(410) as gone:
        delivered = ended_job(open_container, good.url)
        failed = [ended_job(open_container, gone.url) for _ in range(3)]
        training = ended_training(open_container, gone.url)
        foreign = ended_job(open_container, gone.url, tenant="bert")
        deliver(open_container)
    waiting = ended_job(open_container, "http://127.0.0.1:9/")
    answer = client.post(path, json={"kind": "job"})
    assert (answer.status_code, answer.json) == (200, {"deliveries": 3, "next": None})
    assert listed(client, status="WAITING") == [waiting, *reversed(failed)]
    assert listed(client, status="FAILED") == [training]
    assert client.post(path).json["deliveries"] == 1  # without a body all kinds
    assert client.post(path).json["deliveries"] == 0
    assert listed(client, status="DELIVERED") == [delivered]
    with open_container.database.read() as uow:
        assert [each.id for each in uow.webhook_deliveries.page("bert", status="FAILED")] == [foreign]
    refused(client.post(path, json={"kind": "all"}), 400, "bad_option")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/webhooks/deliveries/resend", "/v1/dead-letters/replay", "/v1/jobs/1/results/link",
        "/v1/models/digits/versions/1/export/link",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_a_body_that_is_no_json_is_refused_where_a_body_may_be_left_out(
    client: FlaskClient, path: str, kind: str
) -> None:
    refused(client.post(path, data=b"kind=training", content_type=kind), 400, "bad_json")


def test_a_resend_that_takes_too_long_goes_on_at_its_cursor(
    client: FlaskClient, open_container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_deliveries, "PAGE", 2)
    monkeypatch.setattr(webhook_deliveries, "BUDGET", -1.0)
    with receiving(410) as gone:
        for _ in range(3):
            ended_job(open_container, gone.url)
        deliver(open_container)
        answers = [client.post("/v1/webhooks/deliveries/resend", json={}).json]
        deliver(open_container)  # they fail at once again
    while answers[-1]["next"]:
        body = {"cursor": answers[-1]["next"]}
        answers.append(client.post("/v1/webhooks/deliveries/resend", json=body).json)
    assert [each["deliveries"] for each in answers if each["deliveries"]] == [2, 1]
    assert len(listed(client, status="FAILED")) == 2


def test_a_delivery_of_another_tenant_does_not_exist(client: FlaskClient, open_container: Container) -> None:
    foreign = ended_job(open_container, "http://127.0.0.1:9/", tenant="bert")
    for answer in (
        client.get(f"/v1/webhooks/deliveries/{foreign}"),
        client.post(f"/v1/webhooks/deliveries/{foreign}/resend"),
    ):
        assert f"There is no delivery {foreign}." in refused(answer, 404, "not_found")


# pings


def test_a_ping_tells_what_came_back(client: FlaskClient) -> None:
    with receiving(204) as hook:
        result = client.post("/v1/webhooks/ping", json={"url": hook.url, "secret": "whsec_c2VjcmV0"}).get_json()
        hook.status = 500
        failed = client.post("/v1/webhooks/ping", json={"url": hook.url}).get_json()
    assert result == result | {"received": True, "response_status": 204, "error": "", "signatures": 1}
    assert result["milliseconds"] >= 0
    assert failed == failed | {
        "received": False, "response_status": 500, "error": "answered 500", "signatures": 0,
    }  # fmt: skip
    headers, body = hook.calls[0]
    assert is_genuine("whsec_c2VjcmV0", headers, body)
    assert headers["webhook-id"].startswith("ping_")
    assert b'"type":"webhook.ping"' in body


def test_a_ping_to_a_receiver_that_is_not_there_says_so(client: FlaskClient) -> None:
    with receiving() as gone:
        url = gone.url
    result = client.post("/v1/webhooks/ping", json={"url": url}).json
    assert (result["received"], result["response_status"]) == (False, None)
    assert result["error"].startswith("The host behind the URL cannot be reached properly")


@pytest.mark.parametrize("path", ["/hook", "/"])
def test_a_ping_to_a_private_address_is_refused_and_not_sent(container: Container, path: str) -> None:
    with receiving() as hook:
        url = f"http://127.0.0.1:{hook.server_port}{path}"
        answer = apps.over(container).test_client().post("/v1/webhooks/ping", json={"url": url})
    assert "not on the public internet" in refused(answer, 400, "bad_option")
    assert hook.calls == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"url": ""},
        {"url": "ftp://a.org/"},
        {"url": "http://127.0.0.1/", "secret": "whsec_x"},
        {"uri": "http://127.0.0.1/"},
    ],
)
def test_a_ping_that_cannot_be_sent_is_refused(client: FlaskClient, fields: dict[str, Any]) -> None:
    refused(client.post("/v1/webhooks/ping", json=fields), 400, "bad_option")


# secrets


def test_a_rotation_shows_the_new_secret_once_and_both_sign(client: FlaskClient) -> None:
    first = client.post("/v1/webhooks/secret/rotate", json={})
    assert (first.status_code, first.json["previous_until"]) == (201, None)
    second = client.post("/v1/webhooks/secret/rotate", json={"overlap": 60}).json
    assert second["previous_until"] > second["created_at"]
    assert len(base64.b64decode(second["secret"].removeprefix("whsec_"))) == 32
    with receiving() as hook:
        assert client.post("/v1/webhooks/ping", json={"url": hook.url}).json["signatures"] == 2
    headers, body = hook.calls[0]
    assert is_genuine(first.json["secret"], headers, body)
    assert is_genuine(second["secret"], headers, body)
    assert "overlap 0" in refused(client.post("/v1/webhooks/secret/rotate", json={}), 409, "conflict")
    assert client.post("/v1/webhooks/secret/rotate", json={"overlap": 0}).json["previous_until"] is None


@pytest.mark.parametrize("overlap", [-1, 3e6, "long"])
def test_a_rotation_with_a_strange_overlap_is_refused(client: FlaskClient, overlap: Any) -> None:
    assert "overlap" in refused(client.post("/v1/webhooks/secret/rotate", json={"overlap": overlap}), 400, "bad_option")


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("models", "GET", "/v1/webhooks/deliveries"),
        ("models", "GET", "/v1/webhooks/deliveries/1"),
        ("models", "POST", "/v1/webhooks/deliveries/1/resend"),
        ("models", "POST", "/v1/webhooks/deliveries/resend"),
        ("models", "POST", "/v1/webhooks/ping"),
        ("infer", "POST", "/v1/webhooks/secret/rotate"),
    ],
)
def test_a_key_without_the_scope_is_403(client: FlaskClient, scope: str, method: str, path: str) -> None:
    owner = client.post("/v1/keys", json={"name": "owner"}).json["key"]
    request = {"tenant": "anna", "scopes": [scope]}
    key = client.post("/v1/keys", json=request, headers={"Authorization": f"Bearer {owner}"}).json["key"]
    answer = client.open(path, method=method, headers={"Authorization": f"Bearer {key}"})
    assert scope in refused(answer, 403, "forbidden")
