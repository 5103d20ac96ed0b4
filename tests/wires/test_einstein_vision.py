"""The Einstein Vision wire, as its documentation and its clients show it: accounts, predictions, quotas."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image
from werkzeug.test import TestResponse

from api.application import create_app
from api.dialects import einstein_vision
from api.openapi_builder import openapi_path
from shared import errors
from shared.adapters import http_fetch
from shared.container import Container
from shared.domain.jobs import Job, Outcome
from shared.domain.keys import SCOPES, Caller
from shared.services import accounts, job_pictures, jobs, keys, models, usage
from shared.settings import Settings
from tests import apps, stacks
from tests.stacks import Stack

OWNER = Caller("default", SCOPES)
PREFIXES = ("/v2", "/v1")
TOKEN, PREDICT, USAGE = "/v2/oauth2/token", "/v2/vision/predict", "/v2/apiusage"
THREE = stacks.digits()[3][1]
SCORES = [["3", 0.75], ["8", 0.125], ["5", 0.0625], ["9", 0.03125], ["2", 0.015625]]
GENERAL = "GeneralImageClassifier"
ANNA = "anna@example.test"
PRIVATE = rsa.generate_private_key(65537, 2048)
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Let each waiting job end with SCORES, cut to its top_k; return the list of those jobs."""
    waited: list[Job] = []

    async def wait(container: Container, job: Job, seconds: float) -> Job:
        waited.append(job)
        jobs.finish(container, [Outcome(job.id, 0, SCORES[: job.options.top_k])])
        return jobs.get(container, job.tenant, job.id)

    monkeypatch.setattr(jobs, "wait", wait)
    return waited


@pytest.fixture
def connection(stack: Stack) -> Iterator[http.client.HTTPConnection]:
    """A connection to the running service, opened by the first request and kept for the others."""
    where = urlsplit(stack.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    yield connection
    connection.close()


def predict(client: FlaskClient, path: str = PREDICT, **sent: Any) -> TestResponse:
    """Send a multipart body: bytes as file parts, texts as fields; None leaves a field out."""
    headers = sent.pop("headers", {})
    fields = {"modelId": GENERAL, "sampleContent": THREE} | sent
    parts = {
        name: (io.BytesIO(value), "picture.png") if isinstance(value, bytes) else value
        for name, value in fields.items() if value is not None
    }  # fmt: skip
    return client.post(path, data=parts, headers=headers, content_type="multipart/form-data")


def with_settings(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def close_the_door(container: Container, **about: Any) -> str:
    """Create a key, so that requests need one; return its text."""
    _, text = keys.create(container, OWNER, **about)
    return text


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def encoded(picture: bytes = THREE) -> str:
    return base64.b64encode(picture).decode()


def picture(format: str, width: int = 20) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, 20), "gray").save(out, format)
    return out.getvalue()


def complaint(answer: TestResponse) -> str:
    """Return the message of a refusal, which must be the only field."""
    assert answer.mimetype == "application/json"
    assert set(answer.get_json()) == {"message"}
    assert isinstance(answer.json["message"], str)
    assert answer.json["message"]
    return str(answer.json["message"])


# -- predictions


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_picture_is_answered_by_its_labels_best_first(client: FlaskClient, answered: list[Job], prefix: str) -> None:
    answer = predict(client, f"{prefix}/vision/predict", sampleId="shelf-7")
    assert answer.status_code == 200
    assert answer.json == {
        "probabilities": [{"label": label, "probability": score} for label, score in SCORES],
        "sampleId": "shelf-7",
        "object": "predictresponse",
    }
    assert [(job.model, job.options.task, job.options.top_k) for job in answered] == [("digits", "classify", 5)]


