"""The native wire: requests, answers and refusals, first without a worker and then with a real one."""

from __future__ import annotations

import base64
import csv
import gc
import io
import itertools
import json
import struct
import tarfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uuid6
from flask.testing import FlaskClient
from PIL import Image
from pillow_heif import register_heif_opener
from werkzeug.test import TestResponse

from api.application import create_app
from api.dialects.native.routes import jobs as native_jobs
from api.load_shedding import HOLDS_FOR
from shared import errors
from shared.adapters.database import tables
from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.jobs import Item, Outcome
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion
from shared.domain.pictures import Picture
from shared.services import job_pictures, jobs, models, stored_images
from shared.settings import Settings
from tests import apps
from tests.stacks import Stack, digits


def png(width: int = 8, height: int = 8, colour: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def header_of(width: int, height: int) -> bytes:
    """Return a PNG with a header of that size and no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(*members: tuple[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def encrypted() -> bytes:
    """Return a zip whose only member is marked as encrypted."""
    data = bytearray(zipped(("a.png", png())))
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(sign) + offset] |= 1
    return bytes(data)


def parts(*files: tuple[str, bytes], **fields: str) -> dict[str, Any]:
    """Return a multipart body for the test client."""
    return {"files": [(io.BytesIO(data), name) for name, data in files], **fields}


def send(client: FlaskClient, *files: tuple[str, bytes], to: str = "/v1/jobs", **fields: str) -> TestResponse:
    return client.post(to, data=parts(*files, **fields), content_type="multipart/form-data")


def submitted(client: FlaskClient, pictures: int = 2, headers: dict[str, str] | None = None, **fields: str) -> str:
    """Submit a job; return its id."""
    files = [(f"{number}.png", png(colour=number)) for number in range(pictures)]
    answer = client.post("/v1/jobs", data=parts(*files, **fields), headers=headers, content_type="multipart/form-data")
    assert answer.status_code == 202, answer.json
    return str(answer.json["_id"])


def complaint(answer: TestResponse, status: int, code: str) -> str:
    """Return the detail of a problem document (RFC 9457), all fields of which are checked."""
    assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["type"] == f"urn:inferq:error:{code}"
    assert answer.json["title"]
    assert len(answer.json["detail"]) > 10
    return str(answer.json["detail"])


def work(container: Container, count: int, wrong: bool = False) -> None:
    """Record outcomes for the next pictures, as a worker does, without running a model."""
    for version_id in container.queue.streams.version_ids():
        entries = container.queue.streams.claim(version_id, "worker", count)
        keep = jobs.begin(container, entries)
        good = [Outcome(e.job_id, e.position, [["seven", 0.75], ["one, or so", 0.25]]) for e in keep]
        bad = [Outcome(e.job_id, e.position, error_code="broken_picture", error="It is damaged.") for e in keep]
        jobs.finish(container, bad if wrong else good)
        container.queue.conclude(entries, [])


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_connection(container: Container) -> Iterator[None]:
    yield
    container.waiters.close()


@pytest.fixture
def on_each_database(container: Container, database: Database) -> Container:
    """The container on SQLite and on PostgreSQL, with the same models."""
    with container.database.read() as uow:
        versions = uow.model_versions.visible("default")
    with database.write() as uow:
        present = {version.id for version in uow.model_versions.visible("default")}
        for version in versions:
            if version.id not in present:
                uow.model_versions.add(version)
        uow.key_values.set("default_model", "digits")
    return replace(container, database=database)


def app_with(container: Container, **settings: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**settings))).test_client()


def nothing_was_stored(client: FlaskClient, container: Container) -> bool:
    folder = container.storage.dated("jobs", "", time.time()).rstrip("/")
    return client.get("/v1/jobs").json == {"jobs": [], "next": None} and container.storage.list(folder) == []


# bad pictures


BAD_PICTURES: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "not an image": ([("cat.jpg", b"this is no picture, whatever its name")], "not_a_picture"),
    "truncated in its header": ([("cut.png", png()[:20])], "broken_picture"),
    "wrong format": ([("layers.png", b"8BPS" + b"\0" * 100)], "wrong_format"),
    "svg": ([("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>')], "wrong_format"),
    "a pdf": ([("scan.pdf", b"%PDF-1.7\n" + b"\0" * 100)], "wrong_format"),
    "an empty part": ([("empty.png", b"")], "no_input"),
    "a good one and an empty part": ([("a.png", png()), ("empty.png", b"")], "no_input"),
    "nothing but a blank file input": ([("", b"")], "no_input"),
    "a good one and a bad one": ([("a.png", png()), ("b.png", b"no picture")], "not_a_picture"),
    "an archive and a file": ([("a.zip", zipped(("a.png", png()))), ("b.png", png())], "archive_with_files"),
    "a file and an archive": ([("b.png", png()), ("a.tar", tarred(("a.png", png())))], "archive_with_files"),
    "two archives": ([("a.zip", zipped(("a.png", png())))] * 2, "archive_with_files"),
    "an archive with folders": ([("a.zip", zipped(("folder/a.png", png()), ("b.png", png())))], "archive_not_flat"),
    "a tar with folders": ([("a.tgz", tarred(("folder/deeper/a.png", png()), mode="w:gz"))], "archive_not_flat"),
    "an archive in an archive": ([("a.zip", zipped(("b.zip", zipped(("a.png", png())))))], "bad_archive"),
    "an encrypted archive": ([("a.zip", encrypted())], "bad_archive"),
    "a 7z archive": ([("a.7z", b"7z\xbc\xaf\x27\x1c" + b"\0" * 100)], "bad_archive"),
    "a damaged zip": ([("a.zip", zipped(("a.png", png()))[:-30])], "bad_archive"),
    "an empty zip": ([("a.zip", zipped())], "no_input"),
    "an archive with something else": ([("a.zip", zipped(("readme.txt", b"read me first")))], "not_a_picture"),
    "a member that unpacks to too much": ([("a.zip", zipped(("a.png", bytes(33 * 2**20))))], "picture_too_large"),
    "a pixel bomb": ([("a.png", header_of(60_000, 60_000))], "picture_too_large"),
    "too many pixels": ([("a.png", header_of(9_000, 9_000))], "picture_too_large"),
    "an extreme aspect ratio": ([("a.png", header_of(10, 63_498))], "picture_too_large"),
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/classify"])
@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_bad_upload_is_refused_with_its_reason_and_nothing_is_stored(
    client: FlaskClient, container: Container, case: str, path: str
) -> None:
    files, code = BAD_PICTURES[case]
    complaint(send(client, *files, to=path), 400, code)
    assert nothing_was_stored(client, container)


def test_the_complaint_names_the_file_at_fault(client: FlaskClient) -> None:
    answer = send(client, ("good.png", png()), ("my cat.jpg", b"no picture at all"))
    assert "'my cat.jpg'" in complaint(answer, 400, "not_a_picture")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/classify"])
def test_a_blank_file_input_beside_a_picture_is_left_out(client: FlaskClient, path: str) -> None:
    fields = "".join(
        f'--X\r\nContent-Disposition: form-data; name="{name}"; filename=""\r\n'
        "Content-Type: application/octet-stream\r\n\r\n\r\n"
        for name in ("files", "more")
    )
    for field in ("files", "image"):
        part = f'--X\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n\r\n'
        body = fields.encode() + part.encode() + png() + b"\r\n" + fields.encode() + b"--X--\r\n"
        answer = client.post(f"{path}?deadline=0.2", data=body, content_type="multipart/form-data; boundary=X")
        assert answer.json["request"]["files"] == ["a.png"], answer.text


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/classify"])
def test_a_request_without_a_picture_is_refused_with_how_to_send_one(client: FlaskClient, path: str) -> None:
    body: dict[str, Any]
    for body in ({"data": {"top_k": "3"}, "content_type": "multipart/form-data"}, {}, {"json": {"inputs": []}}):
        complaint(client.post(path, **body), 400, "no_input")


def test_too_many_files_are_refused_loose_or_in_an_archive(client: FlaskClient, container: Container) -> None:
    small = app_with(container, max_files=3)
    four = [(f"{number}.png", png()) for number in range(4)]
    complaint(send(small, *four), 400, "too_many_files")
    complaint(send(small, ("a.zip", zipped(*four))), 400, "too_many_files")
    complaint(send(small, ("a.tar", tarred(*four))), 400, "too_many_files")
    complaint(small.post("/v1/jobs", json={"inputs": [base64.b64encode(png()).decode()] * 4}), 400, "too_many_files")
    assert send(small, *four[:3]).status_code == 202


def test_an_archive_that_unpacks_to_too_much_is_refused(container: Container) -> None:
    small = app_with(container, max_unpacked=1_000_000)
    bomb = zipped(*[(f"{number}.bmp", b"BM" + bytes(300_000)) for number in range(5)])
    assert len(bomb) < 10_000
    answer = send(small, ("bomb.zip", bomb))
    assert answer.json["code"] in ("bad_archive", "broken_picture")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"files": (io.BytesIO(bytes(9000)), "a.png")}, "content_type": "multipart/form-data"},
        {"json": {"inputs": ["A" * 9000]}},
        {"data": bytes(9000), "content_type": "image/png"},
        {"data": bytes(9000)},
    ],
    ids=["multipart", "json", "raw", "raw without a type"],
)
def test_too_large_a_body_is_413_whatever_its_kind(container: Container, body: dict[str, Any]) -> None:
    complaint(app_with(container, max_body=5000).post("/v1/jobs", **body), 413, "too_large")


def test_a_picture_of_too_many_bytes_is_refused(container: Container) -> None:
    small = app_with(container, max_picture=2000)
    complaint(send(small, ("a.png", png() + bytes(3000))), 400, "picture_too_large")


# bad requests


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b'["a list"]', "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"[" * 50_000, "bad_json"),
        (b"{}", "no_input"),
        (b'{"inputs": 5}', "no_input"),
        (b'{"inputs": [{}]}', "bad_option"),
        (b'{"inputs": [5]}', "bad_option"),
        (b'{"inputs": [{"url": 5}]}', "bad_option"),
        (b'{"inputs": [{"url": "http://example.org", "base64": "AAAA"}]}', "bad_option"),
        (b'{"inputs": ["not base64!"]}', "bad_base64"),
        (b'{"inputs": [{"base64": "data:image/png,plain"}]}', "bad_base64"),
        (b'{"inputs": ["AAAA"]}', "not_a_picture"),
        (b'{"inputs": [{"url": "http://127.0.0.1/cat.jpg"}]}', "bad_url"),
        (b'{"inputs": [{"url": "http://[::1]/cat.jpg"}]}', "bad_url"),
        (b'{"inputs": [{"url": "http://169.254.169.254/latest/meta-data"}]}', "bad_url"),
        (b'{"inputs": [{"url": "http://10.1.2.3/cat.jpg"}]}', "bad_url"),
        (b'{"inputs": [{"url": "http://0x7f000001/"}]}', "bad_url"),
        (b'{"inputs": [{"url": "file:///etc/passwd"}]}', "bad_url"),
        (b'{"inputs": [{"url": "nonsense"}]}', "bad_url"),
    ],
)
def test_a_bad_json_body_is_refused(client: FlaskClient, container: Container, body: bytes, code: str) -> None:
    complaint(client.post("/v1/jobs", data=body, content_type="application/json"), 400, code)
    assert nothing_was_stored(client, container)


@pytest.mark.parametrize(
    ("second", "status", "code"),
    [
        ("not base64!", 400, "bad_base64"),
        ({"base64": "data:image/png,plain"}, 400, "bad_base64"),
        ({"base64": base64.b64encode(b"no picture").decode(), "name": "cat.jpg"}, 400, "not_a_picture"),
        ({"base64": base64.b64encode(b"8BPS" + bytes(50)).decode()}, 400, "wrong_format"),
        ({"base64": base64.b64encode(png()[:20]).decode()}, 400, "broken_picture"),
        ({"base64": base64.b64encode(header_of(9_000, 9_000)).decode()}, 400, "picture_too_large"),
        ({"url": "http://127.0.0.1/cat.jpg?signature=secret"}, 400, "bad_url"),
        ({"url": "nonsense"}, 400, "bad_url"),
        ({"image_id": "image_none"}, 404, "not_found"),
        ({"url": "http://example.org", "base64": "AAAA"}, 400, "bad_option"),
        ({"base64": "AAAA", "nmae": "a"}, 400, "bad_option"),
    ],
)
def test_of_several_inputs_the_one_at_fault_is_named(
    client: FlaskClient, container: Container, second: Any, status: int, code: str
) -> None:
    good = base64.b64encode(png()).decode()
    detail = complaint(client.post("/v1/jobs", json={"inputs": [good, second, good]}), status, code)
    assert detail.startswith("inputs[1]")
    assert detail.count("inputs[1]") == 1
    assert "secret" not in detail
    assert nothing_was_stored(client, container)


def test_an_only_input_needs_no_number(client: FlaskClient) -> None:
    assert "inputs[" not in complaint(client.post("/v1/jobs", json={"inputs": ["not base64!"]}), 400, "bad_base64")


def test_base64_without_padding_is_taken(client: FlaskClient) -> None:
    texts = [base64.b64encode(png() + bytes(extra)).decode().rstrip("=") for extra in range(3)]
    assert {len(text) % 4 for text in texts} == {0, 2, 3}
    assert client.post("/v1/jobs", json={"inputs": texts}).status_code == 202


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a.jpg?X-Amz-Signature=secret", "a.jpg"),
        ("/folder/a.jpg?path=/secret/b.jpg#secret", "a.jpg"),
        ("/a.jpg#secret", "a.jpg"),
        ("/m%C3%B6we%20%231.jpg?secret", "möwe #1.jpg"),
        ("/folder%2Fa.jpg", "a.jpg"),
        ("/folder/?secret=1", "folder"),
        ("/a%00%0Ab.jpg", "a\ufffd\ufffdb.jpg"),
        ("/?secret=a.jpg", "file"),
        ("?secret=/a.jpg", "file"),
        ("", "file"),
    ],
)
def test_a_picture_from_a_url_is_named_by_its_path_only(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    monkeypatch.setattr("shared.adapters.http_fetch.fetch", lambda url, **options: png())
    answer = client.post("/v1/jobs", json={"inputs": [{"url": f"http://example.org{path}"}]})
    assert answer.json["request"]["files"] == [name]
    assert "secret" not in answer.text


def test_an_error_of_a_picture_from_a_url_does_not_show_its_query(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.adapters.http_fetch.fetch", lambda url, **options: b"no picture")
    answer = client.post("/v1/jobs", json={"inputs": ["http://example.org/a.jpg?signature=secret"]})
    assert "'a.jpg'" in complaint(answer, 400, "not_a_picture")
    assert "secret" not in answer.text


def test_an_unknown_image_id_is_404(client: FlaskClient, container: Container) -> None:
    complaint(client.post("/v1/jobs", json={"inputs": [{"image_id": "image_none"}]}), 404, "not_found")
    assert nothing_was_stored(client, container)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("top_k", "0", "bad_option"),
        ("top_k", "many", "bad_option"),
        ("top_k", "1.5", "bad_option"),
        ("function_to_apply", "relu", "bad_option"),
        ("task", "detect", "bad_option"),
        ("exif", "perhaps", "bad_option"),
        ("priority", "urgent", "bad_option"),
        ("deadline", "soon", "bad_option"),
        ("deadline", "-5", "bad_option"),
        ("deadline", "1e300", "bad_option"),
        ("metadata", "[1]", "bad_option"),
        ("metadata", "{", "bad_option"),
        ("webhook", "http://127.0.0.1/hook", "bad_option"),
        ("webhook", "nonsense", "bad_option"),
        ("webhook", '{"secret": "s"}', "bad_option"),
    ],
)
def test_a_bad_option_is_refused_by_name(
    client: FlaskClient, container: Container, field: str, value: str, code: str
) -> None:
    detail = complaint(send(client, ("a.png", png()), **{field: value}), 400, code)
    assert field in detail
    assert nothing_was_stored(client, container)


@pytest.mark.parametrize(
    "extra",
    [
        {"deadline": 10**400},
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": "half \ud800 of a surrogate"}},
        {"metadata": {"a": "nul \0"}},
        {"model": "half \ud800 of a surrogate"},
        {"model": "nul \0"},
        {"model": {"name": "digits"}},
        {"webhook": "http://\ud800.example.org"},
        {"inputs": [{"base64": base64.b64encode(png()).decode(), "name": "\ud800\0"}]},
        {"inputs": [{"image_id": "\ud800"}]},
        {"top_k": 10**30},
    ],
    ids=lambda extra: f"{next(iter(extra))}-{str(extra)[-40:]}",
)
def test_odd_values_are_no_fault_of_ours(on_each_database: Container, extra: dict[str, Any]) -> None:
    client = create_app(on_each_database).test_client()
    body = json.dumps({"inputs": [base64.b64encode(png()).decode()]} | extra)

    answer = client.post("/v1/jobs", data=body, content_type="application/json")

    assert 200 <= answer.status_code < 500, answer.text
    if answer.status_code == 202:
        shown = client.get(f"/v1/jobs/{answer.json['_id']}")
        assert shown.status_code == 200
        json.loads(shown.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


UNKNOWN_OPTIONS: list[Any] = [
    ({"data": {"files": (io.BytesIO(png()), "a.png"), "topk": "2"}}, "did you mean top_k?"),
    ({"data": {"files": (io.BytesIO(png()), "a.png"), "modell": "nope"}}, "did you mean model?"),
    ({"data": png(), "query_string": {"top-k": "2"}}, "did you mean top_k?"),
    ({"json": {"inputs": [base64.b64encode(png()).decode()], "prioritty": "high"}}, "did you mean priority?"),
    ({"json": {"inputs": [{"base64": base64.b64encode(png()).decode(), "nmae": "a"}]}}, "inputs[0]"),
    (
        {"json": {"inputs": ["aGk="], "webhook": {"url": "https://a.org/", "secrett": "x"}}},
        "did you mean secret?",
    ),
    ({"data": png(), "query_string": {"xyzzy": "2"}}, "there are: model, version, task"),
    ({"json": {"input": ["aGk="]}}, "did you mean inputs?"),
]


@pytest.mark.parametrize(("sent", "says"), UNKNOWN_OPTIONS, ids=[says for _, says in UNKNOWN_OPTIONS])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/classify"])
def test_an_unknown_option_is_refused_with_the_nearest_name(
    client: FlaskClient, container: Container, path: str, sent: dict[str, Any], says: str
) -> None:
    if isinstance(data := sent.get("data"), dict):
        sent = {"data": data | {"files": (io.BytesIO(png()), "a.png")}}  # the client reads the file to its end
    assert says in complaint(client.post(path, **sent), 400, "bad_option")
    assert nothing_was_stored(client, container)


@pytest.mark.parametrize(
    "path",
    ["/v1/trainings", "/v1/keys", "/v1/models", "/v1/datasets", "/v1/models/digits/promote", "/v1/jobs/1/feedback"],
)
def test_an_unknown_option_in_the_query_is_refused_beside_a_json_body_as_well(client: FlaskClient, path: str) -> None:
    assert "bogus" in complaint(client.post(f"{path}?bogus=1", json={}), 400, "bad_option")


def test_a_file_that_was_sent_as_text_is_refused_with_what_to_write(client: FlaskClient) -> None:
    for path in ("/v1/classify", "/v1/jobs"):
        answer = client.post(path, data={"files": "a.png"}, content_type="multipart/form-data")
        assert "-F files=@FILE" in complaint(answer, 400, "no_input")
    answer = client.post("/v1/models", data={"name": "x", "weights": "x.pth"}, content_type="multipart/form-data")
    assert "-F weights=@FILE" in complaint(answer, 400, "no_input")


def test_a_misspelt_file_of_a_model_is_refused_and_no_other_weights_are_taken(client: FlaskClient) -> None:
    form = {"name": "mine", "architecture": "resnet18", "weigths": (io.BytesIO(b"tensors"), "my.pth")}
    answer = client.post("/v1/models", data=form, content_type="multipart/form-data")
    assert "did you mean weights?" in complaint(answer, 400, "bad_option")
    assert client.get("/v1/models/mine").status_code == 404


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/jobs?limt=5", "did you mean limit?"),
        ("/v1/trainings?statuss=done", "did you mean status?"),
        ("/v1/datasets?cursr=5", "did you mean cursor?"),
        ("/v1/models?name=digits", "there are: none"),
        ("/v1/jobs/1?wait=5", "there are: none"),
    ],
)
def test_an_unknown_option_of_a_look_is_refused_as_well(client: FlaskClient, path: str, says: str) -> None:
    assert says in complaint(client.get(path), 400, "bad_option")


def test_unknown_models_and_versions_are_404_and_say_what_there_is(client: FlaskClient, container: Container) -> None:
    assert "'nonsense'" in complaint(send(client, ("a.png", png()), model="nonsense"), 404, "not_found")
    assert "it has: 1" in complaint(send(client, ("a.png", png()), model="digits", version="7"), 404, "not_found")
    assert nothing_was_stored(client, container)


def test_a_model_that_is_not_ready_is_409_with_a_time_to_come_again(client: FlaskClient) -> None:
    for _ in range(2):
        answer = send(client, ("a.png", png()), model="resnet50")
        assert "resnet50" in complaint(answer, 409, "model_not_ready")
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("job_id", ["unknown", "0190f5a0-0000-7000-8000-000000000000", "%00", "%ed%a0%80", "a" * 500])
def test_an_unknown_job_is_404(client: FlaskClient, method: str, job_id: str) -> None:
    answer = client.open(f"/v1/jobs/{job_id}", method=method)
    assert answer.status_code in (400, 404)
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize("what", ["results", "events"])
def test_results_and_events_of_an_unknown_job_are_404(client: FlaskClient, what: str) -> None:
    complaint(client.get(f"/v1/jobs/unknown/{what}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/nowhere", "/v1/jobs/a/b/c", "/v1/nothing/x", "/static/x"])
def test_an_unknown_path_is_404_in_json(client: FlaskClient, path: str) -> None:
    assert path in complaint(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "POST"),
        ("POST", "/v1/jobs/some-id", "DELETE"),
        ("GET", "/v1/classify", "POST"),
        ("PATCH", "/v1/models/x", "GET"),
        ("DELETE", "/healthz", "GET"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_are_right(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    answer = client.open(path, method=method)
    assert allowed in complaint(answer, 405, "method_not_allowed")


def test_a_wrong_method_has_the_allow_header_that_http_asks_for(client: FlaskClient) -> None:
    assert "POST" in client.get("/v1/classify").headers.get("Allow", "")


def test_a_bug_of_ours_is_500_in_a_fixed_sentence_and_in_the_log(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(jobs, "submit", broken)
    answer = send(client, ("a.png", png()))
    assert "secret" not in complaint(answer, 500, "inferq_error")
    assert "secret detail" in caplog.text


def test_a_refusal_is_in_the_log_with_its_reason(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        send(client, ("a.jpg", b"no picture"))
    assert "'a.jpg' is not a picture" in caplog.text


# submitting


def test_a_submitted_job_is_202_with_its_location_and_when_to_come(client: FlaskClient) -> None:
    answer = send(client, ("a.png", png()), ("b.png", png()))
    job = answer.json
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['_id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert (job["status"], job["terminal"], job["tenantName"]) == ("QUEUED", False, "default")
    assert job["model"] == {"name": "digits", "version": "1"}
    assert job["request"]["files"] == ["a.png", "b.png"]
    assert job["progress"] == {"total": 2, "done": 0, "failed": 0}
    assert (job["predictions"], job["processed_time"]) == ([], None)
    again = client.get(job["links"]["self"]).json or {}
    assert again.pop("position") == 1
    assert again == job


def in_parts(name: str, data: bytes, field: str = "files") -> dict[str, Any]:
    return {"data": {field: (io.BytesIO(data), name)}, "content_type": "multipart/form-data"}


BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "multipart": lambda: in_parts("a.png", png()),
    "multipart under another name": lambda: in_parts("a.png", png(), "whatever"),
    "base64": lambda: {"json": {"inputs": [{"base64": base64.b64encode(png()).decode(), "name": "a.png"}]}},
    "base64 as a text": lambda: {"json": {"inputs": base64.b64encode(png()).decode()}},
    "a data URI": lambda: {"json": {"inputs": ["data:image/png;base64," + base64.b64encode(png()).decode()]}},
    "raw": lambda: {"data": png(), "content_type": "image/png"},
    "raw, wrongly named": lambda: {"data": png(), "content_type": "text/plain"},
    "raw, as curl sends it": lambda: {"data": png(), "content_type": "application/x-www-form-urlencoded"},
    "raw without a type": lambda: {"data": png()},
    "a raw archive": lambda: {"data": zipped(("a.png", png())), "content_type": "application/zip"},
    "an archive": lambda: in_parts("no-extension", zipped(("a.png", png()))),
    "a tgz with a wrong name": lambda: in_parts("a.png", tarred(("a.png", png()), mode="w:gz")),
}


@pytest.mark.parametrize("kind", BODIES)
def test_pictures_come_in_many_ways(client: FlaskClient, container: Container, kind: str) -> None:
    answer = client.post("/v1/jobs", **BODIES[kind]())
    assert answer.status_code == 202, answer.text
    with container.database.read() as uow:
        (item,) = uow.jobs.items(answer.json["_id"])
    assert job_pictures.read(container, item) == png()


def test_a_raw_body_leaves_no_temporary_file_open(client: FlaskClient) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.post("/v1/jobs", data=png())
        client.post("/v1/jobs", data=b"no picture")
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []


def test_options_may_come_in_the_query_the_form_or_the_json(client: FlaskClient) -> None:
    chosen = {"task": "classify", "exif": False, "top_k": 3, "function_to_apply": "none"}
    options = {"exif": "false", "top_k": "3", "function_to_apply": "none"}
    url = "/v1/jobs?exif=false&top_k=3&function_to_apply=none"
    encoded = {"inputs": [base64.b64encode(png()).decode()]}
    answers = [
        client.post(url, data=png()),
        send(client, ("a.png", png()), **options),
        client.post("/v1/jobs", json=encoded | options | {"top_k": 3, "exif": False}),
        client.post(url, json=encoded),
        send(client, ("a.png", png()), to=url),
    ]
    assert [answer.json["request"]["options"] for answer in answers] == [chosen] * 5


def test_metadata_priority_and_deadline_are_kept_with_the_job(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client, metadata='{"order": 7}', priority="high", deadline="2099-01-01T00:00:00.000Z")
    job = client.get(f"/v1/jobs/{job_id}").json
    assert (job["metadata"], job["deadline"]) == ({"order": 7}, "2099-01-01T00:00:00.000Z")
    assert [depth.priority for depth in container.queue.streams.depths() if depth.waiting] == ["high"]


def test_a_compact_date_is_a_deadline_as_well(client: FlaskClient) -> None:
    job_id = submitted(client, deadline="20990101")
    assert client.get(f"/v1/jobs/{job_id}").json["deadline"] == "2099-01-01T00:00:00.000Z"


def test_names_and_metadata_with_line_breaks_of_unicode_stay_on_their_line(
    client: FlaskClient, container: Container
) -> None:
    name = "a\u2028b\u2029c\x85d.png"
    job_id = send(client, (name, png()), metadata=json.dumps({"of": name, "half": "\ud800"})).json["_id"]
    work(container, 1)
    (line,) = client.get(f"/v1/jobs/{job_id}/results").text.splitlines()
    assert json.loads(line)["name"] == name
    assert client.get(f"/v1/jobs/{job_id}").json["metadata"] == {"of": name, "half": "\N{REPLACEMENT CHARACTER}"}


def test_a_deadline_in_seconds_is_counted_from_now(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client, deadline="3600")
    deadline = jobs.get(container, "default", job_id).deadline
    assert deadline == pytest.approx(time.time() + 3600, abs=60)


def test_a_job_whose_deadline_passed_expires_and_says_so(client: FlaskClient, container: Container) -> None:
    job_id = submitted(client, deadline="2001-01-01")
    work(container, 9)
    job = client.get(f"/v1/jobs/{job_id}").json
    assert (job["status"], job["terminal"], job["error"]) == ("EXPIRED", True, "expired")
    assert "deadline" in job["error_description"]


def test_names_are_kept_whatever_is_in_them(client: FlaskClient) -> None:
    names = ["größe 1.png", "猫.png", "a,b;c.png", "../../etc/passwd", "no-extension"]
    answer = send(client, *[(name, png()) for name in names])
    assert answer.json["request"]["files"] == names


def test_the_same_request_under_the_same_key_is_the_same_job(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", data=png(), headers=key)
    second = client.post("/v1/jobs", data=png(), headers=key)
    assert second.json["_id"] == first.json["_id"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(client.get("/v1/jobs").json["jobs"]) == 1


def test_another_request_under_the_same_key_is_409(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", data=png(), headers=key)
    for other in (
        client.post("/v1/jobs", data=png(colour=9), headers=key),
        client.post("/v1/jobs?top_k=1", data=png(), headers=key),
    ):
        assert first.json["_id"] in complaint(other, 409, "conflict")
    assert len(client.get("/v1/jobs").json["jobs"]) == 1


def test_the_same_request_twice_at_the_same_moment_is_one_job(on_each_database: Container) -> None:
    app = create_app(on_each_database)
    gate = threading.Barrier(6)

    def submit(_: int) -> TestResponse:
        gate.wait(10)
        return app.test_client().post("/v1/jobs", data=png(), headers={"Idempotency-Key": "once"})

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(submit, range(6)))

    assert [answer.status_code for answer in answers] == [202] * 6
    assert len({answer.json["_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(app.test_client().get("/v1/jobs").json["jobs"]) == 1


# waiting


def test_a_wait_that_runs_out_is_202_with_the_job(client: FlaskClient) -> None:
    for answer in (
        client.post("/v1/classify", data=png()),
        client.post("/v1/jobs", data=png(), headers={"Prefer": "wait=0.1"}),
    ):
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/v1/jobs/{answer.json['_id']}"
        assert client.get(answer.headers["Location"], headers={"Prefer": "wait=0.1"}).json["status"] == "QUEUED"


def test_respond_async_does_not_wait(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "wait", lambda *_: pytest.fail("it waited"))
    answer = client.post("/v1/classify", data=png(), headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json["status"]) == (202, "QUEUED")
    assert client.post("/v1/jobs", data=png()).status_code == 202


@pytest.mark.parametrize("value", ["wait=soon", "wait=1s"])
def test_a_wait_that_is_no_number_is_refused(client: FlaskClient, value: str) -> None:
    complaint(client.post("/v1/jobs", data=png(), headers={"Prefer": value}), 400, "bad_option")


# polling, listing, cancelling


def test_an_unchanged_job_is_304_and_a_changed_one_is_not(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    mark = client.get(path).headers["ETag"]
    for _ in range(2):
        same = client.get(path, headers={"If-None-Match": mark})
        assert (same.status_code, same.data) == (304, b"")
    work(container, 1)
    moved = client.get(path, headers={"If-None-Match": mark})
    assert (moved.status_code, moved.json["progress"]["done"]) == (200, 1)
    assert moved.headers["ETag"] != mark


def test_an_ended_job_has_its_answers_and_no_retry_after(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    assert "Retry-After" in client.get(path).headers
    work(container, 9)
    answer = client.get(path)
    assert "Retry-After" not in answer.headers
    job = answer.json
    assert (job["status"], job["terminal"]) == ("DONE", True)
    assert job["predictions"] == [
        {
            "name": f"{number}.png",
            "results": [{"label": "seven", "score": 0.75}, {"label": "one, or so", "score": 0.25}],
        }
        for number in range(2)
    ]
    assert job["processed_time"].endswith("GMT")


def test_a_job_in_which_nothing_succeeded_has_failed_with_a_reason(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    work(container, 9, wrong=True)
    job = client.get(path).json
    assert (job["status"], job["error"]) == ("FAILED", "no_picture_succeeded")
    assert job["error_description"] == "It is damaged."
    assert job["predictions"][1] == {
        "name": "1.png",
        "error": {"code": "broken_picture", "message": "It is damaged."},
    }


def test_partial_success_is_done_with_errors_per_picture(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    work(container, 1)
    work(container, 1, wrong=True)
    job = client.get(path).json
    assert (job["status"], job["progress"]) == ("DONE", {"total": 2, "done": 1, "failed": 1})
    assert [sorted(prediction) for prediction in job["predictions"]] == [["name", "results"], ["error", "name"]]


def test_the_list_has_all_jobs_newest_first_in_pages(client: FlaskClient) -> None:
    job_ids = [submitted(client) for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"/v1/jobs?limit=2&cursor={cursor}").json
        assert 1 <= len(page["jobs"]) <= 2
        seen += [job["_id"] for job in page["jobs"]]
        cursor = page["next"]
    assert seen == job_ids[::-1]


def test_the_list_can_be_narrowed(client: FlaskClient, container: Container) -> None:
    done = submitted(client, 1)
    work(container, 1)
    submitted(client, 1)

    def listed(query: str) -> list[str]:
        return [job["_id"] for job in client.get(f"/v1/jobs?{query}").json["jobs"]]

    assert listed("status=done") == [done]
    assert len(listed("model=digits")) == 2
    assert listed("model=resnet50") == []
    assert listed(f"until={time.time() - 3600}") == []
    assert len(listed(f"since={time.time() - 3600}")) == 2
    assert (len(listed("since=2020-01-31T12:00:00Z")), listed("until=2020-01-31T12:00:00Z")) == (2, [])
    assert (len(listed("since=20200131")), len(listed("until=9999999999"))) == (2, 2)


@pytest.mark.parametrize("query", ["status=happy", "limit=0", "limit=501", "limit=x", "since=yesterday", "until=nan"])
def test_a_bad_list_is_refused(client: FlaskClient, query: str) -> None:
    complaint(client.get(f"/v1/jobs?{query}"), 400, "bad_option")


def test_a_cancelled_job_stays_cancelled(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    assert client.delete(path).json["status"] == "CANCELLED"
    for _ in range(2):
        answer = client.post(f"{path}/cancel")
        assert (answer.status_code, answer.json["status"]) == (200, "CANCELLED")
    work(container, 9)
    job = client.get(path).json
    assert (job["status"], job["terminal"], job["progress"]["done"]) == ("CANCELLED", True, 0)


def test_an_ended_job_cannot_be_cancelled(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client)}"
    work(container, 9)
    assert "DONE" in complaint(client.post(f"{path}/cancel"), 409, "conflict")
    assert client.get(path).json["status"] == "DONE"


def test_results_are_one_line_per_picture(container: Container) -> None:
    client = app_with(container, max_queued=5000)
    path = f"/v1/jobs/{submitted(client, 1500)}/results"
    work(container, 1200)
    answer = client.get(path)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.mimetype == "application/x-ndjson"
    assert [line["position"] for line in lines] == list(range(1500))
    assert lines[0]["results"][0] == {"label": "seven", "score": 0.75}
    assert lines[1499] == {"position": 1499, "name": "1499.png", "status": "QUEUED"}


def test_results_as_csv_have_a_row_per_label(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client, 3)}/results"
    work(container, 1)
    work(container, 1, wrong=True)
    expected = [
        ["position", "name", "status", "rank", "label", "score", "error"],
        ["0", "0.png", "DONE", "1", "seven", "0.75", ""],
        ["0", "0.png", "DONE", "2", "one, or so", "0.25", ""],
        ["1", "1.png", "FAILED", "", "", "", "It is damaged."],
        ["2", "2.png", "QUEUED", "", "", "", ""],
    ]
    for query, accept in (("?format=csv", "*/*"), ("", "text/csv")):
        answer = client.get(path + query, headers={"Accept": accept}, buffered=True)
        assert answer.mimetype == "text/csv"
        assert list(csv.reader(io.StringIO(answer.text))) == expected


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://a.b")'])
def test_no_text_of_the_results_becomes_a_formula(client: FlaskClient, container: Container, text: str) -> None:
    path = f"/v1/jobs/{submitted(client, 3)}/results?format=csv"
    with container.database.write() as uow:
        uow._connection.execute(sa.update(tables.items).values(name=text))
    ends: tuple[dict[str, Any], ...] = (
        {"result": [[text, 0.75], ["seven", -0.25]]},
        {"error_code": "broken_picture", "error": text},
    )
    for version_id in container.queue.streams.version_ids():
        entries = container.queue.streams.claim(version_id, "worker", 2)
        keep = jobs.begin(container, entries)
        jobs.finish(container, [Outcome(e.job_id, e.position, **end) for e, end in zip(keep, ends, strict=True)])
    rows = list(csv.reader(io.StringIO(client.get(path, buffered=True).text, newline="")))[1:]
    assert [row[1] for row in rows] == [f"'{text}"] * 4
    assert [row[4:] for row in rows[:3]] == [[f"'{text}", "0.75", ""], ["seven", "-0.25", ""], ["", "", f"'{text}"]]


def test_results_in_another_format_are_refused(client: FlaskClient) -> None:
    complaint(client.get(f"/v1/jobs/{submitted(client)}/results?format=xml"), 400, "bad_option")


def events(answer: TestResponse | httpx.Response, chunks: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (event, data) as they arrive."""
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    for chunk in chunks:
        for block in chunk.strip().split("\n\n"):
            if block.startswith("event: "):
                kind, data = block.split("\n", 1)
                yield kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_events_follow_a_job_to_its_end(client: FlaskClient, container: Container) -> None:
    path = f"/v1/jobs/{submitted(client, 3)}/events"
    answer = client.get(path, buffered=False)
    received = events(answer, (chunk.decode() for chunk in answer.iter_encoded()))

    assert next(received)[1]["status"] == "QUEUED"
    work(container, 1)
    kind, job = next(received)
    assert (kind, job["status"], job["progress"]["done"]) == ("status", "RUNNING", 1)
    work(container, 1)
    kind, job = next(received)
    assert (kind, job["progress"]["done"]) == ("progress", 2)
    work(container, 1)
    assert [(kind, job["status"]) for kind, job in received] == [("status", "DONE"), ("done", "DONE")]
    answer.close()


# images


def test_a_kept_image_can_be_classified_by_its_id(client: FlaskClient, container: Container) -> None:
    image = stored_images.store(container, "default", "live", Picture("duck", png(), "PNG", 8, 8))
    answer = client.post("/v1/jobs", json={"inputs": [{"image_id": image.id}]})
    assert answer.status_code == 202
    assert answer.json["request"]["files"] == ["duck"]


@pytest.mark.parametrize(("tenant", "stage"), [("bert", "live"), ("default", "test")])
def test_an_image_of_another_tenant_or_stage_is_as_unknown_as_none(
    client: FlaskClient, container: Container, tenant: str, stage: str
) -> None:
    image = stored_images.store(container, tenant, stage, Picture("duck", png(), "PNG", 8, 8))
    theirs = client.post("/v1/jobs", json={"inputs": [{"image_id": image.id}]})
    none = client.post("/v1/jobs", json={"inputs": [{"image_id": "image_none"}]})
    assert complaint(theirs, 404, "not_found").replace(image.id, "image_none") == complaint(none, 404, "not_found")
    assert nothing_was_stored(client, container)


# keys and tenants


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def owner(client: FlaskClient) -> dict[str, str]:
    """Create the first key; return its headers."""
    answer = client.post("/v1/keys", json={"name": "owner", "scopes": ["infer", "models", "keys"]})
    assert answer.status_code == 201
    return bearer(answer.json["key"])


@pytest.fixture
def tenant(client: FlaskClient, owner: dict[str, str]) -> Callable[..., dict[str, str]]:
    """A function that returns headers with a new key of a tenant."""

    def make(name: str, *scopes: str) -> dict[str, str]:
        request = {"tenant": name, "scopes": scopes or ("infer", "models", "keys")}
        answer = client.post("/v1/keys", json=request, headers=owner)
        assert (answer.status_code, answer.json["tenant"]) == (201, name)
        return bearer(answer.json["key"])

    return make


def test_the_door_is_open_on_loopback_until_the_first_key_exists(client: FlaskClient) -> None:
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs", headers=bearer("anything")).status_code == 200
    key = client.post("/v1/keys", json={"name": "owner", "scopes": ["keys", "infer"]}).json["key"]

    answer = client.get("/v1/jobs")

    assert "API key is required" in complaint(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    complaint(client.get("/v1/jobs", headers=bearer("anything")), 401, "unauthorized")
    assert client.get("/v1/jobs", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        {"environ_base": {"REMOTE_ADDR": "10.1.2.3"}},
        {"headers": {"X-Forwarded-For": "127.0.0.1"}},
        {"headers": {"Forwarded": "for=127.0.0.1"}},
    ],
)
def test_the_door_is_never_open_to_others(client: FlaskClient, request_: dict[str, Any]) -> None:
    complaint(client.get("/v1/jobs", **request_), 401, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer   {}"},
        {"Authorization": "{}"},
        {"x-api-key": "{}"},
        {"APIKey": "{}"},
        {"apikey": "Bearer {}"},
        {"Authorization": "Bearer null", "APIKey": "{}"},
        {"Authorization": "Bearer wrong", "x-api-key": "{}"},
    ],
)
def test_a_key_is_taken_wherever_clients_put_it(
    client: FlaskClient, owner: dict[str, str], headers: dict[str, str]
) -> None:
    key = owner["Authorization"].split()[1]
    sent = {name: value.format(key) for name, value in headers.items()}
    assert client.get("/v1/jobs", headers=sent).status_code == 200


