"""The IMG Processing wire, as its documentation and its clients show it; answers are checked against the document."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jsonschema
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from api.dialects import img_processing
from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain.jobs import Job, Outcome
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ALL_TENANTS, STANDARD, ModelState
from shared.domain.stored_images import StoredImage, new_id
from shared.services import catalogue, default_models, jobs, keys, stored_images, usage
from tests import apps, stacks
from tests.stacks import Stack

DIGITS = stacks.digits()
SEVEN = DIGITS[7][1]
ERRORS = "https://docs.img-processing.com/errors"
FAULT = "Something unexpected happened on our side. Try again, and contact support if it happens again."
USAGE = "X-Image-Processing-Usage"
UNKNOWN_IMAGE = f"image_{'0' * 24}"


def picture(format: str = "PNG", width: int = 9, height: int = 7) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, format)
    return out.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# the schema of each answer


def fits(
    container: Container, method: str, path: str, status: int, headers: Mapping[str, str] | Headers, text: str
) -> None:
    """Check that an answer has the schema of its call and status."""
    document = img_processing.openapi(container.settings)
    described: dict[str, Any] = next((calls for shape, calls in document["paths"].items() if _is(path, shape)), {})
    responses = described.get(method.lower(), {}).get("responses", {})
    response = responses.get(str(status)) or responses.get("default") or {"content": _problem()}
    content = response.get("content", {})
    if "application/json" not in content:
        assert (status, text) == (204, "") or headers["Content-Type"].startswith("image/")
        return
    assert headers["Content-Type"] == "application/json"
    body = json.loads(text)
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)
    if status >= 400:
        words = "errors" if status == 422 else "message"
        assert list(body) == ["type", "error", "status", words]
        assert body["status"] == status
        assert body["type"] == f"{ERRORS}/{body['error'].lower().replace(' ', '-')}"


def _is(path: str, shape: str) -> bool:
    return bool(re.fullmatch(re.sub(r"{\w+}", "[^/]+", shape), path.partition("?")[0]))


def _problem() -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


@dataclass
class Wire:
    """A client of the wire with one key."""

    container: Container
    key: str = ""

    @cached_property
    def client(self) -> FlaskClient:
        return apps.over(self.container).test_client()

    def __call__(self, method: str, path: str, **sent: Any) -> TestResponse:
        headers = ({"x-api-key": self.key} if self.key else {}) | sent.pop("headers", {})
        answer = self.client.open(path, method=method, headers=headers, **sent)
        text = answer.text if answer.is_json or not answer.data else ""
        fits(self.container, method, path, answer.status_code, answer.headers, text)
        return answer

    def upload(self, data: bytes = SEVEN, name: str | None = "seven", part: str = "image") -> TestResponse:
        fields = {} if name is None else {"name": name}
        return self("POST", "/v1/images/upload", data=fields | {part: (io.BytesIO(data), "blob")})

    def kept(self, data: bytes = SEVEN, name: str = "seven") -> str:
        """Upload an image; return its id."""
        answer = self.upload(data, name)
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])

    def with_settings(self, **changed: Any) -> Wire:
        return Wire(replace(self.container, settings=self.container.settings.changed(**changed)), self.key)


@pytest.fixture
def wire(container: Container) -> Wire:
    """A client without a key, of the stage `live`."""
    return Wire(container).with_settings(img_live_rate="", img_test_rate="")


@pytest.fixture
def key_maker(wire: Wire) -> Callable[..., Wire]:
    """A function that returns a client with a new key."""
    owner = Caller("default", SCOPES)
    keys.create(wire.container, owner, scopes=SCOPES)

    def make(tenant: str = "anna", stage: str = "live", *scopes: str) -> Wire:
        _, text = keys.create(wire.container, owner, tenant=tenant, stage=stage, scopes=scopes or ("infer",))
        return Wire(wire.container, text)

    return make


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that sets the answer for the next picture, in place of a worker."""

    def say(result: Any = None, **failed: Any) -> None:
        async def wait(container: Container, job: Job, seconds: float) -> Job:
            jobs.finish(container, [Outcome(job.id, 0, result, **failed)])
            return jobs.get(container, job.tenant, job.id)

        monkeypatch.setattr(jobs, "wait", wait)

    return say


def refused(answer: TestResponse, status: int, title: str, message: str) -> None:
    slug = title.lower().replace(" ", "-")
    body = {"type": f"{ERRORS}/{slug}", "error": title, "status": status, "message": message}
    assert (answer.status_code, answer.json) == (status, body)


def invalid(answer: TestResponse, *complaints: str) -> None:
    body = {"type": f"{ERRORS}/validation-error", "error": "Validation Error", "status": 422}
    assert (answer.status_code, answer.json) == (422, body | {"errors": list(complaints)})