def test_the_three_ways_to_send_a_picture_send_the_same_one(
    client: FlaskClient, answered: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, dict[str, Any]]] = []

    def fetch(url: str, **how: Any) -> bytes:
        fetched.append((url, how))
        return THREE

    monkeypatch.setattr(http_fetch, "fetch", fetch)
    url = "https://example.test/pictures/three.png?size=8"
    ways: list[dict[str, Any]] = [{}, {"sampleContent": None, "sampleBase64Content": encoded()},
                                  {"sampleContent": None, "sampleLocation": url}]  # fmt: skip
    for sent in ways:
        assert predict(client, **sent).status_code == 200
    assert [(where, how["max_bytes"], how["allow_private"]) for where, how in fetched] == [(url, 5 << 20, False)]
    container = client.application.extensions["inferq"]
    assert {job_pictures.read(container, jobs.list_items(container, job)[0]) for job in answered} == {THREE}


def test_base64_may_also_come_urlencoded(client: FlaskClient, answered: list[Job]) -> None:
    answer = client.post(PREDICT, data={"modelId": GENERAL, "sampleBase64Content": encoded()})
    assert (answer.status_code, answer.json["object"]) == (200, "predictresponse")


@pytest.mark.parametrize(("number", "count"), [("1", 1), (" 2 ", 2), ("5", 5), ("", 5), ("999999999", 5)])
def test_as_many_labels_come_as_are_asked_for_and_there_are(
    client: FlaskClient, answered: list[Job], number: str, count: int
) -> None:
    assert len(predict(client, numResults=number).json["probabilities"]) == count


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_numbers_of_labels_that_are_none_are_refused(client: FlaskClient, number: str) -> None:
    answer = predict(client, numResults=number)
    assert answer.status_code == 400
    assert "numResults" in complaint(answer)


@pytest.mark.parametrize("sample", ["", "   ", None])
def test_a_sample_without_a_name_is_given_none(client: FlaskClient, answered: list[Job], sample: str | None) -> None:
    assert set(predict(client, sampleId=sample).get_json()) == {"probabilities", "object"}


def test_a_model_is_found_by_its_name_its_alias_or_as_the_general_one(
    client: FlaskClient, container: Container, answered: list[Job]
) -> None:
    models.alias(container, "default", "owner/numerals", "digits")
    models.alias(container, "default", "ABCDEFGHIJKLMNOPQRSTUVWX22", "digits")
    for name in ("digits", "owner/numerals", "ABCDEFGHIJKLMNOPQRSTUVWX22", GENERAL):
        for sent in (name, f"{name}  ", f" {name}", name.replace("/", "%2F"), name.replace("i", "%69")):
            assert predict(client, modelId=sent).status_code == 200, sent
    assert {job.model for job in answered} == {"digits"}


def test_a_model_that_is_called_like_the_general_one_is_meant_by_its_name(
    client: FlaskClient, container: Container
) -> None:
    """A request that names a model is never answered by another one."""
    models.alias(container, "default", GENERAL, "resnet50")
    assert predict(client).status_code == 404


def test_exactly_one_picture_must_be_sent(client: FlaskClient) -> None:
    text, url = {"sampleBase64Content": encoded()}, {"sampleLocation": "https://example.test/a.png"}
    none: dict[str, Any] = {"sampleContent": None}
    for sent in (text, url, text | url, none, none | text | url, {"sampleContent": "text, not a file"}):
        answer = predict(client, **sent)
        assert answer.status_code == 400, sent
        assert "exactly one" in complaint(answer)
    twice = [(io.BytesIO(THREE), "a.png"), (io.BytesIO(THREE), "b.png")]
    assert client.post(PREDICT, data={"modelId": GENERAL, "sampleContent": twice}).status_code == 400


def test_a_part_that_is_sent_empty_counts_as_not_sent(client: FlaskClient, answered: list[Job]) -> None:
    assert predict(client, sampleLocation="", sampleBase64Content="  ").status_code == 200


