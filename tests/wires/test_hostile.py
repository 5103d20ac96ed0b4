"""Hostile requests: each of these once stopped a process, was never cleaned up, or got past a check."""

from __future__ import annotations

import io
import random
import socket
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uuid6
from flask.testing import FlaskClient
from PIL import Image

from api.application import create_app
from api.reading import SPOOL
from shared import errors
from shared.adapters.pauses import run
from shared.container import Container
from shared.domain.jobs import Submission
from shared.domain.models import ModelState, ModelVersion
from shared.domain.pictures import Picture
from shared.services import job_pictures, jobs, maintenance, models
from tests.stacks import Stack, digits
from tests.unit.archive_files import as_tgz


def picture() -> Picture:
    return Picture("a.png", digits()[0][1], "PNG", 8, 8)


def scans(number: int) -> bytes:
    """Return a progressive JPEG with its last scan repeated."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * number + data[-2:]


def test_a_jpeg_of_endless_scans_is_refused_at_once(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", data=scans(1)).status_code == 202

    answer = client.post("/v1/jobs", data=scans(200))
    assert (answer.status_code, answer.json["code"]) == (400, "picture_too_large")


@pytest.mark.parametrize(
    ("sent", "padding"),
    [("as the body", 0), ("as the body", 2 * SPOOL), ("as a part", 0)],
    ids=["body in memory", "body on disk", "part"],
)
def test_a_packed_tar_is_read_however_it_is_sent(client: FlaskClient, sent: str, padding: int) -> None:
    data = as_tgz([("a.png", digits()[0][1] + random.Random(0).randbytes(padding))])
    body = data if sent == "as the body" else {"files": (io.BytesIO(data), "a.tar.gz")}
    answer = client.post("/v1/jobs", data=body)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.evil.example"},
        {"Host": "127.0.0.1.evil.example:8000"},
        {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Real-IP": "203.0.113.7"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
def test_the_open_door_is_closed_to_web_pages_and_proxies(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/v1/keys").status_code == 200
    assert client.get("/v1/keys", headers=headers).status_code == 401
    assert client.post("/v1/keys", json={"name": "theirs"}, headers=headers).status_code == 401


def test_a_page_of_our_own_may_use_the_open_door(client: FlaskClient) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("deadline", ["0001-01-01T00:00:00+23:59", "9999-12-31", 10**400, "1e308"])
def test_a_deadline_out_of_all_proportion_is_refused_and_nothing_is_stored(
    client: FlaskClient, deadline: object
) -> None:
    body = {"inputs": [{"base64": "aGVsbG8="}], "deadline": deadline}
    assert client.post("/v1/jobs", json=body).json["code"] == "bad_option"
    assert client.get("/v1/jobs").json["jobs"] == []


def test_json_of_endless_small_values_is_refused_before_it_is_read(client: FlaskClient) -> None:
    body = b'{"inputs":[' + b"[]," * 300_000 + b"[]]}"
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_json")


@pytest.mark.parametrize("secret", ["whsec_a", "whsec_\u00e9", "whsec_"])
def test_a_webhook_secret_that_cannot_sign_is_refused(client: FlaskClient, container: Container, secret: str) -> None:
    open_to_private = replace(container, settings=container.settings.changed(webhook_private=True))
    hook = {"url": "http://127.0.0.1:9/", "secret": secret}
    answer = create_app(open_to_private).test_client().post("/v1/jobs", json={"inputs": ["aGVsbG8="], "webhook": hook})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_option")
    assert "secret" in answer.json["detail"]


def test_a_path_cannot_forge_a_line_of_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="api"):
        client.get("/x%0a2026-11-21 CRITICAL forged")
    assert all("\n" not in record.getMessage() for record in caplog.records if record.name == "api")
    assert any("forged" in record.getMessage() for record in caplog.records)


def own_model(container: Container) -> ModelVersion:
    """Store a READY model of the tenant `default`."""
    added = models.add(container, "default", "mine", architecture="digits")
    with container.database.write() as uow:
        uow.model_versions.save(replace(added, state=ModelState.READY))
    return added


def test_a_model_removed_while_pictures_are_read_takes_no_job_with_it(container: Container) -> None:
    own_model(container)

    def slowly() -> object:
        models.remove(container, "default", "mine")
        yield picture()

    with pytest.raises(errors.NotFound):
        run(jobs.submit(container, "default", Submission(slowly(), model="mine")))  # type: ignore[arg-type]


def test_a_model_that_pictures_wait_for_is_not_removed(container: Container) -> None:
    version = own_model(container)
    run(jobs.submit(container, "default", Submission([picture()], model="mine")))
    with pytest.raises(errors.Conflict):
        models.remove(container, "default", "mine")
    with container.database.read() as uow:
        assert uow.model_versions.find(version.id) is not None


def test_a_commit_whose_answer_is_lost_keeps_its_pictures(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = jobs._register
    monkeypatch.setattr(job_pictures, "MOST_INLINE", 0)  # so that the picture is in a blob

    def lost(*arguments: object) -> object:
        store(*arguments)  # type: ignore[arg-type]
        raise errors.Unavailable

    monkeypatch.setattr(jobs, "_register", lost)
    with pytest.raises(errors.Unavailable):
        run(jobs.submit(container, "default", Submission([picture()], idempotency_key="again")))
    monkeypatch.setattr(jobs, "_register", store)

    job, new = run(jobs.submit(container, "default", Submission([picture()], idempotency_key="again")))
    assert not new
    assert container.storage.read(job.blob) == picture().data


def test_an_abandoned_upload_is_removed_after_a_day(container: Container) -> None:
    old, fresh = "uploads/01900000-0000-7000-8000-000000000000", f"uploads/{uuid6.uuid7()}"
    for key in (old, fresh):
        container.storage.write(key, b"weights")
    maintenance.collect_garbage(container)
    assert container.storage.list("uploads") == [fresh]


def test_silent_connections_do_not_stop_the_service(stack: Stack) -> None:
    address = httpx.URL(stack.url)
    silent = [socket.create_connection((address.host, address.port)) for _ in range(150)]
    try:
        for connection in silent:
            connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc")
        began = time.monotonic()
        assert httpx.get(f"{stack.url}/healthz", timeout=60).status_code == 200
        assert time.monotonic() - began < 45  # each gives its thread back after 15 s of silence
    finally:
        for connection in silent:
            connection.close()


def sent(stack: Stack, request: bytes, *, is_whole: bool = False) -> bytes:
    """Send bytes to the service, end the sending side unless the request is whole, and return what comes back."""
    address = httpx.URL(stack.url)
    with socket.create_connection((address.host, address.port or 80), timeout=60) as connection:
        connection.sendall(request.replace(b"HOST", f"{address.host}:{address.port}".encode()))
        if not is_whole:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize("path", [b"/v1/jobs", b"/v1/keys", b"/models/digits", b"/v2/vision/predict", b"/v1/images"])
@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\nabc\r\n0\r\n\r\n", b"-5\r\nabc\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\nabc\r\n", b"5\r\nabcdeXX0\r\n\r\n",
     b"5;" + b"a" * 20_000 + b"\r\nabcde\r\n0\r\n\r\n"],
    ids=["no number", "below zero", "too long", "no line", "long extension"],
)  # fmt: skip
def test_a_body_of_malformed_chunks_is_a_bad_request(stack: Stack, path: bytes, chunks: bytes) -> None:
    head = b" HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: application/json\r\n"
    answer = sent(stack, b"POST " + path + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 4"), answer


@pytest.mark.parametrize(
    "lengths",
    [b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1e3\r\n",
     b"Transfer-Encoding: gzip\r\n", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"],
    ids=["two", "below zero", "no number", "unknown encoding", "two kinds"],
)  # fmt: skip
def test_a_body_whose_length_may_be_read_in_two_ways_smuggles_no_request(stack: Stack, lengths: bytes) -> None:
    hidden = b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"
    head = b"POST /v1/keys HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n" + lengths + b"\r\n"
    answer = sent(stack, head + b"0\r\n\r\n" + hidden)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer


@pytest.mark.parametrize("name", [b"SCRIPT_NAME", b"Script-Name", b"X-Script-Name", b"X-Forwarded-Prefix"])
def test_a_path_that_a_header_claims_is_not_believed(stack: Stack, name: bytes) -> None:
    head = b"GET /openapi.json HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n"
    answer = sent(stack, head + name + b": /evil\r\n\r\n", is_whole=True)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"evil" not in answer


def test_a_picture_that_is_cut_on_its_way_is_refused(stack: Stack) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: image/png\r\n"
    data = digits()[0][1]
    answer = sent(stack, head + f"Content-Length: {len(data)}\r\n\r\n".encode() + data[:-1])
    assert answer.startswith(b"HTTP/1.1 408 ") or answer == b"", answer


def test_the_files_of_a_stack_are_readable_by_its_user_only(stack: Stack) -> None:
    assert Path(stack.data).stat().st_mode & 0o077 == 0