def test_the_first_key_must_be_able_to_make_others(client: FlaskClient) -> None:
    assert "'keys'" in complaint(client.post("/v1/keys", json={"scopes": ["infer"]}), 400, "bad_option")
    assert client.get("/v1/jobs").status_code == 200


def test_a_keys_text_is_shown_once_and_a_revoked_key_is_refused(client: FlaskClient, owner: dict[str, str]) -> None:
    created = client.post("/v1/keys", json={"name": "short-lived"}, headers=owner).json
    listed = client.get("/v1/keys", headers=owner)
    assert created["key"] not in listed.text
    assert {"owner", "short-lived"} == {key["name"] for key in listed.json["keys"]}
    assert created["key"].startswith(created["prefix"])
    assert client.get("/v1/jobs", headers=bearer(created["key"])).status_code == 200

    assert client.delete(f"/v1/keys/{created['id']}", headers=owner).status_code == 204

    complaint(client.get("/v1/jobs", headers=bearer(created["key"])), 401, "unauthorized")
    complaint(client.delete(f"/v1/keys/{created['id']}", headers=owner), 404, "not_found")


def test_revoking_the_last_key_does_not_open_the_door_again(client: FlaskClient, owner: dict[str, str]) -> None:
    (key,) = client.get("/v1/keys", headers=owner).json["keys"]
    assert client.delete(f"/v1/keys/{key['id']}?force=true", headers=owner).status_code == 204
    complaint(client.get("/v1/jobs"), 401, "unauthorized")