def test_a_model_must_be_named(client: FlaskClient) -> None:
    for sent in (None, "", "  "):
        answer = predict(client, modelId=sent)
        assert answer.status_code == 400
        assert "modelId" in complaint(answer)


@pytest.mark.parametrize("body", [{"json": {"modelId": GENERAL}}, {"data": THREE}, {}])
def test_a_body_of_another_type_is_refused(client: FlaskClient, body: dict[str, Any]) -> None:
    answer = client.post(PREDICT, **body)
    assert answer.status_code == 400
    complaint(answer)


# -- models that cannot be used


@pytest.mark.parametrize("name", ["NOSUCHMODEL", "resnet50", "no/such", "../digits"])
def test_an_unknown_model_and_one_that_is_not_ready_cannot_be_found(client: FlaskClient, name: str) -> None:
    answer = predict(client, modelId=name)
    assert 400 <= answer.status_code < 500
    assert f"model id '{name}' cannot be found" in complaint(answer)


def test_a_model_whose_check_has_not_ended_cannot_be_found_either(client: FlaskClient, container: Container) -> None:
    models.add(container, "default", "birds", architecture="resnet18")
    answer = predict(client, modelId="birds")
    assert 400 <= answer.status_code < 500
    assert "model id 'birds' cannot be found. The model birds version 1 is being checked" in complaint(answer)


def test_without_a_default_model_the_service_is_not_ready_and_says_when(container: Container) -> None:
    answer = predict(with_settings(container, default_model="resnet50"))
    assert answer.status_code == 503
    assert "resnet50" in complaint(answer)
    assert int(answer.headers["Retry-After"]) > 0


def test_an_unknown_model_is_refused_before_a_picture_is_fetched(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(http_fetch, "fetch")
    answer = predict(client, modelId="NOSUCHMODEL", sampleContent=None, sampleLocation="https://example.test/a.png")
    assert answer.status_code == 404


# -- pictures that cannot be used


def zipped() -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("three.png", THREE)
    return out.getvalue()


@pytest.mark.parametrize(
    "bad",
    [b"no picture", b"\x89PNG\r\n\x1a\n broken", picture("GIF"), picture("WEBP"), picture("BMP"), zipped(), b""],
    ids=["text", "broken", "gif", "webp", "bmp", "archive", "empty"],
)
def test_what_is_no_png_or_jpeg_is_refused_however_it_comes(client: FlaskClient, bad: bytes) -> None:
    for sent in ({"sampleContent": bad}, {"sampleContent": None, "sampleBase64Content": encoded(bad)}):
        answer = predict(client, **sent)
        assert answer.status_code == 400
        complaint(answer)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_the_bytes_say_what_a_picture_is_not_its_name(client: FlaskClient, answered: list[Job], format: str) -> None:
    parts = {"modelId": GENERAL, "sampleContent": (io.BytesIO(picture(format)), "notes.txt", "text/plain")}
    assert client.post(PREDICT, data=parts).status_code == 200


def test_an_error_of_a_picture_from_a_url_does_not_show_its_query(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.adapters.http_fetch.fetch", lambda url, **options: b"no picture")
    answer = predict(client, sampleContent=None, sampleLocation="https://example.org/a.jpg?path=/secret")
    assert "'a.jpg'" in complaint(answer)
    assert "secret" not in answer.text


@pytest.mark.parametrize("text", ["not base64!", "abcde", "data:image/png,xyz"])
def test_what_is_no_base64_is_refused(client: FlaskClient, text: str) -> None:
    answer = predict(client, sampleContent=None, sampleBase64Content=text)
    assert answer.status_code == 400
    assert "base64" in complaint(answer)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "file:///etc/passwd", "nowhere", "http://[::1]/a.png"])
def test_a_url_that_leads_nowhere_or_inside_is_refused(client: FlaskClient, url: str) -> None:
    answer = predict(client, sampleContent=None, sampleLocation=url)
    assert answer.status_code == 400
    complaint(answer)