# keeping images


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_upload_is_answered_with_the_image(wire: Wire, format: str) -> None:
    data = picture(format)
    answer = wire.upload(data, "mug")
    assert answer.status_code == 201
    image = answer.json
    assert re.fullmatch(r"image_[a-z0-9]{24}", image.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", image["created_at"])
    assert abs(datetime.fromisoformat(image.pop("created_at")).timestamp() - wire.container.now()) < 60
    assert image == {
        "name": "mug",
        "url": None,
        "width": 9,
        "height": 7,
        "format": format.lower(),
        "size": len(data),
    }


def test_an_image_is_shown_downloaded_and_deleted(wire: Wire) -> None:
    image = wire.upload(SEVEN, "seven").json
    path = f"/v1/images/{image['id']}"
    assert wire("GET", path).json == image
    download = wire("GET", f"{path}/download", headers={"Accept": "image/*"})
    assert (download.data, download.mimetype) == (SEVEN, "image/png")
    assert download.headers["X-Content-Type-Options"] == "nosniff"
    assert download.headers["Content-Disposition"].startswith("attachment")

    answer = wire("DELETE", path, headers={"Accept": "*/*"})
    assert (answer.status_code, answer.data) == (204, b"")

    message = f"Image with id {image['id']} not found."
    for gone in (wire("GET", path), wire("DELETE", path), wire("GET", f"{path}/download")):
        refused(gone, 404, "Not Found", message)
    (day,) = wire.container.storage.list("images")
    assert wire.container.storage.list(day) == []


def test_an_image_whose_bytes_the_storage_lacks_is_asked_for_again_and_can_be_deleted(wire: Wire) -> None:
    image_id = wire.kept()
    with wire.container.database.read() as uow:
        image = uow.stored_images.find(image_id)
    assert image
    wire.container.storage.delete(image.blob)
    answer = wire("GET", f"/v1/images/{image_id}/download")
    assert (answer.status_code, answer.json["error"]) == (503, "Internal Error")  # the words of the vendor for all 5xx
    assert f"The storage lacks the image {image_id}, which nobody removed" in answer.json["message"]
    assert wire("DELETE", f"/v1/images/{image_id}").status_code == 204


def test_an_image_can_be_kept_in_base64(wire: Wire) -> None:
    answer = wire("POST", "/v1/images", json={"name": "seven", "base64": f"data:image/png;base64,{encoded(SEVEN)}"})
    assert (answer.status_code, answer.json["name"], answer.json["size"]) == (201, "seven", len(SEVEN))
    assert wire("GET", f"/v1/images/{answer.json['id']}/download").data == SEVEN


def test_a_name_of_up_to_30_characters_is_kept_as_sent(wire: Wire) -> None:
    for name in ("a", "x" * 30, "größe 猫", "a/b\\c.png"):
        assert wire.upload(name=name).json["name"] == name


# from a URL


class Elsewhere(BaseHTTPRequestHandler):
    """A server with one picture that is reached under two names."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(200 if self.path == "/seven.png" else 404)
        self.end_headers()
        self.wfile.write(SEVEN)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def from_url(wire: Wire, url: str) -> TestResponse:
    return wire("POST", "/v1/images", json={"name": "seven", "url": url})


def test_an_image_can_be_fetched_from_a_url(wire: Wire, port: int) -> None:
    answer = from_url(wire.with_settings(fetch_private=True), f"http://127.0.0.1:{port}/seven.png")
    assert (answer.status_code, answer.json["name"], answer.json["format"]) == (201, "seven", "png")
    assert wire("GET", f"/v1/images/{answer.json['id']}/download").data == SEVEN


def test_only_the_hosts_of_the_setting_are_asked_even_by_a_redirect(wire: Wire, port: int) -> None:
    narrow = wire.with_settings(fetch_private=True, img_hosts="*.example.com, LocalHost")
    here, there = (f"http://{host}:{port}/seven.png" for host in ("localhost", "127.0.0.1"))
    assert from_url(narrow, here).status_code == 201
    assert from_url(narrow, f"http://localhost:{port}/to/{here}").status_code == 201
    says = "url cannot be used: Pictures are not fetched from that host. Send the bytes themselves."
    for url in (there, f"http://localhost:{port}/to/{there}", "https://example.com/a.png", "https://a-example.com/"):
        invalid(from_url(narrow, url), says)
    listed = from_url(narrow, "http://a.b.EXAMPLE.com:1/a.png")
    assert listed.status_code == 422
    assert "that host" not in listed.text


INWARDS = (
    "http://127.0.0.1/a.png",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/a.png",
    "http://10.1.2.3/a.png",
    "file:///etc/passwd",
    "nonsense",
    "http://\ud800.example.com",
)


def test_a_url_that_points_inwards_or_nowhere_is_refused(wire: Wire) -> None:
    for url in INWARDS:
        for hosts in ("", "127.0.0.1, 10.1.2.3"):  # to be listed opens no door
            answer = from_url(wire.with_settings(img_hosts=hosts), url)
            assert answer.status_code == 422
            assert answer.json["errors"][0].startswith("url cannot be used: ")
    assert wire("GET", "/v1/images").json["data"] == []


# the list


def ids(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200
    return [image["id"] for image in answer.json["data"]]


@pytest.fixture
def seven_images(wire: Wire) -> list[str]:
    """The ids of seven images, newest first."""
    clock = iter(range(100))
    slow = Wire(replace(wire.container, now=lambda: 1_700_000_000.0 + next(clock)), wire.key)
    return [slow.kept(name=f"{number}") for number in range(7)][::-1]


def query(link: str) -> str:
    """Return the path and query of a URL, to which clients add their own host."""
    assert link.startswith("http://localhost/v1/images?")
    return link.removeprefix("http://localhost")


def test_an_empty_list_has_no_links(wire: Wire) -> None:
    assert wire("GET", "/v1/images").json == {"data": [], "links": {"previous": None, "next": None}}


def test_a_list_shorter_than_a_page_has_no_links(wire: Wire, seven_images: list[str]) -> None:
    answer = wire("GET", "/v1/images")
    assert ids(answer) == seven_images
    assert answer.json["links"] == {"previous": None, "next": None}


def test_the_first_the_middle_and_the_last_page_know_their_neighbours(wire: Wire, seven_images: list[str]) -> None:
    first = wire("GET", "/v1/images?take=3")
    assert ids(first) == seven_images[:3]
    assert first.json["links"] == {
        "previous": None,
        "next": f"http://localhost/v1/images?take=3&from={seven_images[3]}",
    }
    middle = wire("GET", query(first.json["links"]["next"]))
    assert ids(middle) == seven_images[3:6]
    assert ids(wire("GET", query(middle.json["links"]["previous"]))) == seven_images[:3]
    last = wire("GET", query(middle.json["links"]["next"]))
    assert ids(last) == seven_images[6:]
    assert last.json["links"]["next"] is None
    assert ids(wire("GET", query(last.json["links"]["previous"]))) == seven_images[3:6]


def test_the_page_before_one_that_begins_near_the_top_begins_at_the_top(wire: Wire, seven_images: list[str]) -> None:
    answer = wire("GET", f"/v1/images?take=3&from={seven_images[1]}")
    assert ids(answer) == seven_images[1:4]
    assert ids(wire("GET", query(answer.json["links"]["previous"]))) == seven_images[:3]


def test_the_links_lead_to_every_image_once(wire: Wire, seven_images: list[str]) -> None:
    for take in (1, 2, 3, 7, 100):
        seen: list[str] = []
        link: str | None = f"http://localhost/v1/images?take={take}"
        while link:
            page = wire("GET", query(link))
            seen += ids(page)
            link = page.json["links"]["next"]
        assert seen == seven_images


def test_links_begin_with_the_public_url_where_one_is_set(wire: Wire, seven_images: list[str]) -> None:
    for public in ("https://vision.example.com", "https://vision.example.com/", "https://example.com/vision"):
        link = wire.with_settings(public_url=public)("GET", "/v1/images?take=1").json["links"]["next"]
        assert link == f"{public.rstrip('/')}/v1/images?take=1&from={seven_images[1]}"


def test_words_for_nothing_count_as_absent(wire: Wire, seven_images: list[str]) -> None:
    for absent in ("undefined", "null", ""):
        assert ids(wire("GET", f"/v1/images?take={absent}&from={absent}")) == seven_images


def test_ten_images_are_listed_where_no_number_is_given(wire: Wire) -> None:
    image_ids = [wire.kept() for _ in range(11)]
    page = wire("GET", "/v1/images")
    assert len(ids(page)) == 10
    (last,) = ids(wire("GET", query(page.json["links"]["next"])))
    assert sorted([*ids(page), last]) == sorted(image_ids)


def test_a_page_of_another_size_is_refused(wire: Wire) -> None:
    for take in ("0", "101", "-1", "many", "1.5", "9" * 5000):
        answer = wire("GET", f"/v1/images?take={take}")
        assert answer.status_code == 422
        (complaint,) = answer.json["errors"]
        assert complaint.startswith("take must be ")


def test_a_page_that_begins_with_no_image_of_the_list_is_refused(key_maker: Callable[..., Wire], wire: Wire) -> None:
    anna = key_maker()
    anna.kept()
    for unknown in (UNKNOWN_IMAGE, "image_zzz", "%00", key_maker("bert").kept(), key_maker("anna", "test").kept()):
        invalid(anna("GET", f"/v1/images?from={unknown}"), "from must be the id of an image in the list")


def test_pages_are_the_same_on_each_database(wire: Wire, database: Database) -> None:
    there = Wire(replace(wire.container, database=database))
    images = [StoredImage(new_id(n), "default", "live", str(n), "b", "PNG", 1, 1, 1, n) for n in range(5)][::-1]
    with database.write() as uow:
        for image in images:
            uow.stored_images.add(image)
    page = there("GET", f"/v1/images?take=2&from={images[2].id}")
    assert ids(page) == [image.id for image in images[2:4]]
    assert page.json["links"] == {
        "previous": f"http://localhost/v1/images?take=2&from={images[0].id}",
        "next": f"http://localhost/v1/images?take=2&from={images[4].id}",
    }


# stages and owners


@pytest.mark.parametrize(
    ("owner", "other"),
    [
        (("anna", "live"), ("bert", "live")),
        (("anna", "live"), ("anna", "test")),
        (("anna", "test"), ("anna", "live")),
    ],
)
def test_an_image_of_another_owner_or_stage_is_forbidden_and_not_listed(
    key_maker: Callable[..., Wire], owner: tuple[str, str], other: tuple[str, str]
) -> None:
    ours, theirs = key_maker(*owner), key_maker(*other)
    path = f"/v1/images/{ours.kept()}"
    calls = [("GET", path), ("DELETE", path), ("GET", f"{path}/download"), ("POST", f"{path}/classify")]
    for method, called in calls:
        refused(theirs(method, called), 403, "Forbidden", "You are not allowed to access this image.")
    assert ids(theirs("GET", "/v1/images")) == []
    assert ids(key_maker(*owner)("GET", "/v1/images")) == [path.rpartition("/")[2]]


def test_a_job_takes_an_image_by_its_id_but_only_one_that_its_key_can_see(key_maker: Callable[..., Wire]) -> None:
    anna = key_maker()
    body = {"inputs": [{"image_id": anna.kept(name="mug")}]}

    def submit(wire: Wire) -> TestResponse:
        return wire.client.post("/v1/jobs", json=body, headers={"x-api-key": wire.key})

    accepted = submit(anna)
    assert (accepted.status_code, accepted.json["request"]["files"]) == (202, ["mug"])
    for other in (key_maker("bert"), key_maker("anna", "test")):
        answer = submit(other)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")
        assert "There is no image" in answer.json["detail"]


def test_without_keys_the_word_before_the_key_names_the_stage(wire: Wire) -> None:
    test, live = Wire(wire.container, "test_local"), Wire(wire.container, "live_local")
    image_id = test.kept()
    assert ids(test("GET", "/v1/images")) == [image_id]
    assert ids(live("GET", "/v1/images")) == []


# classifying


FIVE = [["coffee mug", 0.71], ["cup", 0.16], ["espresso", 0.04], ["old English sheepdog", 0.02], ["pitcher", 0.01]]


def test_a_classification_has_one_main_and_four_other_labels_in_title_case(
    wire: Wire, says: Callable[..., None]
) -> None:
    says(FIVE)
    answer = wire("POST", f"/v1/images/{wire.kept()}/classify")
    assert answer.status_code == 201
    assert answer.json == {
        "main_label": "Coffee Mug",
        "main_score": 0.71,
        "secondary_labels": [
            {"label": "Cup", "score": 0.16},
            {"label": "Espresso", "score": 0.04},
            {"label": "Old English Sheepdog", "score": 0.02},
            {"label": "Pitcher", "score": 0.01},
        ],
    }


def test_the_model_that_answered_is_named(wire: Wire, says: Callable[..., None]) -> None:
    says(FIVE)
    answer = wire("POST", f"/v1/images/{wire.kept()}/classify")
    assert answer.headers["X-Inferq-Model"] == "digits/1"


@pytest.mark.parametrize(
    ("setting", "own", "ready", "answers"),
    [
        ("", "", False, STANDARD),
        ("", "", True, "resnet50"),
        ("digits", "", True, "digits"),
        ("", "digits", True, "digits"),
    ],
    ids=["not at hand", "at hand", "another is set", "another is chosen"],
)
def test_resnet50_answers_where_it_is_ready_and_no_other_was_chosen(
    wire: Wire, says: Callable[..., None], setting: str, own: str, ready: bool, answers: str
) -> None:
    wire.container = replace(wire.container, settings=wire.container.settings.changed(default_model=setting))
    catalogue.decide_default(wire.container)
    with wire.container.database.write() as uow:
        for name in ("resnet50", STANDARD):
            (version,) = uow.model_versions.named(ALL_TENANTS, name)
            state = ModelState.ABSENT if name == "resnet50" and not ready else ModelState.READY
            uow.model_versions.save(replace(version, state=state))
    if own:
        default_models.choose(wire.container, "default", own)
    says(FIVE)
    answer = wire("POST", f"/v1/images/{wire.kept()}/classify")
    assert answer.headers["X-Inferq-Model"] == f"{answers}/1"


def test_a_model_of_two_classes_gives_fewer_labels(wire: Wire, says: Callable[..., None]) -> None:
    says([["cat", 0.9], ["dog", 0.1]])
    answer = wire("POST", f"/v1/images/{wire.kept()}/classify")
    assert answer.json["secondary_labels"] == [{"label": "Dog", "score": 0.1}]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"json": {}},
        {"data": b"", "content_type": "application/json"},
        {"headers": {"Content-Length": "0"}},
        {"data": b"not json", "content_type": "application/json"},
    ],
    ids=["nothing", "an empty object", "nothing, called JSON", "nothing, counted", "anything"],
)
def test_the_body_of_a_classification_does_not_matter(
    wire: Wire, says: Callable[..., None], sent: dict[str, Any]
) -> None:
    says(FIVE)
    assert wire("POST", f"/v1/images/{wire.kept()}/classify", **sent).status_code == 201


def test_a_damaged_picture_is_refused_when_it_is_looked_at(wire: Wire, says: Callable[..., None]) -> None:
    says(error_code="broken_picture", error="The picture is damaged.")
    answer = wire("POST", f"/v1/images/{wire.kept()}/classify")
    invalid(answer, "image cannot be used: The picture is damaged.")


def test_an_image_that_is_deleted_before_it_ran_is_not_found(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = wire.kept()

    async def wait(container: Container, job: Job, seconds: float) -> Job:
        stored_images.delete(container, job.tenant, "live", image_id)
        jobs.finish(container, [Outcome(job.id, 0, error_code="gone", error="The picture was removed before it ran.")])
        return jobs.get(container, job.tenant, job.id)

    monkeypatch.setattr(jobs, "wait", wait)
    answer = wire("POST", f"/v1/images/{image_id}/classify")
    refused(answer, 404, "Not Found", f"Image with id {image_id} not found.")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "two\nlines"])
def test_an_unreadable_name_is_a_complaint_about_the_name(wire: Wire, name: str) -> None:
    answer = wire("POST", "/v1/images", json={"name": name, "base64": base64.b64encode(SEVEN).decode()})
    assert answer.status_code == 422
    assert [text.partition(" ")[0] for text in answer.json["errors"]] == ["name"]


def test_a_wait_that_runs_out_names_the_job_and_where_it_is(wire: Wire) -> None:
    answer = wire("POST", f"/v1/images/{wire.kept()}/classify")
    assert (answer.status_code, answer.json["error"]) == (503, "Internal Error")
    assert "Retry-After" not in answer.headers  # each try of a client would be another job
    assert answer.headers["x-should-retry"] == "false"
    with wire.container.database.read() as uow:
        (job,) = uow.jobs.page("default")
    assert f"/v1/jobs/{job.id}" in answer.json["message"]
    assert (job.wire, job.options.top_k) == ("img", 5)


# complaints: the table of the documentation


def test_no_key(key_maker: Callable[..., Wire]) -> None:
    key_maker()
    for headers in ({}, {"x-api-key": "null"}):
        answer = Wire(key_maker().container)("GET", "/v1/images", headers=headers)
        refused(answer, 401, "Unauthorized", "API key is required.")


def test_a_bad_key(key_maker: Callable[..., Wire]) -> None:
    refused(
        Wire(key_maker().container, "live_wrong")("GET", "/v1/images"), 401, "Unauthorized", "API key is not valid."
    )


def test_a_key_that_may_not_use_images(key_maker: Callable[..., Wire]) -> None:
    answer = key_maker("anna", "live", "models")("GET", "/v1/images")
    assert (answer.status_code, answer.json["error"]) == (403, "Forbidden")
    assert "'infer'" in answer.json["message"]


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/download"), ("POST", "/classify")])
def test_an_unknown_image(wire: Wire, method: str, tail: str) -> None:
    for image_id in (UNKNOWN_IMAGE, "uploads", "x", "a" * 500):
        answer = wire(method, f"/v1/images/{image_id}{tail}")
        refused(answer, 404, "Not Found", f"Image with id {image_id} not found.")


ANALYSES = ("visualize", "extract-formatted-text")
CHANGES = ("convert", "crop", "resize", "rotate", "mirror", "blur", "modulate", "remove-background", "watermark")


def test_calls_that_are_not_served(wire: Wire) -> None:
    image_id = wire.kept()
    for call in ("publish", "unpublish", *ANALYSES, *CHANGES):
        path = f"/v1/images/{image_id}/{call}"
        refused(wire("POST", path, headers={"Content-Length": "0"}), 404, "Not Found", f"There is nothing at {path}.")


def test_imagining_is_not_served(wire: Wire) -> None:
    answer = wire("POST", "/v1/images/imagine", json={"name": "duck", "prompt": "a duck", "model": "flux"})
    refused(answer, 404, "Not Found", "There is nothing at /v1/images/imagine.")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/images", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/v1/images/x/classify", "OPTIONS, POST"),
        ("GET", "/v1/images/upload", "OPTIONS, POST"),
        ("DELETE", "/v1/images/upload", "OPTIONS, POST"),
        ("PATCH", "/v1/images/x", "DELETE, GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method(wire: Wire, method: str, path: str, allowed: str) -> None:
    answer = wire(method, path)
    assert (answer.status_code, answer.json["error"]) == (405, "Method Not Allowed")
    assert answer.headers["Allow"] == allowed
    named = ", ".join(name for name in allowed.split(", ") if name not in ("HEAD", "OPTIONS"))
    assert answer.json["message"] == f"{method} is not allowed here; allowed: {named}."


def test_a_body_that_is_too_large(wire: Wire) -> None:
    small = wire.with_settings(max_body=5000)
    answers = [small.upload(bytes(9000)), small("POST", "/v1/images", json={"name": "a", "base64": "A" * 9000})]
    for answer in answers:
        assert (answer.status_code, answer.json["type"]) == (413, f"{ERRORS}/content-too-large")


def test_a_picture_above_20_megabytes(wire: Wire) -> None:
    def upload(size: int) -> TestResponse:
        body = as_the_sdk_sends(SEVEN + bytes(size - len(SEVEN)))
        return wire("POST", "/v1/images/upload", data=body, headers=FORM)

    assert upload(20 * 2**20).status_code == 201
    answer = upload(20 * 2**20 + 1)
    assert answer.status_code == 422
    assert answer.json["errors"][0].startswith("image cannot be used: 'seven' has more than the allowed 20 MiB")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image must be a jpeg, png or webp file"),
        (picture("GIF"), "image must be a jpeg, png or webp file"),
        (b"just some text", "image must be a jpeg, png or webp file"),
        (b"PK\x03\x04" + bytes(30), "image must be a jpeg, png or webp file"),
        (b"", "image must be a jpeg, png or webp file"),
        (SEVEN[:20], "image cannot be used: 'seven' begins like PNG, but its header cannot be read"),
    ],
    ids=["svg", "gif", "text", "zip", "nothing", "a broken header"],
)
def test_what_is_no_picture_of_the_three_formats(wire: Wire, data: bytes, complaint: str) -> None:
    answer = wire.upload(data)
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error.startswith(complaint)
    assert wire.container.storage.list("images") == []


def test_every_field_that_is_missing_is_named(wire: Wire) -> None:
    invalid(wire.upload(name=None), "name is required")
    invalid(wire.upload(name=" "), "name is required")
    invalid(wire.upload(part="file"), "image is required")
    invalid(wire("POST", "/v1/images/upload", data={"name": "a", "image": "a text"}), "image is required")
    invalid(wire("POST", "/v1/images/upload"), "name is required", "image is required")
    invalid(wire("POST", "/v1/images", json={}), "name is required", "url is required")


def test_a_name_that_is_too_long(wire: Wire) -> None:
    invalid(wire.upload(name="x" * 31), "name must have 1 to 30 characters")


def test_several_pictures_at_once(wire: Wire) -> None:
    parts = [(io.BytesIO(SEVEN), "a.png"), (io.BytesIO(SEVEN), "b.png")]
    answer = wire("POST", "/v1/images/upload", data={"name": "two", "image": parts})
    invalid(answer, "image must be a single file")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "body cannot be used: The body is not valid JSON"),
        (b"[]", "body cannot be used: The JSON body must be an object."),
        (b"", "body cannot be used: The JSON body must be an object."),
        (b'{"name": 5, "url": "http://example.org"}', "name must be a string"),
        (b'{"name": "a", "url": 5}', "url must be a string"),
        (b'{"name": "a", "base64": ["AAAA"]}', "base64 must be a string"),
        (b'{"name": "a", "url": "http://example.org", "base64": "AAAA"}', "url must not be sent together with base64"),
        (b'{"name": "a", "base64": "no base64!"}', "base64 cannot be used: The text is not valid base64"),
        (b'{"name": "a", "base64": "AAAA"}', "base64 must be a jpeg, png or webp file"),
    ],
)
def test_a_json_body_that_cannot_be_used(wire: Wire, body: bytes, complaint: str) -> None:
    answer = wire("POST", "/v1/images", data=body, content_type="application/json")
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error.startswith(complaint)


def test_too_many_requests(key_maker: Callable[..., Wire], container: Container) -> None:
    test, live = (
        Wire(container, key_maker("anna", stage).key) for stage in ("test", "live")
    )  # with the documented limits
    for _ in range(10):
        assert test("GET", "/v1/images").status_code == 200

    answer = test("GET", "/v1/images")

    refused(answer, 429, "Too Many Requests", "Rate limit exceeded. Try again later.")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert live("GET", "/v1/images").status_code == 200


def test_the_documented_limits_hold_for_each_stage(container: Container) -> None:
    for stage, rule in (("test", "10/minute"), ("live", "100/minute")):
        assert img_processing.allowance(container.settings, Caller("anna", ("infer",), stage)) == rule


def test_too_many_pictures_that_wait(wire: Wire) -> None:
    full, image = wire.with_settings(max_queued=1), wire.kept()
    full("POST", f"/v1/images/{image}/classify")
    answer = full("POST", f"/v1/images/{image}/classify")
    refused(answer, 429, "Too Many Requests", "Rate limit exceeded. Try again later.")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_tenant_that_may_queue_nothing(wire: Wire) -> None:
    answer = wire.with_settings(max_queued=0)("POST", f"/v1/images/{wire.kept()}/classify")
    assert (answer.status_code, answer.json["error"]) == (403, "Forbidden")
    assert "Ask the operator of this service to raise `max_queued`" in answer.json["message"]
    assert "Retry-After" not in answer.headers


def test_a_fault_of_ours(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(stored_images, "store", broken)
    refused(wire.upload(), 500, "Internal Error", FAULT)


def test_a_picture_that_kills_workers_is_a_fault_of_ours(wire: Wire, says: Callable[..., None]) -> None:
    says(error_code="poison", error="It killed three workers.")
    refused(wire("POST", f"/v1/images/{wire.kept()}/classify"), 500, "Internal Error", FAULT)


def test_a_part_of_the_service_that_is_away(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise errors.Unavailable("The storage of pictures does not answer.")

    monkeypatch.setattr(stored_images, "store", away)
    answer = wire.upload()
    refused(answer, 503, "Internal Error", f"The storage of pictures does not answer. {FAULT}")
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("state", [ModelState.CHECKING, ModelState.REFUSED])
def test_a_default_model_that_cannot_serve(wire: Wire, state: ModelState) -> None:
    image_id = wire.kept()
    with wire.container.database.write() as uow:
        for version in uow.model_versions.named(ALL_TENANTS, "digits"):
            uow.model_versions.save(replace(version, state=state, reason="Its weights are odd."))
    answer = wire("POST", f"/v1/images/{image_id}/classify")
    assert (answer.status_code, answer.json["error"]) == (503, "Internal Error")
    assert "digits" in answer.json["message"]


# usage


def test_a_live_key_sees_what_it_has_used_and_only_201_counts(
    key_maker: Callable[..., Wire], says: Callable[..., None]
) -> None:
    says(FIVE)
    anna = key_maker()

    def usage(answer: TestResponse) -> tuple[int, str]:
        return answer.status_code, answer.headers[USAGE]

    assert usage(anna("GET", "/v1/images")) == (200, "0")
    uploaded = anna.upload()
    path = f"/v1/images/{uploaded.json['id']}"
    assert usage(uploaded) == (201, "1")
    assert usage(anna("POST", f"{path}/classify")) == (201, "2")
    assert usage(anna("POST", "/v1/images", json={"name": "a", "base64": encoded(SEVEN)})) == (201, "3")
    assert usage(anna("GET", path)) == (200, "3")
    assert usage(anna("GET", f"{path}/download")) == (200, "3")
    assert usage(anna.upload(b"no picture")) == (422, "3")
    assert usage(anna("GET", f"/v1/images/{UNKNOWN_IMAGE}")) == (404, "3")
    assert usage(anna("DELETE", path)) == (204, "3")
    assert usage(key_maker("bert")("GET", "/v1/images")) == (200, "0")


def test_a_month_begins_with_nothing_used(key_maker: Callable[..., Wire]) -> None:
    anna = key_maker()
    anna.upload()
    _, end = usage.month(anna.container.now())
    later = Wire(replace(anna.container, now=lambda: end), anna.key)
    assert later("GET", "/v1/images").headers[USAGE] == "0"


def test_a_test_key_is_not_billed(key_maker: Callable[..., Wire]) -> None:
    test = key_maker("anna", "test")
    for answer in (test.upload(), test("GET", "/v1/images")):
        assert USAGE not in answer.headers
    assert usage.used(test.container, "anna", "img") == 0


def test_a_caller_without_a_valid_key_learns_nothing(key_maker: Callable[..., Wire]) -> None:
    assert USAGE not in Wire(key_maker().container)("GET", "/v1/images").headers


def test_a_counter_that_is_away_does_not_undo_what_was_done(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> int:
        raise errors.Unavailable

    monkeypatch.setattr(usage, "add", away)
    answer = wire.upload()
    assert answer.status_code == 201
    assert USAGE not in answer.headers
    assert ids(wire("GET", "/v1/images")) == [answer.json["id"]]


# what its clients send, byte for byte


BOUNDARY = "----formdata-undici-012345678901"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def as_the_sdk_sends(data: bytes, kind: str = "image/png", name: str = "seven") -> bytes:
    """Return the body of version 1.2.0: `name`, then `image` with the file name "blob" and the type of its bytes."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="blob"\r\nContent-Type: {kind}\r\n\r\n'
    )
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def test_the_upload_of_the_sdk_is_taken_as_it_is_sent(client: FlaskClient) -> None:
    for kind in ("image/png", "image/jpeg", "application/octet-stream"):  # the bytes decide
        headers = FORM | {"x-api-key": "test_local"}
        answer = client.post("/v1/images/upload", data=as_the_sdk_sends(SEVEN, kind), headers=headers)
        assert (answer.status_code, answer.json["format"], answer.json["name"]) == (201, "png", "seven")


