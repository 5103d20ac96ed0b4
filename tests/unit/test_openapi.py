"""The OpenAPI document says everything about the routes, and nothing that is not so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import auth, create_app
from api.dialects.native import views
from api.web.openapi import openapi_path
from shared.jobs import Item, Job, Options, Status
from shared.models import State, Version
from shared.settings import Settings
from shared.tools import build


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The app with tools that are never connected to."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    tools = build(Settings(database_url=f"sqlite:///{folder}/jobs.db", storage_url=f"file://{folder}/blobs"))
    yield create_app(tools)
    tools.close()


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.get_json())


def routes(app: Flask) -> set[tuple[str, str]]:
    return {
        (openapi_path(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(path, method) for path, entry in document["paths"].items() for method in entry}


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described_and_everything_described_is_routed(app: Flask, document: dict[str, Any]) -> None:
    assert described(document) == routes(app)


def test_every_native_call_is_described_by_hand(document: dict[str, Any]) -> None:
    native = {path: entry for path, entry in document["paths"].items() if path.startswith("/v1/")}
    assert native
    for path, entry in native.items():
        for method, call in entry.items():
            assert set(call["responses"]) != {"default"}, f"{method} {path} has only what its view says"


def test_every_call_belongs_to_a_tag_that_is_listed(document: dict[str, Any]) -> None:
    listed = [tag["name"] for tag in document["tags"]]
    assert len(listed) == len(set(listed))
    used = {tag for entry in document["paths"].values() for call in entry.values() for tag in call["tags"]}
    assert used == set(listed)


def test_only_what_anybody_may_see_needs_no_key(document: dict[str, Any]) -> None:
    free = {path for path, entry in document["paths"].items() for call in entry.values() if call.get("security") == []}
    assert free == (auth.OPEN_PATHS & set(document["paths"])) | {"/static/{filename}"}


def test_the_document_the_page_and_its_parts_are_served_without_a_key(app: Flask) -> None:
    client = app.test_client()
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    static = ("/static/docs.css", "/static/docs.js", "/static/favicon.svg")
    for path in ("/openapi.json", "/docs", "/favicon.ico", *static):
        with client.get(path, environ_base=elsewhere) as answer:
            assert answer.status_code == 200, path
    assert client.get("/").headers["Location"] == "/docs"


def test_the_page_loads_nothing_from_elsewhere(app: Flask) -> None:
    for path in ("/docs", "/static/docs.css", "/static/docs.js"):
        with app.test_client().get(path) as part:
            assert not re.search(r"""(https?:|["'(])//""", part.text), f"{path} names another place"
    with app.test_client().get("/docs") as page:
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_a_job_as_it_is_written_has_the_fields_that_are_described(document: dict[str, Any]) -> None:
    job = Job("1", "default", "native", Status.EXPIRED, "digits", "1", "2", Options(), "normal", 0.0, 1)
    written = views.job(job, [Item("1", 0, "duck.jpg", "blob", 0, 1)])
    assert set(written) == set(document["components"]["schemas"]["Job"]["properties"])


def test_a_version_as_it_is_written_has_the_fields_that_are_described(document: dict[str, Any]) -> None:
    version = Version("1", "default", "birds", "1", "", "resnet50", State.READY, 0.0)
    assert set(views.version(version)) == set(document["components"]["schemas"]["Version"]["properties"])