def test_a_picture_of_more_than_5_megabytes_is_refused(client: FlaskClient, answered: list[Job]) -> None:
    large = picture("PNG") + bytes(5 << 20)
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    for body in (form(sampleContent=large), form(sampleBase64Content=encoded(large))):
        answer = client.post(PREDICT, data=body, content_type=kind)
        assert answer.status_code in (400, 413)
        assert "5 MiB" in complaint(answer)
    body = form(sampleContent=large[: 5 << 20])
    assert client.post(PREDICT, data=body, content_type=kind).status_code == 200


def test_a_body_that_is_too_large_is_refused_in_the_same_form(container: Container) -> None:
    answer = predict(with_settings(container, max_body=100))
    assert answer.status_code == 413
    complaint(answer)


def test_a_picture_that_turns_out_to_be_damaged_is_refused_with_the_reason(
    connection: http.client.HTTPConnection,
) -> None:
    status, _, body = ask(connection, "POST", PREDICT, form(sampleContent=THREE[: len(THREE) // 2]))
    assert (status, set(body)) == (400, {"message"}), body
    assert "damaged" in body["message"]


# -- other errors


def test_a_wait_that_runs_out_is_no_success_and_names_the_job(client: FlaskClient, container: Container) -> None:
    answer = predict(client)
    assert answer.status_code == 503
    job_path = re.search(r"/v1/jobs/([0-9a-f-]{36})", complaint(answer))
    assert job_path
    assert client.get(job_path[0]).json["status"] == "QUEUED"
    assert "Retry-After" not in answer.headers  # sent again, it would be another job
    assert usage.used(container, "default", "einstein") == 1


def test_a_fault_of_ours_is_answered_in_the_same_form(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(jobs, "submit", fail)
    answer = predict(client)
    assert answer.status_code == 500
    assert "secret" not in complaint(answer)


@pytest.mark.parametrize(("method", "path"), [("GET", "/vision/predict"), ("DELETE", "/vision/predict"),
                                              ("GET", "/oauth2/token"), ("POST", "/apiusage")])  # fmt: skip
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_wrong_method_is_answered_in_the_same_form(client: FlaskClient, prefix: str, method: str, path: str) -> None:
    answer = client.open(prefix + path, method=method)
    assert answer.status_code == 405
    assert answer.headers["Allow"]
    complaint(answer)


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2", "/v1/vision/nothing", "/v2/vision/detect", "/v1/oauth2/x"])
def test_an_unknown_path_is_answered_in_the_same_form(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert path in complaint(answer)


def test_requests_are_limited_where_the_setting_says_so(container: Container, answered: list[Job]) -> None:
    client = with_settings(container, einstein_rate="2/minute")
    assert [predict(client).status_code for _ in range(2)] == [200, 200]
    answer = predict(client)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    complaint(answer)


# -- authentication


@pytest.mark.parametrize(("method", "path"), [("POST", PREDICT), ("GET", USAGE), ("POST", "/v1/vision/predict")])
def test_a_missing_and_a_wrong_token_are_refused_in_the_documented_words(
    client: FlaskClient, container: Container, method: str, path: str
) -> None:
    close_the_door(container)
    for header in ("Basic YTpi", "nonsense", "Bearer", "Token abc"):
        answer = client.open(path, method=method, headers={"Authorization": header})
        assert (answer.status_code, answer.json) == (401, {"message": "Invalid authentication scheme"}), header
    for header in ("Bearer NOSUCHTOKEN", "bearer nosuchtoken", "Bearer  iq_nothing"):
        answer = client.open(path, method=method, headers={"Authorization": header})
        assert (answer.status_code, answer.json) == (401, {"message": "Invalid access token"}), header
    for absent in ({}, {"Authorization": "Bearer null"}):
        answer = client.open(path, method=method, headers=absent)
        assert answer.status_code == 401
        complaint(answer)


def test_an_expired_token_is_refused_in_the_documented_words(container: Container, answered: list[Job]) -> None:
    register(container)
    client = create_app(container).test_client()
    token = exchange(client).json["access_token"]
    assert predict(client, headers=bearer(token)).status_code == 200
    later = create_app(replace(container, now=lambda: time.time() + 601)).test_client()
    answer = predict(later, headers=bearer(token))
    assert (answer.status_code, answer.json) == (401, {"message": "Invalid access token"})


def test_a_key_is_as_good_as_a_token_if_it_may_infer(
    client: FlaskClient, container: Container, answered: list[Job]
) -> None:
    close_the_door(container)
    good, poor = close_the_door(container, scopes=("infer",)), close_the_door(container, scopes=("models",))
    assert predict(client, headers=bearer(good)).status_code == 200
    for answer in (predict(client, headers=bearer(poor)), client.get(USAGE, headers=bearer(poor))):
        assert answer.status_code == 403
        assert "infer" in complaint(answer)


# -- accounts


def register(container: Container, tenant: str = "anna") -> None:
    close_the_door(container)
    accounts.register(container, OWNER, account=ANNA, public_key=PUBLIC, tenant=tenant)


def signed(aud: str = "https://api.einstein.ai/v2/oauth2/token", **claims: Any) -> str:
    return jwt.encode({"sub": ANNA, "aud": aud, "exp": time.time() + 600} | claims, PRIVATE, "RS256")


def exchange(client: FlaskClient, path: str = TOKEN, **fields: Any) -> TestResponse:
    return client.post(path, data={"grant_type": GRANT, "assertion": signed()} | fields)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_assertion_is_exchanged_for_a_token_that_predicts(
    client: FlaskClient, container: Container, answered: list[Job], prefix: str
) -> None:
    register(container)
    answer = exchange(client, f"{prefix}/oauth2/token")
    body = answer.get_json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert body["token_type"] == "Bearer"
    assert isinstance(body["expires_in"], int)
    assert 500 < body["expires_in"] <= 600
    assert answer.headers["Cache-Control"] == "no-store"
    assert predict(client, headers=bearer(body["access_token"])).status_code == 200
    assert [job.tenant for job in answered] == ["anna"]


def test_colons_in_the_grant_may_come_raw_or_escaped(client: FlaskClient, container: Container) -> None:
    register(container)
    for grant in (GRANT, GRANT.replace(":", "%3A")):
        for name in ("Content-Type", "Content-type"):
            body = f"grant_type={grant}&assertion={signed()}"
            headers = {name: "application/x-www-form-urlencoded"}
            assert client.post(TOKEN, data=body, headers=headers).status_code == 200


def test_the_scope_offline_gives_a_refresh_token_that_gets_new_tokens(
    client: FlaskClient, container: Container, answered: list[Job]
) -> None:
    register(container)
    body = exchange(client, scope="offline").json
    again = client.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": body["refresh_token"],
                                     "valid_for": "120"})  # fmt: skip
    assert again.status_code == 200
    assert set(again.get_json()) == {"access_token", "token_type", "expires_in"}
    assert again.json["expires_in"] == 120
    assert predict(client, headers=bearer(again.json["access_token"])).status_code == 200
    refused = predict(client, headers=bearer(body["refresh_token"]))
    assert (refused.status_code, refused.json) == (401, {"message": "Invalid access token"})


def test_assertions_are_meant_for_the_hosted_service_or_for_this_one(client: FlaskClient, container: Container) -> None:
    register(container)
    hosted = ("https://api.einstein.ai/v2/oauth2/token", "https://api.metamind.io/v1/oauth2/token")
    for aud in (*hosted, f"http://localhost{TOKEN}"):
        assert exchange(client, assertion=signed(aud)).status_code == 200, aud
    public = with_settings(container, public_url="https://vision.example.test/")
    assert exchange(public, assertion=signed(f"https://vision.example.test{TOKEN}")).status_code == 200
    for aud in (f"http://localhost{TOKEN}", "https://elsewhere.example.test/v2/oauth2/token"):
        answer = exchange(public, assertion=signed(aud))
        assert answer.status_code == 401
        assert f"https://vision.example.test{TOKEN}" in complaint(answer)


def test_an_assertion_that_proves_nothing_is_refused_with_the_reason(client: FlaskClient, container: Container) -> None:
    register(container)
    stranger = jwt.encode({"sub": ANNA, "aud": "x", "exp": 2**31}, rsa.generate_private_key(65537, 2048), "RS256")
    for assertion, reason in ((stranger, "not signed by a key"), (signed(exp=time.time() - 100), "expired")):
        answer = exchange(client, assertion=assertion)
        assert answer.status_code == 401
        assert reason in complaint(answer)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"assertion": "not a token"}, "JWT"),
        ({"assertion": ""}, "'assertion' parameter is required"),
        ({"grant_type": "password"}, "grant_type"),
        ({"grant_type": ""}, "grant_type"),
        ({"grant_type": "refresh_token"}, "'refresh_token' parameter is required"),
        ({"grant_type": "refresh_token", "refresh_token": "A", "valid_for": "ever"}, "valid_for"),
    ],
)
def test_a_token_call_that_cannot_be_understood_says_why(
    client: FlaskClient, container: Container, fields: dict[str, str], reason: str
) -> None:
    register(container)
    answer = exchange(client, **fields)
    assert answer.status_code == 400
    assert reason in complaint(answer)