def test_the_list_of_the_sdk_without_options_is_taken_as_it_is_sent(wire: Wire) -> None:
    assert ids(wire("GET", "/v1/images?take=undefined&from=undefined")) == []


def test_the_later_client_is_taken_as_it_introduces_itself(wire: Wire) -> None:
    headers = {
        "Accept": "application/json",
        "User-Agent": "ImgProcessing/JS 0.1.0",
        "X-Stainless-Lang": "js",
        "X-Stainless-Retry-Count": "0",
        "X-Stainless-Timeout": "60",
    }
    assert wire("GET", "/v1/images", headers=headers).status_code == 200
    assert wire("DELETE", f"/v1/images/{wire.kept()}", headers=headers | {"Accept": "*/*"}).status_code == 204


# against a worker


def in_pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def held(container: Container, answer: httpx.Response) -> httpx.Response:
    fits(container, answer.request.method, answer.request.url.path, answer.status_code, answer.headers, answer.text)
    return answer


def test_the_sdk_with_a_wrapped_fetch_uploads_and_classifies_in_chunks(stack: Stack, container: Container) -> None:
    with httpx.Client(base_url=stack.url, headers={"x-api-key": "test_local"}, timeout=90) as sdk:
        # A generator has no length, so these travel with `Transfer-Encoding: chunked`.
        sent = in_pieces(as_the_sdk_sends(SEVEN, name="chunked"))
        uploaded = held(container, sdk.post("/v1/images/upload", content=sent, headers=FORM))
        assert uploaded.request.headers["Transfer-Encoding"] == "chunked"
        assert (uploaded.status_code, uploaded.json()["size"]) == (201, len(SEVEN))
        path = f"/v1/images/{uploaded.json()['id']}"
        called = {"content-type": "application/json"}
        classified = held(container, sdk.post(f"{path}/classify", content=in_pieces(b"{}", 1), headers=called))
        assert classified.status_code == 201, classified.text
        assert classified.json()["main_label"] == "7"
        assert USAGE not in classified.headers
        download = sdk.get(f"{path}/download", headers={"Accept": "image/*"})
        assert (download.content, download.headers["content-type"]) == (SEVEN, "image/png")
        assert held(container, sdk.delete(path)).status_code == 204


