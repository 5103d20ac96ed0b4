"""Eight requirements of genuine clients, each checked on every wire."""

from __future__ import annotations

import errno
import http.client
import io
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import jsonschema
import pytest
import sqlalchemy as sa
from flask import Request
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from api.application import create_app
from api.dialects.huggingface import common
from shared import errors
from shared.adapters.database.jobs import Jobs
from shared.adapters.database.stored_images import StoredImages
from shared.adapters.storage import Writer
from shared.container import Container
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ModelVersion
from shared.services import jobs, keys, models
from tests import apps, stacks
from tests.stacks import Stack

PICTURE = stacks.digits()[7][1]
TEXT = b"just some text, whatever the client calls it"
BOUNDARY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Wire:
    """How a request of one wire carries a picture."""

    path: str
    part: str = "files"
    """The name of the multipart part with the file; empty if the picture is the whole body."""
    fields: dict[str, str] = field(default_factory=dict)
    success: int = 200
    refused: int = 400
    unknown: str = ""
    """A path below the prefix of the wire that does not exist."""
    complains_as: str = "application/json"
    rate: str = ""
    """The setting of its rate limit."""

    def body(self, data: bytes, name: str = "seven.png", kind: str = "image/png") -> tuple[dict[str, str], bytes]:
        """(headers, bytes) of a request with a picture that the client calls `name` and `kind`."""
        if not self.part:
            return {"Content-Type": kind} if kind else {}, data
        lines = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
                 for key, value in self.fields.items()]  # fmt: skip
        about = f'Content-Disposition: form-data; name="{self.part}"; filename="{name}"'
        kind = f"\r\nContent-Type: {kind}" if kind else ""
        lines += [f"--{BOUNDARY}\r\n{about}{kind}\r\n\r\n".encode(), data, f"\r\n--{BOUNDARY}--\r\n".encode()]
        return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, b"".join(lines)

    def post(self, client: FlaskClient, data: bytes = PICTURE, **headers: str) -> TestResponse:
        about, body = self.body(data)
        return client.post(self.path, data=body, headers=about | headers)

    def send(self, stack: Stack, data: bytes = PICTURE, prefix: str = "", **called: str) -> httpx.Response:
        about, body = self.body(data, **called)
        return httpx.post(stack.url + prefix + self.path, content=body, headers=about, timeout=90)


WIRES = {
    "native": Wire("/v1/classify", unknown="/v1/nothing", complains_as="application/problem+json", rate="native_rate"),
    "SAP v1": Wire("/inference_sync", unknown="/inference_sync/nothing", rate="sap_rate"),
    "SAP gateway": Wire("/ml/imageclassification/classification", unknown="/ml/nothing", rate="sap_rate"),
    "SAP v2": Wire("/api/v2/image/classification", unknown="/api/v2/nothing", rate="sap_rate"),
    "Einstein v2": Wire("/v2/vision/predict", "sampleContent", {"modelId": "GeneralImageClassifier"},
                        unknown="/v2/nothing", rate="einstein_rate"),
    "Einstein v1": Wire("/v1/vision/predict", "sampleContent", {"modelId": "digits"},
                        unknown="/v1/vision/nothing", rate="einstein_rate"),
    "Hugging Face": Wire("/models/digits", "", unknown="/models/owner/name/nothing", rate="huggingface_rate"),
    "Hugging Face, new host": Wire("/hf-inference/models/digits", "", unknown="/hf-inference/nothing",
                                   rate="huggingface_rate"),
    "IMG": Wire("/v1/images/upload", "image", {"name": "seven"}, success=201, refused=422,
                unknown="/v1/images/image_x/nothing", rate="img_live_rate"),
}  # fmt: skip
EVERY_WIRE = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the server would have delayed its answers; it does not delay them."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