def test_the_token_call_does_not_read_megabytes(client: FlaskClient, container: Container) -> None:
    register(container)
    answer = exchange(client, assertion="A" * 300_000)
    assert answer.status_code == 413
    complaint(answer)


def test_on_the_open_door_any_assertion_gets_a_token_and_any_token_predicts(
    client: FlaskClient, answered: list[Job]
) -> None:
    answer = exchange(client, assertion="anything", scope="offline")
    assert answer.status_code == 200
    assert answer.json["refresh_token"]
    assert predict(client, headers=bearer(answer.json["access_token"])).status_code == 200
    elsewhere = client.post(TOKEN, data={"grant_type": GRANT, "assertion": signed()},
                            environ_base={"REMOTE_ADDR": "203.0.113.9"})  # fmt: skip
    assert elsewhere.status_code == 401


# -- quotas


def left(answer: TestResponse) -> tuple[str, str]:
    assert re.fullmatch(r"\d{4}-\d{2}-01 00:00:00\.0", answer.headers["X-RateLimit-Reset"])
    return answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]


def test_what_succeeds_is_counted_until_the_month_is_used_up(container: Container, answered: list[Job]) -> None:
    noon = 1_575_115_200.0  # 30 November 2019
    clocked = replace(container, now=lambda: noon)
    client = with_settings(clocked, einstein_quota=2)
    assert left(predict(client)) == ("2", "1")
    assert left(predict(client, sampleContent=b"no picture")) == ("2", "1")
    last = predict(client)
    assert (last.status_code, left(last)) == (200, ("2", "0"))
    assert last.headers["X-RateLimit-Reset"] == "2019-12-01 00:00:00.0"
    refused = predict(client)
    assert 400 <= refused.status_code < 500
    assert left(refused) == ("2", "0")
    assert int(refused.headers["Retry-After"]) == 12 * 3600
    assert "month" in complaint(refused)
    assert len(answered) == 2
    december = with_settings(replace(container, now=lambda: noon + 13 * 3600), einstein_quota=2)
    assert left(predict(december)) == ("2", "1")