def test_the_last_key_that_makes_others_is_revoked_only_by_force(
    client: FlaskClient, owner: dict[str, str], tenant: Callable[..., dict[str, str]]
) -> None:
    (first,) = client.get("/v1/keys", headers=owner).json["keys"]
    tenant("anna")  # cannot make keys for others
    tenant("default", "infer")
    says = complaint(client.delete(f"/v1/keys/{first['id']}", headers=owner), 409, "conflict")
    assert "force=true" in says
    assert client.get("/v1/keys", headers=owner).status_code == 200

    other = tenant("default", "keys", "infer")
    assert client.delete(f"/v1/keys/{first['id']}", headers=owner).status_code == 204
    complaint(client.delete(f"/v1/keys/{first['id']}", headers=other), 404, "not_found")


def test_any_key_is_revoked_where_an_admin_key_makes_others(container: Container) -> None:
    guarded = replace(container, settings=container.settings.changed(admin_key="admin"))
    client = apps.over(guarded).test_client()
    made = client.post("/v1/keys", json={"scopes": ["keys"]}, headers=bearer("admin")).json
    assert client.delete(f"/v1/keys/{made['id']}", headers=bearer(made["key"])).status_code == 204


@pytest.mark.parametrize("scopes", [["infer"], ["models"], ["keys", "infer"], []])
def test_a_key_gives_no_scope_that_it_lacks(
    client: FlaskClient, tenant: Callable[..., dict[str, str]], scopes: list[str]
) -> None:
    keys_only = tenant("anna", "keys")
    says = complaint(client.post("/v1/keys", json={"scopes": scopes}, headers=keys_only), 403, "forbidden")
    assert "scopes that it lacks" in says
    assert client.post("/v1/keys", json={"scopes": ["keys"]}, headers=keys_only).status_code == 201


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("models", "GET", "/v1/jobs"),
        ("models", "POST", "/v1/jobs"),
        ("models", "POST", "/v1/classify"),
        ("infer", "POST", "/v1/models"),
        ("infer", "DELETE", "/v1/models/digits"),
        ("infer", "PUT", "/v1/aliases/google/vit"),
        ("infer", "DELETE", "/v1/aliases/google/vit"),
        ("infer", "POST", "/v1/keys"),
        ("infer", "GET", "/v1/keys"),
        ("models", "DELETE", "/v1/keys/x"),
    ],
)
def test_a_key_without_the_scope_is_403(
    client: FlaskClient, tenant: Callable[..., dict[str, str]], scope: str, method: str, path: str
) -> None:
    assert scope in complaint(client.open(path, method=method, headers=tenant("anna", scope)), 403, "forbidden")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scopes": ["everything"]}, "'everything'"),
        ({"scopes": "infer"}, "list"),
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "x" * 64}, "tenant"),
        ({"tenant": "*"}, "tenant"),
    ],
)
def test_a_bad_key_is_refused(client: FlaskClient, owner: dict[str, str], fields: dict[str, Any], says: str) -> None:
    assert says in complaint(client.post("/v1/keys", json=fields, headers=owner), 400, "bad_option")