def with_settings(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def close_the_door(container: Container) -> str:
    """Create a key, so that requests need one; return its text."""
    return keys.create(container, Caller("default", SCOPES), scopes=SCOPES)[1]


def assert_complaint(wire: Wire, answer: TestResponse, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == wire.complains_as
    assert isinstance(json.loads(answer.data), dict)
    assert "Traceback" not in answer.text


# 1. JSON on every status


@EVERY_WIRE
def test_a_picture_that_is_none_is_refused_in_json(client: FlaskClient, wire: Wire) -> None:
    assert_complaint(wire, wire.post(client, TEXT), wire.refused)


@EVERY_WIRE
def test_a_request_without_a_key_is_refused_in_json(client: FlaskClient, container: Container, wire: Wire) -> None:
    close_the_door(container)
    assert_complaint(wire, wire.post(client), 401)
    assert_complaint(wire, wire.post(client, Authorization="Bearer wrong"), 401)


@EVERY_WIRE
def test_a_key_that_may_not_infer_is_refused_in_json(client: FlaskClient, container: Container, wire: Wire) -> None:
    close_the_door(container)
    _, key = keys.create(container, Caller("default", SCOPES), scopes=("models",))
    assert_complaint(wire, wire.post(client, Authorization=f"Bearer {key}"), 403)


@EVERY_WIRE
def test_a_tenant_that_may_queue_nothing_is_told_whom_to_ask_and_not_to_come_back(
    container: Container, wire: Wire
) -> None:
    if wire.path == "/v1/images/upload":
        pytest.skip("it only stores the picture")
    answer = wire.post(with_settings(container, max_queued=0))
    assert_complaint(wire, answer, 403)
    assert "Ask the operator of this service to raise `max_queued`" in answer.text
    assert "Retry-After" not in answer.headers


@EVERY_WIRE
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_answered_in_json(client: FlaskClient, wire: Wire, method: str) -> None:
    assert_complaint(wire, client.open(wire.unknown, method=method), 404)


@EVERY_WIRE
def test_a_wrong_method_is_answered_in_json(client: FlaskClient, wire: Wire) -> None:
    answer = client.patch(wire.path)
    assert_complaint(wire, answer, 405)
    assert "POST" in answer.headers["Allow"] or wire.path.startswith("/v1/images")  # there GET of an image fits as well


@EVERY_WIRE
def test_a_body_that_is_too_large_is_answered_in_json(container: Container, wire: Wire) -> None:
    assert_complaint(wire, wire.post(with_settings(container, max_body=500), bytes(1000)), 413)


@EVERY_WIRE
def test_too_many_requests_are_answered_in_json(container: Container, wire: Wire) -> None:
    client = with_settings(container, **{wire.rate: "1/hour"})
    assert wire.post(client, TEXT).status_code == wire.refused
    answer = wire.post(client, TEXT)
    assert_complaint(wire, answer, 429)
    assert int(answer.headers["Retry-After"]) > 0


@EVERY_WIRE
def test_a_bug_of_ours_is_answered_in_json_and_reveals_nothing_of_itself(container: Container, wire: Wire) -> None:
    app = create_app(container)

    def broken(**_: Any) -> Any:
        raise RuntimeError("secret words of a bug")

    app.view_functions.update(dict.fromkeys(app.view_functions, broken))
    answer = wire.post(app.test_client())
    assert_complaint(wire, answer, 500)
    assert "secret" not in answer.text


@EVERY_WIRE
def test_a_database_that_is_away_is_answered_in_json(
    client: FlaskClient, container: Container, wire: Wire, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise errors.Unavailable("The database does not answer.")

    monkeypatch.setattr(container.database, "read", away)
    answer = wire.post(client)
    assert_complaint(wire, answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


@EVERY_WIRE
@pytest.mark.parametrize("full", ["arriving upload", "database", "storage"])
def test_a_disk_that_is_full_is_answered_in_json_and_fills_no_further(
    client: FlaskClient, container: Container, wire: Wire, naps: list[float], monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def locked() -> None:
        raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    noise = io.BytesIO()  # too large for a row of the database
    Image.effect_noise((120, 120), 100).save(noise, "PNG")
    with monkeypatch.context() as patched:
        if full == "storage":
            patched.setattr(Writer, "write", fail)
        elif full == "database":
            patched.setattr(Jobs, "add", lambda *_: locked())
            patched.setattr(StoredImages, "add", lambda *_: locked())
        else:
            patched.setattr(Request, "_get_file_stream", fail)
        if full == "arriving upload" and not wire.part:
            return  # a raw body is kept in memory
        answer = wire.post(client, noise.getvalue())
    assert_complaint(wire, answer, 503)
    assert "full" in answer.text
    storage = container.storage
    days = [*storage.list("jobs"), *storage.list("images")]
    kept = [key for day in days for key in storage.list(day)]
    assert kept == []  # what was refused would fill the disk further


@EVERY_WIRE
def test_an_answer_is_json_as_the_document_says(stack: Stack, wire: Wire) -> None:
    answer = wire.send(stack)
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    document = stack.get("/openapi.json")
    (described,) = [entry["post"]["responses"][str(wire.success)] for path, entry in document["paths"].items()
                    if "post" in entry and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), wire.path)]  # fmt: skip
    schema = described["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator(schema | {"components": document["components"]}).validate(answer.json())
    if isinstance(answer.json(), dict):
        shape = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert set(answer.json()) <= set(shape["properties"])


# 2. bytes decide what a picture is, not what the client calls it


@EVERY_WIRE
@pytest.mark.parametrize(("name", "kind"), [("image.jpg", "image/jpeg"), ("blob", "text/plain"), ("notes.txt", "")])
def test_a_picture_is_known_by_its_bytes(stack: Stack, wire: Wire, name: str, kind: str) -> None:
    assert wire.send(stack, name=name, kind=kind).status_code == wire.success


# 3. bodies without a Content-Type, or with the one that curl sends by itself


NONE_OR_CURLS = ["", "application/x-www-form-urlencoded"]
FALSE = ["multipart/form-data", "application/json"]
"""Wrong media types of a picture, which only the native wire believes."""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/classify", kind) for kind in NONE_OR_CURLS]
    + [(path, kind) for path in ("/models/digits", "/hf-inference/models/digits") for kind in NONE_OR_CURLS + FALSE],
)
def test_a_raw_picture_needs_no_content_type(stack: Stack, path: str, kind: str) -> None:
    with Connection(stack) as server:
        server.putrequest("POST", path)
        server.putheader("Content-Length", str(len(PICTURE)))
        if kind:
            server.putheader("Content-Type", kind)
        server.endheaders(PICTURE)
        answer = server.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")


# 4. unwanted bodies, and bodies of unknown length


class Connection:
    """A connection to the stack that must not be closed between its requests."""

    def __init__(self, stack: Stack) -> None:
        address = httpx.URL(stack.url)
        self._server = http.client.HTTPConnection(address.host, address.port, timeout=60)

    def __enter__(self) -> http.client.HTTPConnection:
        self._server.connect()
        self._server.auto_open = 0
        return self._server

    def __exit__(self, *_: object) -> None:
        self._server.close()


UNWANTED = [
    ("GET", "/v1/jobs", 200),
    ("DELETE", "/v1/jobs/nothing", 404),
    ("GET", "/jobs/nothing", 404),
    ("GET", "/inference_sync", 405),
    ("GET", "/v2/apiusage", 200),
    ("GET", "/v2/vision/datasets", 200),
    ("DELETE", "/v2/vision/datasets/57", 404),
    ("GET", "/models/digits", 200),
    ("DELETE", "/models/digits", 405),
    ("GET", "/v1/images", 200),
    ("DELETE", "/v1/images/image_nothing", 404),
]


@pytest.mark.parametrize("size", [10, 500_000])
@pytest.mark.parametrize(("method", "path", "status"), UNWANTED, ids=[" ".join(case[:2]) for case in UNWANTED])
def test_an_unwanted_body_does_not_disturb_the_next_request(
    stack: Stack, method: str, path: str, status: int, size: int
) -> None:
    headers, body = Wire("", fields={"type": "image"}).body(bytes(size))
    with Connection(stack) as server:
        for _ in range(2):
            server.request(method, path, body, headers)
            answer = server.getresponse()
            assert answer.status == status
            assert json.loads(answer.read())
        server.request("GET", "/healthz")
        assert server.getresponse().status == 200


@EVERY_WIRE
def test_a_body_in_chunks_is_read_whole(stack: Stack, wire: Wire) -> None:
    headers, body = wire.body(PICTURE)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    answer = httpx.post(stack.url + wire.path, content=chunks(), headers=headers, timeout=90)
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.status_code == wire.success


def test_json_in_chunks_is_read_whole(stack: Stack) -> None:
    kept = WIRES["IMG"].send(stack).json()["id"]
    answer = httpx.post(
        f"{stack.url}/v1/images/{kept}/classify",
        content=iter([b"{", b"}"]),
        headers={"Content-Type": "application/json"},
        timeout=90,
    )
    assert answer.status_code == 201


@EVERY_WIRE
def test_a_body_in_chunks_is_not_without_limits(container: Container, wire: Wire) -> None:
    headers, body = wire.body(bytes(100_000))
    client = with_settings(container, max_body=5000, max_picture=4000)
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}  # as the server hands it over
    answer = client.post(wire.path, input_stream=io.BytesIO(body), headers=headers, environ_overrides=environ)
    assert_complaint(wire, answer, 413)


# 5. the exact status of a success


@EVERY_WIRE
def test_a_success_has_exactly_the_status_of_the_wire(stack: Stack, wire: Wire) -> None:
    assert wire.send(stack).status_code == wire.success


def test_making_is_201_on_the_img_wire_and_looking_is_200(stack: Stack) -> None:
    kept = WIRES["IMG"].send(stack).json()["id"]
    image_url = f"{stack.url}/v1/images/{kept}"
    assert httpx.post(f"{image_url}/classify", timeout=90).status_code == 201
    for path in (image_url, f"{image_url}/download", f"{stack.url}/v1/images"):
        assert httpx.get(path).status_code == 200


# 6. the words `null` and `undefined` are nothing


@EVERY_WIRE
@pytest.mark.parametrize("word", ["null", "undefined", "Bearer null", "Bearer undefined"])
def test_a_key_that_is_the_word_for_none_is_none(
    client: FlaskClient, container: Container, wire: Wire, word: str
) -> None:
    key = close_the_door(container)
    nothing = dict.fromkeys(("Authorization", "x-api-key", "APIKey"), word)
    without, with_the_word = wire.post(client, TEXT), wire.post(client, TEXT, **nothing)
    assert with_the_word.status_code == 401
    assert with_the_word.json == without.json
    beside_a_key = wire.post(client, TEXT, **{"Authorization": word, "x-api-key": key})
    assert beside_a_key.status_code == wire.refused


def test_a_query_of_undefined_values_is_no_query(stack: Stack) -> None:
    WIRES["IMG"].send(stack)
    plain = httpx.get(f"{stack.url}/v1/images").json()
    assert plain["data"]
    assert httpx.get(f"{stack.url}/v1/images?take=undefined&from=undefined").json() == plain
    assert httpx.get(f"{stack.url}/v1/images?take=null&from=null").json() == plain


# 7. doubled slashes are one


@EVERY_WIRE
@pytest.mark.parametrize("double", [lambda path: "/" + path, lambda path: path.replace("/", "//")],
                         ids=["the first", "every one"])  # fmt: skip
def test_doubled_slashes_count_as_one(stack: Stack, wire: Wire, double: Any) -> None:
    assert replace(wire, path=double(wire.path)).send(stack).status_code == wire.success


# 8. answers to which clients react by sending the request again at once are delayed


def test_a_request_for_a_model_that_is_loading_is_delayed_before_the_503(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[float] = []

    async def until_checked(_: Container, version: ModelVersion, seconds: float) -> ModelVersion:
        held.append(seconds)
        return version

    monkeypatch.setattr(models, "until_checked", until_checked)
    answer = client.post("/models/resnet50", data=PICTURE)
    assert (answer.status_code, set(answer.get_json())) == (503, {"error", "estimated_time"})
    assert held == [common.PATIENCE]
    client.post("/models/resnet50", data=PICTURE, headers={"x-wait-for-model": "true"})
    assert held[1] == container.settings.max_wait


def test_an_answer_of_503_is_delayed(
    client: FlaskClient, container: Container, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise errors.Unavailable("Redis does not answer.")

    monkeypatch.setattr(container.queue.streams, "push", away)
    monkeypatch.setattr(container.database, "write", away)
    assert client.post("/models/digits", data=PICTURE).status_code == 503
    assert naps == [common.PATIENCE]


def test_a_wait_that_runs_out_is_no_503_to_a_client_that_would_send_the_picture_again(client: FlaskClient) -> None:
    answer = client.post("/models/digits", data=PICTURE)
    assert answer.status_code == 504
    assert "/v1/jobs/" in answer.json["error"]


@EVERY_WIRE
def test_the_id_of_a_stored_job_is_not_lost_when_the_database_goes_away(
    client: FlaskClient, naps: list[float], monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    if wire.path == "/v1/images/upload":
        pytest.skip("it only stores the picture")

    async def wait(*_: Any) -> None:
        raise errors.Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "wait", wait)
        answer = wire.post(client)
    assert_complaint(wire, answer, 503)
    assert client.get(answer.headers["Location"]).json["status"] == "QUEUED"