def test_many_at_once_cannot_pass_the_quota(container: Container, answered: list[Job]) -> None:
    client = with_settings(container, einstein_quota=3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.application.test_client().post(
            PREDICT, data={"modelId": GENERAL, "sampleBase64Content": encoded()}), range(12)))  # fmt: skip
    assert sum(answer.status_code == 200 for answer in answers) == 3
    assert len(answered) == 3


def test_tenants_use_up_their_own_month_only(container: Container, answered: list[Job]) -> None:
    close_the_door(container)
    client = with_settings(container, einstein_quota=1)
    anna, ben = (close_the_door(container, tenant=name) for name in ("anna", "ben"))
    assert predict(client, headers=bearer(anna)).status_code == 200
    assert predict(client, headers=bearer(anna)).status_code != 200
    assert predict(client, headers=bearer(ben)).status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
def test_usage_is_a_list_of_one_plan(container: Container, answered: list[Job], prefix: str) -> None:
    client = with_settings(replace(container, now=lambda: 1_575_115_200.0), einstein_quota=2000)
    for _ in range(3):
        predict(client)
    answer = client.get(f"{prefix}/apiusage")
    assert answer.status_code == 200
    assert answer.json["object"] == "list"
    (plan,) = answer.json["data"]
    assert set(plan) == {
        "id", "organizationId", "startsAt", "endsAt", "planData", "licenseId", "object", "predictionsRemaining",
        "predictionsUsed", "predictionsMax",
    }  # fmt: skip
    assert plan["object"] == "apiusage"
    assert (plan["predictionsRemaining"], plan["predictionsUsed"], plan["predictionsMax"]) == (1997, 3, 2000)
    assert (plan["startsAt"], plan["endsAt"]) == ("2019-11-01T00:00:00.000+0000", "2019-12-01T00:00:00.000+0000")
    assert {frozenset(part) for part in plan["planData"]} == {frozenset({"plan", "amount", "source"})}