def test_only_the_default_tenant_makes_keys_for_others(
    client: FlaskClient, tenant: Callable[..., dict[str, str]]
) -> None:
    anna = tenant("anna")
    complaint(client.post("/v1/keys", json={"tenant": "bert"}, headers=anna), 403, "forbidden")
    assert client.post("/v1/keys", json={}, headers=anna).json["tenant"] == "anna"


def test_one_tenant_never_sees_anothers_jobs(client: FlaskClient, tenant: Callable[..., dict[str, str]]) -> None:
    anna, bert = tenant("anna"), tenant("bert")
    job_id = submitted(client, headers=anna)
    for method, action in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")):
        path = f"/v1/jobs/{job_id}{action}"
        same = complaint(client.open(path, method=method, headers=bert), 404, "not_found")
        none = complaint(client.open(f"/v1/jobs/none{action}", method=method, headers=bert), 404, "not_found")
        assert same.replace(job_id, "none") == none
    for what in ("results", "events"):
        complaint(client.get(f"/v1/jobs/{job_id}/{what}", headers=bert), 404, "not_found")
    assert client.get("/v1/jobs", headers=bert).json["jobs"] == []
    assert client.get(f"/v1/jobs/{job_id}", headers=anna).json["status"] == "QUEUED"


def test_one_tenant_never_sees_anothers_models(
    client: FlaskClient, container: Container, tenant: Callable[..., dict[str, str]]
) -> None:
    anna, bert = tenant("anna"), tenant("bert")
    mine = ModelVersion(
        str(uuid6.uuid7()), "anna", "mine", "1", "digits", "digits", ModelState.READY, 1.0, labels=("a",) * 10
    )
    with container.database.write() as uow:
        uow.model_versions.add(mine)
    assert submitted(client, headers=anna, model="mine")
    for answer in (
        client.get("/v1/models/mine", headers=bert),
        client.get("/v1/models/mine/versions/1", headers=bert),
        client.delete("/v1/models/mine", headers=bert),
        client.delete("/v1/models/mine/versions/1", headers=bert),
        client.post("/v1/jobs", data=parts(("a.png", png()), model="mine"), headers=bert),
    ):
        complaint(answer, 404, "not_found")
    for path in ("/v1/models", "/v1/queue", "/v1/workers"):
        assert "mine" not in client.get(path, headers=bert).text
    assert "mine" in client.get("/v1/models", headers=anna).text