def test_every_digit_is_recognised_with_and_without_a_body(stack: Stack, container: Container) -> None:
    with httpx.Client(base_url=stack.url, headers={"x-api-key": "live_local"}, timeout=90) as sdk:
        for number, (name, data) in enumerate(DIGITS):
            parts: dict[str, Any] = {"name": (None, name), "image": ("blob", data, "image/png")}
            image = held(container, sdk.post("/v1/images/upload", files=parts)).json()
            body: dict[str, Any] = {} if number % 2 else {"json": {}}
            answer = held(container, sdk.post(f"/v1/images/{image['id']}/classify", **body))
            assert answer.status_code == 201, answer.text
            answered = answer.json()
            assert answered["main_label"] == str(number)
            scores = [answered["main_score"], *(other["score"] for other in answered["secondary_labels"])]
            assert len(scores) == 5
            assert scores == sorted(scores, reverse=True)
            assert sum(scores) <= 1
            assert int(answer.headers[USAGE]) >= 2 * number + 2


def test_chunks_of_odd_sizes_on_a_connection_that_is_kept(stack: Stack) -> None:
    """Valid bodies that no client library sends: a chunk per byte, an extension, a trailer, an empty chunked body."""
    body = as_the_sdk_sends(SEVEN, name="socket")
    pieces = [body[:1], body[1:3], *in_pieces(body[3:], 777)]
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: y\r\n\r\n"
    address = httpx.URL(stack.url)
    with socket.create_connection((address.host, address.port), timeout=60) as connection:
        reader = connection.makefile("rb")

        def ask(path: str, headers: dict[str, str], data: bytes) -> tuple[int, Any]:
            sent = {"Host": f"{address.host}:{address.port}", "x-api-key": "live_local"}
            lines = [f"{name}: {value}" for name, value in (sent | headers).items()]
            head = "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""])
            connection.sendall(head.encode() + data)
            status = int(reader.readline().split()[1])
            fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
            return status, json.loads(reader.read(int(fields["content-length"])))

        chunked = {"Transfer-Encoding": "chunked"}
        status, image = ask("/v1/images/upload", chunked | FORM, chunks)
        assert (status, image["name"], image["size"]) == (201, "socket", len(SEVEN))
        path = f"/v1/images/{image['id']}/classify"
        for headers, data in (
            (chunked, b"0\r\n\r\n"),
            (chunked | {"Content-Type": "application/json"}, b"2\r\n{}\r\n0\r\n\r\n"),
            ({"Content-Type": "application/json", "Content-Length": "2"}, b"{}"),
            ({"Content-Length": "0"}, b""),
        ):
            status, classified = ask(path, headers, data)
            assert (status, classified.get("main_label")) == (201, "7"), classified
        reader.close()