def test_without_a_quota_the_largest_number_is_left(client: FlaskClient, answered: list[Job]) -> None:
    assert left(predict(client)) == ("2147483647", "2147483646")
    (plan,) = client.get(USAGE).json["data"]
    assert (plan["predictionsMax"], plan["predictionsUsed"]) == (2147483647, 1)


# -- bodies as its clients send them, over a socket


BOUNDARY = "0123456789abcdef0123456789abcdef"


def form(pad: str = "", end: str = "\r\n", **parts: str | bytes) -> bytes:
    """Return a multipart body; bytes are a file. `pad` follows texts and the header lines of parts."""
    out = b""
    for name, value in ({"modelId": GENERAL} | parts).items():
        file = '; filename="three.png"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else f"{value}{pad}".encode()
        out += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}{pad}\r\n\r\n'.encode()
        out += content + b"\r\n"
    return out + f"--{BOUNDARY}--{end}".encode()


Exchange = tuple[int, http.client.HTTPResponse, dict[str, Any]]


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = b"", type: str = "", **how: Any
) -> Exchange:
    headers = {"Content-Type": type or f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request(method, path, body, headers, **how)
    answer = connection.getresponse()
    return answer.status, answer, json.loads(answer.read())


def label(exchange: Exchange) -> str:
    status, _, body = exchange
    assert status == 200, body
    assert body["object"] == "predictresponse"
    return str(body["probabilities"][0]["label"])


def on_one_connection(connection: http.client.HTTPConnection, ask_twice: Callable[[], None]) -> None:
    """Call twice; the second request must use the connection of the first."""
    ask_twice()
    used = connection.sock
    assert used is not None, "the server hung up"
    ask_twice()
    assert connection.sock is used


@pytest.mark.parametrize("size", [0, 100, 70_000, 3_000_000])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", USAGE, 200), ("DELETE", "/v2/vision/datasets/57", 404), ("GET", "/v2/vision/datasets", 200),
     ("DELETE", PREDICT, 405)],
)  # fmt: skip
def test_an_unwanted_body_is_read_and_the_connection_is_kept(
    connection: http.client.HTTPConnection, method: str, path: str, status: int, size: int
) -> None:
    def ask_with_a_body() -> None:
        assert ask(connection, method, path, form(type="image", more="x" * size))[0] == status
        assert label(ask(connection, "POST", PREDICT, form(sampleContent=THREE))) == "3"

    on_one_connection(connection, ask_with_a_body)