def test_one_tenant_never_sees_anothers_aliases(client: FlaskClient, tenant: Callable[..., dict[str, str]]) -> None:
    anna, bert = tenant("anna"), tenant("bert")
    assert client.put("/v1/aliases/google/vit", json={"model": "digits"}, headers=anna).status_code == 201
    assert submitted(client, headers=anna, model="google/vit")
    for path in ("/v1/aliases", "/v1/models"):
        assert "google/vit" in client.get(path, headers=anna).text
        assert "google/vit" not in client.get(path, headers=bert).text
    complaint(client.delete("/v1/aliases/google/vit", headers=bert), 404, "not_found")
    used = client.post("/v1/jobs", data=parts(("a.png", png()), model="google/vit"), headers=bert)
    complaint(used, 404, "not_found")


def test_one_tenant_never_sees_anothers_keys(client: FlaskClient, tenant: Callable[..., dict[str, str]]) -> None:
    anna, bert = tenant("anna"), tenant("bert")
    (key,) = client.get("/v1/keys", headers=anna).json["keys"]
    complaint(client.delete(f"/v1/keys/{key['id']}", headers=bert), 404, "not_found")
    assert key["id"] not in client.get("/v1/keys", headers=bert).text
    assert client.get("/v1/jobs", headers=anna).status_code == 200