def test_damaged_pixels_are_found_by_the_worker(stack: Stack, container: Container) -> None:
    with httpx.Client(base_url=stack.url, headers={"x-api-key": "live_local"}, timeout=90) as sdk:
        parts: dict[str, Any] = {"name": (None, "half"), "image": ("blob", SEVEN[: len(SEVEN) // 2], "image/png")}
        image = held(container, sdk.post("/v1/images/upload", files=parts)).json()
        answer = held(container, sdk.post(f"/v1/images/{image['id']}/classify"))
        assert answer.status_code == 422
        assert "damaged" in answer.json()["errors"][0]


WITH_NODES_FETCH = """
const picture = new Blob([require('fs').readFileSync(process.env.PICTURE)], { type: 'image/png' });
const key = { 'x-api-key': 'live_local' };
const elsewhere = 'https://api.example.test';
const straight = request => fetch(new Request(process.env.SVC_URL + request.path, request.init));
const wrapped = ({ path, init }) => {  // the body of a request that is made anew is a stream: it travels in chunks
  const first = new Request(elsewhere + path, init);
  return fetch(new Request(first.url.replace(elsewhere, process.env.SVC_URL), first));
};
const call = async (send, path, body, type) => {
  const answer = await send({ path, init: { method: 'POST', body, headers: { ...key, ...type } } });
  return { status: answer.status, body: await answer.json() };
};
(async () => {
  const outcomes = {};
  for (const [name, send] of Object.entries({ straight, wrapped })) {
    const form = new FormData();
    form.append('name', name);
    form.append('image', picture);
    const image = await call(send, '/v1/images/upload', form);
    const path = `/v1/images/${image.body.id}`;
    const json = { 'content-type': 'application/json' };
    const classified = await call(send, `${path}/classify`, '{}', json);
    const published = await call(send, `${path}/publish`);
    outcomes[name] = { image, classified, published };
  }
  console.log(JSON.stringify(outcomes));
})();
"""
"""A script with FormData, Blob and fetch of Node, on which both generations of the client are built."""


@pytest.mark.node
def test_requests_of_nodes_own_fetch_are_taken_straight_and_wrapped(stack: Stack) -> None:
    if not shutil.which("node"):
        pytest.skip("Node.js is not here")
    environment = os.environ | {"SVC_URL": stack.url, "PICTURE": str(stacks.SAMPLES / DIGITS[7][0])}
    command = ["node", "--no-deprecation", "-e", WITH_NODES_FETCH]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    for name, outcome in json.loads(ran.stdout).items():
        image, classified, published = outcome["image"], outcome["classified"], outcome["published"]
        assert (image["status"], image["body"].get("name")) == (201, name), image
        assert (classified["status"], classified["body"].get("main_label")) == (201, "7"), classified
        assert (published["status"], published["body"].get("error")) == (404, "Not Found"), published