def test_a_body_that_comes_after_its_head_is_read_too(stack: Stack) -> None:
    where = urlsplit(stack.url)
    body = form(type="image")
    head = (f"GET {USAGE} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}"
            f"\r\nContent-Length: {len(body)}\r\n\r\n").encode()  # fmt: skip
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as sock:
        for _ in range(2):
            sock.sendall(head)
            sock.sendall(body[:10])
            sock.sendall(body[10:])
            answer = http.client.HTTPResponse(sock, method="GET")
            answer.begin()
            assert answer.status == 200
            assert json.loads(answer.read())["object"] == "list"


def test_chunked_bodies_are_read(connection: http.client.HTTPConnection) -> None:
    whole = form(sampleContent=THREE, sampleId="chunked")

    def ask_in_chunks() -> None:
        pieces = iter([whole[at : at + 500] for at in range(0, len(whole), 500)])
        exchange = ask(connection, "POST", PREDICT, pieces, encode_chunked=True)
        assert (label(exchange), exchange[2]["sampleId"]) == ("3", "chunked")
        assert ask(connection, "GET", USAGE, iter([b"unwanted"]), encode_chunked=True)[0] == 200

    on_one_connection(connection, ask_in_chunks)


@pytest.mark.parametrize("pad", [" ", "  "])
@pytest.mark.parametrize("end", ["", "\r\n"])
def test_padding_behind_texts_and_lines_is_no_part_of_them(
    connection: http.client.HTTPConnection, pad: str, end: str
) -> None:
    kind = f'multipart/form-data; charset="UTF-8"; boundary="{BOUNDARY}"'
    for sample in ({"sampleContent": THREE}, {"sampleBase64Content": encoded()}):
        body = form(pad, end, numResults="2", sampleId="", **sample)

        def ask_padded(body: bytes = body) -> None:
            exchange = ask(connection, "POST", PREDICT, body, kind)
            assert label(exchange) == "3"
            assert (set(exchange[2]), len(exchange[2]["probabilities"])) == ({"probabilities", "object"}, 2)

        on_one_connection(connection, ask_padded)


def test_a_model_id_may_come_url_encoded(connection: http.client.HTTPConnection) -> None:
    assert label(ask(connection, "POST", PREDICT, form(modelId="d%69gits", sampleContent=THREE))) == "3"


def test_the_real_service_answers_both_generations_and_counts(connection: http.client.HTTPConnection) -> None:
    used = ask(connection, "GET", USAGE)[2]["data"][0]["predictionsUsed"]
    for prefix in PREFIXES:
        exchange = ask(connection, "POST", f"{prefix}/vision/predict", form(sampleContent=THREE, numResults="20"))
        scores = [entry["probability"] for entry in exchange[2]["probabilities"]]
        assert len(scores) == 10
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 1
        used += 1
        assert int(exchange[1].headers["X-RateLimit-Remaining"]) == 2147483647 - used


# -- descriptions of the service


def test_the_calls_are_described_as_they_are(client: FlaskClient) -> None:
    part = einstein_vision.openapi(Settings())
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": part["paths"],
                "components": part["components"]}  # fmt: skip
    OpenAPIV31SpecValidator(document).validate()
    rules = client.application.url_map.iter_rules()
    ours = {openapi_path(rule.rule) for rule in rules if rule.endpoint.startswith("einstein-vision.")}
    assert set(part["paths"]) == ours


def test_errors_without_words_of_this_wire_speak_for_themselves() -> None:
    assert einstein_vision._words(errors.Forbidden("Not you.")) == "Not you."