def test_tenants_do_not_share_idempotency_keys(client: FlaskClient, tenant: Callable[..., dict[str, str]]) -> None:
    ids = [
        client.post("/v1/jobs", data=png(), headers=tenant(name) | {"Idempotency-Key": "once"}).json["_id"]
        for name in ("anna", "bert")
    ]
    assert ids[0] != ids[1]


def test_the_catalogue_can_be_used_by_all_tenants_and_removed_by_none(client: FlaskClient) -> None:
    names = {model["name"] for model in client.get("/v1/models").json["models"]}
    assert names == {"digits", "efficientnet_lite0", "resnet50"}
    complaint(client.delete("/v1/models/digits"), 403, "forbidden")
    assert client.get("/v1/models/digits/versions/1").json["label_names"] == list("0123456789")
    complaint(client.get("/v1/models/nonsense"), 404, "not_found")


@pytest.mark.parametrize("name", ["", "two words", "../up", "x" * 101])
def test_weights_under_a_bad_name_are_refused_and_not_kept(
    client: FlaskClient, container: Container, name: str
) -> None:
    body = {"name": name, "architecture": "digits", "weights": (io.BytesIO(b"weights"), "uow.pth")}
    complaint(client.post("/v1/models", data=body, content_type="multipart/form-data"), 400, "bad_option")
    assert container.storage.list("uploads") == []


# health, numbers, and odd addresses


def test_alive_ready_and_why_not(client: FlaskClient, container: Container) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["workers"]) == (503, "No worker is running.")
    assert (answer.json["database"], answer.json["queue"], answer.json["model"]) == ("ok", "ok", "ok")
    assert answer.headers["Retry-After"]
    container.queue.workers.heartbeat("worker", {"pictures": 0}, 60)
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(("tenant", "is_named"), [(ALL_TENANTS, True), ("default", False)])
def test_the_name_of_a_private_default_model_is_not_shown_to_all(
    container: Container, tenant: str, is_named: bool
) -> None:
    version = models.get_version(container, "default", "digits")
    private = replace(
        version, id="secret-1", name="secret", tenant=tenant, state=ModelState.CHECKING, reason="a_file.pth is read"
    )
    with container.database.write() as uow:
        uow.model_versions.add(private)
    chosen = replace(container, settings=container.settings.changed(default_model="secret"))
    says = apps.over(chosen).test_client().get("/readyz").json["model"]
    assert says.startswith("The default model ")
    assert ("secret" in says, "a_file.pth" in says) == (is_named, is_named)


def test_the_numbers_are_in_the_metrics(client: FlaskClient, container: Container) -> None:
    submitted(client, 3)
    container.queue.workers.heartbeat("worker-1", {"pictures": 42}, 60)
    answer = client.get("/metrics")
    assert answer.mimetype == "text/plain"
    lines = answer.text.splitlines()
    assert 'inferq_queue_waiting{model="digits",priority="normal",version="1"} 3.0' in lines
    assert 'inferq_worker_pictures_total{worker="worker-1"} 42.0' in lines
    assert "inferq_workers 1.0" in lines


def test_the_queue_and_the_workers_can_be_looked_at(client: FlaskClient, container: Container) -> None:
    submitted(client, 3)
    about = {"since": 0.0, "pictures": 1, "models": ["digits/1"], "rates": {}, "device": "cpu", "holds": 0}
    container.queue.workers.heartbeat("worker-1", about, 60)
    queue = client.get("/v1/queue").json
    assert (queue["waiting"], queue["running"]) == (3, 0)
    (stream,) = queue["queue"]
    assert (stream["model"], stream["version"], stream["priority"], stream["waiting"]) == ("digits", "1", "normal", 3)
    (worker,) = client.get("/v1/workers").json["workers"]
    assert (worker["id"], worker["since"], worker["models"]) == ("worker-1", "1970-01-01T00:00:00.000Z", ["digits/1"])


def test_a_worker_tells_its_memory_and_an_older_one_does_not(client: FlaskClient, container: Container) -> None:
    about = {"since": 0.0, "rates": {}, "device": "cuda", "memory": 5, "card_memory": {"used": 2, "total": 3}}
    container.queue.workers.heartbeat("newer", about, 60)
    container.queue.workers.heartbeat("older", {"since": 0.0, "rates": {}, "device": "cpu"}, 60)
    newer, older = client.get("/v1/workers").json["workers"]
    assert (newer["memory"], newer["card_memory"]) == (5, {"used": 2, "total": 3})
    assert (older["memory"], older["card_memory"]) == (None, None)


def test_the_queue_by_tenant_is_the_callers_own_and_for_the_operator_that_of_all(
    client: FlaskClient, container: Container
) -> None:
    owner = {"Authorization": f"Bearer {client.post('/v1/keys', json={'scopes': ['infer', 'keys']}).json['key']}"}
    given = {"tenant": "anna", "scopes": ["infer", "keys"]}
    anna = {"Authorization": f"Bearer {client.post('/v1/keys', json=given, headers=owner).json['key']}"}
    submitted(client, 2, headers=owner)
    submitted(client, 3, headers=anna)
    submitted(client, 1, headers=anna, priority="high")
    rows = {
        name: sorted((row["tenant"], row["priority"], row["waiting"]) for row in answer["queue"])
        for name, headers in (("owner", owner), ("anna", anna))
        if (answer := client.get("/v1/queue?by=tenant", headers=headers).json)
    }
    assert rows["anna"] == [("anna", "high", 1), ("anna", "normal", 3)]
    assert rows["owner"] == [*rows["anna"], ("default", "normal", 2)]
    assert all("tenant" not in row for row in client.get("/v1/queue", headers=anna).json["queue"])
    history = {name: client.get("/v1/history", headers=key).json for name, key in (("owner", owner), ("anna", anna))}
    assert {name: answer["tenants"] for name, answer in history.items()} == {"owner": "all", "anna": "own"}


def test_the_history_has_its_span_and_refuses_others(client: FlaskClient) -> None:
    hour, day = (client.get(f"/v1/history?span={span}").json for span in ("hour", "day"))
    assert (len(hour["points"]), len(day["points"])) == (60, 96)
    assert hour["points"][0]["seconds"] == 60
    assert hour["recent"] | {"at": ""} == {
        "at": "", "seconds": 300, "arrived": 0, "answered": 0, "failed": 0, "waiting": None, "running": None,
        "oldest_seconds": None, "workers": None, "latency": None,
    }  # fmt: skip
    assert "hour, day" in complaint(client.get("/v1/history?span=week"), 400, "bad_option")


@pytest.mark.parametrize("path", ["/v1//jobs", "/v1///jobs/", "//v1//jobs", "/v1/jobs/"])
def test_doubled_and_trailing_slashes_do_not_matter(client: FlaskClient, path: str) -> None:
    # Set by hand, because the test client takes what follows two slashes for a host.
    assert client.get("/", environ_overrides={"PATH_INFO": path}).json == {"jobs": [], "next": None}
    assert client.post("/", data=png(), environ_overrides={"PATH_INFO": path}).status_code == 202


def test_a_database_that_is_away_is_503_with_a_time_to_come_again(container: Container) -> None:
    away = create_app(replace(container, database=Database("postgresql://127.0.0.1:9/none"))).test_client()
    for answer in (away.get("/v1/jobs"), away.post("/v1/jobs", data=png()), away.get("/v1/models")):
        complaint(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert away.get("/healthz").status_code == 200
    assert away.get("/readyz").json["database"] != "ok"


def test_a_redis_that_is_away_refuses_new_jobs_and_still_shows_old_ones(
    client: FlaskClient, container: Container
) -> None:
    job_id = submitted(client)
    queue = Queue(Settings(redis_url="redis://127.0.0.1:9/0"))
    away = create_app(replace(container, queue=queue)).test_client()
    answer = away.post("/v1/jobs", data=png())
    complaint(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert away.get(f"/v1/jobs/{job_id}").json["_id"] == job_id
    assert len(away.get("/v1/jobs").json["jobs"]) == 1
    assert away.get("/readyz").json["queue"] != "ok"
    queue.close()


# with a real worker behind it


def best(job: dict[str, Any]) -> list[str]:
    return [prediction["results"][0]["label"] for prediction in job["predictions"]]


def classify(stack: Stack, *files: tuple[str, bytes], **fields: Any) -> httpx.Response:
    sent = [("files", file) for file in files]
    return httpx.post(f"{stack.url}/v1/classify", files=sent, data={"model": "digits"} | fields, timeout=60)


def test_ten_digits_come_back_with_their_labels(stack: Stack) -> None:
    answer = classify(stack, *digits(), top_k="3")
    job = answer.json()
    assert (answer.status_code, job["status"]) == (200, "DONE")
    assert best(job) == list("0123456789")
    assert all(len(prediction["results"]) == 3 for prediction in job["predictions"])
    scores = [result["score"] for result in job["predictions"][0]["results"]]
    assert scores == sorted(scores, reverse=True)


def test_photos_as_phones_and_tools_make_them_are_classified(stack: Stack) -> None:
    register_heif_opener()
    seven = Image.open(io.BytesIO(digits()[7][1])).convert("RGB").resize((112, 112))
    heic, jpeg = io.BytesIO(), io.BytesIO()
    seven.save(heic, "HEIF")
    seven.save(jpeg, "JPEG", quality=95)
    photo, plain = jpeg.getvalue(), digits()[7][1]
    prompt = b"zTXtprompt\0\0" + zlib.compress(bytes(2_000_000))
    text = struct.pack(">I", len(prompt) - 4) + prompt + struct.pack(">I", zlib.crc32(prompt))
    files = {
        "photo.heic": heic.getvalue(),
        "no_end.jpg": photo[:-2],
        "motion.jpg": photo + b"ftypmp42" + b"\xff\xda" * 500,
        "large_text.png": plain[:33] + text + plain[33:-12] + text + plain[-12:],
    }
    answer = classify(stack, *files.items())
    assert best(answer.json()) == ["7"] * 4
    folder = zipped(*((f"photos/{name}", data) for name, data in files.items()), ("__MACOSX/photos/._a.jpg", b"x"))
    packed = classify(stack, ("photos.zip", folder)).json()
    assert [prediction["name"] for prediction in packed["predictions"]] == list(files)
    assert best(packed) == ["7"] * 4


def test_submit_then_poll_gives_the_same_answer(stack: Stack) -> None:
    job = stack.submit(digits(), model="digits")
    assert best(stack.finished(job["_id"], 30)) == list("0123456789")


def test_a_picture_that_cannot_be_decoded_is_a_400_that_keeps_the_id(stack: Stack) -> None:
    answer = classify(stack, ("cut.png", digits()[0][1][:-30]))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "broken_picture")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert stack.get(problem["links"]["job"])["status"] == "FAILED"


def test_a_broken_picture_among_good_ones_fails_alone(stack: Stack) -> None:
    good, cut = digits()[4], ("cut.png", digits()[0][1][:-30])
    answer = classify(stack, good, cut, good)
    assert answer.status_code == 200
    first, second, third = answer.json()["predictions"]
    assert second["error"]["code"] == "broken_picture"
    assert first["results"] == third["results"]
    assert first["results"][0]["label"] == "4"


def test_json_raw_and_stored_pictures_get_the_same_answer(stack: Stack) -> None:
    name, data = digits()[7]
    url = f"{stack.url}/v1/classify?model=digits"
    kept = {"base64": base64.b64encode(data).decode(), "name": name}
    image = httpx.post(f"{stack.url}/v1/images", json=kept).json()
    inputs = [kept, {"image_id": image["id"]}]
    both = httpx.post(url, json={"inputs": inputs}, timeout=60).json()
    raw = httpx.post(url, content=data, timeout=60).json()
    results = [prediction["results"] for prediction in both["predictions"] + raw["predictions"]]
    for result in results:  # the batches differ, and with them the last digits
        assert [label["label"] for label in result] == [label["label"] for label in results[0]]
        assert result[0] == {"label": "7", "score": pytest.approx(results[0][0]["score"], abs=1e-5)}


def test_features_are_flat_numbers(stack: Stack) -> None:
    job = classify(stack, digits()[1], task="features").json()
    (prediction,) = job["predictions"]
    assert "results" not in prediction
    assert len(prediction["featureVectors"]) == 896
    assert all(isinstance(number, float) for number in prediction["featureVectors"])


def test_an_archive_streams_its_results(stack: Stack) -> None:
    members = [(f"{number:03d}.png", digits()[number % 10][1]) for number in range(300)]
    job = stack.submit([("many.zip", zipped(*members))], model="digits", top_k="1")
    stack.finished(job["_id"], 60)
    with httpx.stream("GET", f"{stack.url}/v1/jobs/{job['_id']}/results") as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert [line["results"][0]["label"] for line in lines] == [str(number % 10) for number in range(300)]


def test_events_end_with_done(stack: Stack) -> None:
    job = stack.submit([("many.zip", zipped(*digits()))], model="digits")
    with httpx.stream("GET", f"{stack.url}/v1/jobs/{job['_id']}/events", timeout=60) as answer:
        received = list(events(answer, iter(answer.read().decode().split("\n\n"))))
    assert [kind for kind, _ in received][-1] == "done"
    assert received[-1][1]["progress"] == {"total": 10, "done": 10, "failed": 0}


def test_the_whole_stack_says_that_it_is_ready(stack: Stack) -> None:
    ready = stack.get("/readyz")
    assert set(ready.values()) == {"ready", "ok"}
    (worker,) = stack.get("/v1/workers")["workers"]
    assert worker["device"]
    assert "inferq_workers 1.0" in httpx.get(f"{stack.url}/metrics").text


def test_a_request_that_would_wait_in_vain_is_told_when_to_come_back(client: FlaskClient, container: Container) -> None:
    version = models.get_version(container, "default", "digits")
    container.queue.workers.heartbeat("worker", {"rates": {version.id: 0.1}}, 60.0)
    client.post("/v1/jobs?model=digits", data=png())

    refused = client.post("/v1/classify?model=digits", data=png(), headers={"Prefer": "wait=1"})

    assert (refused.status_code, refused.json["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) >= 9
    assert client.post("/v1/jobs?model=digits", data=png()).status_code == 202
    jobs_now = client.get("/v1/jobs").json["jobs"]
    assert len(jobs_now) == 2


@pytest.mark.parametrize(("request_of", "is_held"), [
    ({"data": png(), "content_type": "image/png"}, True),
    ({"data": png(), "content_type": "image/png", "headers": {"Idempotency-Key": "one"}}, False),
    ({"data": png(), "content_type": "application/octet-stream"}, False),  # which JSON with options may be, too
    ({"data": {"file": (io.BytesIO(png()), "a.png")}}, False),
])  # fmt: skip
def test_overload_is_said_of_the_next_requests_too_if_their_pictures_are_all_that_differs(
    client: FlaskClient,
    container: Container,
    monkeypatch: pytest.MonkeyPatch,
    request_of: dict[str, Any],
    is_held: bool,
) -> None:
    seen: list[dict[str, Any]] = []
    application = client.application.wsgi_app

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ)
        return application(environ, start_response)

    monkeypatch.setattr(client.application, "wsgi_app", watched)
    version = models.get_version(container, "default", "digits")
    container.queue.workers.heartbeat("worker", {"rates": {version.id: 0.001}}, 60.0)
    client.post("/v1/jobs?model=digits", data=png())

    refused = client.post("/v1/classify?model=digits", **request_of)

    assert refused.json["code"] == "overloaded"
    assert (HOLDS_FOR in seen[-1]) == is_held


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_results_that_cannot_be_read_to_the_end_say_so_in_their_last_line(
    client: FlaskClient, container: Container, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    job_id = client.post("/v1/jobs", data={"files": [(io.BytesIO(png()), f"{n}.png") for n in range(3)]}).json["_id"]
    listed, calls = jobs.list_items, itertools.count()

    def failing(*arguments: Any, **bounds: Any) -> list[Item]:
        if next(calls):
            raise errors.Unavailable
        return listed(*arguments, **bounds)

    monkeypatch.setattr(native_jobs, "PAGE", 2)
    monkeypatch.setattr(jobs, "list_items", failing)
    lines = client.get(f"/v1/jobs/{job_id}/results?format={kind}").text.splitlines()
    assert len(lines) == (3 if kind == "ndjson" else 4)
    assert "The results end here" in lines[-1]
    if kind == "ndjson":
        assert json.loads(lines[-1])["error"]["code"] == "incomplete"
