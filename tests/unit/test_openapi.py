"""The OpenAPI document describes all routes, and every answer fits it."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from flask import Flask
from msgspec import structs
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import dialects
from api.application import create_app
from api.dialects import native as native_dialect
from api.dialects.native.serializers import datasets, history, jobs, models, promotions, trainings, webhooks
from api.openapi_builder import openapi_path
from shared import errors, schemas
from shared.container import build
from shared.domain.comparisons import Comparison
from shared.domain.datasets import Dataset, DatasetExample, DatasetLabel, DatasetState, Inventory, Source, Split
from shared.domain.history import Point
from shared.domain.jobs import AnswerOptions, Item, Job, Status
from shared.domain.models import ModelAlias, ModelState, ModelVersion
from shared.domain.promotions import Canary
from shared.domain.trainings import Training, TrainingParameters
from shared.domain.webhooks import Attempt, Delivery, WebhookSecret
from shared.schemas import trainings as training_schemas
from shared.schemas.common import Answer
from shared.schemas.models import Alias
from shared.services.history import History
from shared.settings import Settings


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The app over a container whose adapters never connect."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    container = build(Settings(database_url=f"sqlite:///{folder}/jobs.db", storage_url=f"file://{folder}/blobs"))
    yield create_app(container)
    container.close()


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.get_json())


DIALECTS: list[Any] = dialects.find()
EACH_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.__name__.rpartition(".")[2])
KINDS = (
    errors.InferqError, errors.BadOption, errors.NotAPicture, errors.Unauthorized, errors.Forbidden, errors.NotFound,
    errors.MethodNotAllowed, errors.Conflict, errors.ModelNotReady, errors.TooLarge, errors.TooManyRequests,
)  # fmt: skip
"""Errors but Unavailable, after which one wire delays its answer."""
OPEN = {
    "/", "/samples/{name}", "/docs", "/openapi.json", "/favicon.ico", "/static/{filename}",
    "/ui", "/ui/datasets", "/ui/datasets/{reference}", "/ui/trainings", "/ui/trainings/{training_id}", "/ui/models",
    "/ui/models/{name}", "/ui/models/{name}/versions/{version}", "/ui/models/{name}/suggestions",
    "/ui/jobs", "/ui/jobs/{job_id}", "/ui/fleet", "/ui/webhooks", "/ui/keys",
    "/healthz", "/readyz", "/metrics",
    "/oauth/token", "/v1/oauth2/token", "/v2/oauth2/token",
    "/v1/vision/datasets/{dataset_id}/examples/{example_id}/picture",
    "/v2/vision/datasets/{dataset_id}/examples/{example_id}/picture",
}  # fmt: skip
"""Paths that need no key: pages, descriptions of the service, and calls with a proof of their own."""


def routes(app: Flask, *but: str) -> set[tuple[str, str]]:
    """Return (path, method) of every route, without those whose endpoints begin so."""
    return {
        (openapi_path(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not (but and rule.endpoint.startswith(but))
    }


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(path, method) for path, entry in document["paths"].items() for method in entry}


def calls(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (path, method, operation) of every call of the document."""
    for path, entry in document["paths"].items():
        for method, call in entry.items():
            yield path, method, call


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Check that a body fits its schema; raises ValidationError."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


@pytest.mark.slow
def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described_and_everything_described_is_routed(app: Flask, document: dict[str, Any]) -> None:
    assert described(document) == routes(app)


def test_every_route_of_a_wire_is_described_by_that_wire(app: Flask) -> None:
    by_themselves = {call: dialect for dialect in DIALECTS for call in described(dialect.openapi(Settings()))}
    assert set(by_themselves) == routes(app, "health.", "metrics.", "web.")
    for (path, _), dialect in by_themselves.items():
        assert dialects.speaking(DIALECTS, path) is dialect, path


def test_no_wire_overwrites_what_another_describes() -> None:
    parts = [dialect.openapi(Settings()) for dialect in DIALECTS]
    for names in (
        [path for part in parts for path in part["paths"]],
        [schema for part in parts for schema in part["components"]["schemas"]],
        [tag["name"] for part in parts for tag in part["tags"]],
        [call["operationId"] for part in parts for _, _, call in calls(part)],
    ):
        assert sorted(names) == sorted(set(names))


def test_no_type_has_the_name_of_another() -> None:
    """In the document they would be one."""
    modules = [
        importlib.import_module(f"{schemas.__name__}.{each.name}") for each in pkgutil.iter_modules(schemas.__path__)
    ]
    types = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    names = Counter(kind.__name__ for kind in types if issubclass(kind, msgspec.Struct))
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_every_call_says_what_it_is_for_and_what_comes_back(document: dict[str, Any]) -> None:
    for path, method, call in calls(document):
        where = f"{method} {path}"
        assert call["summary"], where
        assert any(status.startswith(("2", "3")) for status in call["responses"]), where
        assert "default" in call["responses"], where
        for response in call["responses"].values():
            assert response["description"], where
            for media_type, content in response.get("content", {}).items():
                assert content.get("schema") or "json" not in media_type.split("/")[1].split("+"), where


def test_the_options_of_a_body_that_is_a_file_are_described_in_the_query(document: dict[str, Any]) -> None:
    for path, method, call in calls(document):
        content = call.get("requestBody", {}).get("content", {})
        form = content.get("multipart/form-data", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        if form and "application/octet-stream" in content:
            options = document["components"]["schemas"][form]["properties"]
            asked = {parameter["name"] for parameter in call["parameters"] if parameter["in"] == "query"}
            files = {name for name, schema in options.items() if "contentMediaType" in str(schema)}
            assert set(options) - files <= asked, f"{method} {path}"


def test_every_file_has_a_name_as_example_which_fits_what_it_is(document: dict[str, Any]) -> None:
    found = list(_files(document))
    assert len(found) > 10
    for schema in found:
        about = schema.get("description", "")
        is_of_labels = "label folders" in about or "LABEL/" in about
        assert schema["examples"][0].endswith(".zip") == is_of_labels, schema


def _files(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the schemas of files."""
    if isinstance(part, dict) and "contentMediaType" in part:
        yield part
    elif isinstance(part, (dict, list)):
        for value in part.values() if isinstance(part, dict) else part:
            yield from _files(value)


def test_every_part_of_a_path_is_explained(document: dict[str, Any]) -> None:
    for path, method, call in calls(document):
        parts = [parameter["name"] for parameter in call.get("parameters", []) if parameter["in"] == "path"]
        assert sorted(parts) == sorted(re.findall(r"{(\w+)}", path)), f"{method} {path}"


@EACH_DIALECT
def test_every_complaint_of_a_wire_is_as_its_document_says(app: Flask, document: dict[str, Any], dialect: Any) -> None:
    """For every kind of error at every call, the status and the body are described."""
    for path, method, call in calls(document):
        if dialects.speaking(DIALECTS, path) is not dialect or call["tags"][0] in ("Service", "Pages"):
            continue
        for kind in KINDS:
            with app.test_request_context(path.translate({ord("{"): None, ord("}"): None}), method=method.upper()):
                answer = app.make_response(dialect.write_error(kind()))
                described = call["responses"].get(str(answer.status_code), call["responses"]["default"])
                assert answer.status_code >= 400, f"{method} {path}: {kind}"
                assert answer.mimetype in described["content"], f"{method} {path}: {kind}"
                fits(document, described["content"][answer.mimetype]["schema"], answer.get_json())


def test_every_call_belongs_to_a_tag_that_is_listed(document: dict[str, Any]) -> None:
    listed = [tag["name"] for tag in document["tags"]]
    assert len(listed) == len(set(listed))
    used = {tag for entry in document["paths"].values() for call in entry.values() for tag in call["tags"]}
    assert used == set(listed)
    assert [tag for group in document["x-tagGroups"] for tag in group["tags"]] == listed


def test_only_what_is_public_needs_no_key(document: dict[str, Any]) -> None:
    assert {path for path, _, call in calls(document) if call.get("security") == []} == OPEN


def test_the_document_the_page_and_its_parts_are_served_without_a_key(app: Flask) -> None:
    client = app.test_client()
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    static = ("/static/reference.css", "/static/reference.js", "/static/favicon.svg")
    for path in ("/", "/openapi.json", "/docs", "/favicon.ico", *static):
        with client.get(path, environ_base=elsewhere) as answer:
            assert answer.status_code == 200, path
    assert client.get("/ui").headers["Location"] == "/"


def test_the_page_loads_nothing_from_elsewhere(app: Flask) -> None:
    for path in ("/docs", "/static/reference.css", "/static/reference.js"):
        with app.test_client().get(path) as part:
            assert not re.search(r"""(https?:|["'(])//""", part.get_data(as_text=True)), f"{path} names another place"
    with app.test_client().get("/docs") as page:
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]


VERSION = ModelVersion("1", "default", "birds", "1", "", "resnet50", ModelState.READY, 0.0)
TRAINING = Training(
    "1", "default", "native", "birds", "birds", Status.QUEUED, 1, 1, "scratch", "", TrainingParameters(), 0.0, 0.0
)
JOB = Job("1", "default", "native", Status.EXPIRED, "digits", "1", "2", AnswerOptions(), "normal", 0.0, 1)
EXAMPLE = DatasetExample(1, 1, 1, "duck", "a.png", Split.OPEN, Source.UPLOAD, "", "blob", 0, 1, 1, 0.0)
COMPARISON = Comparison("1", "default", "birds", "2", "1", 1, 1, Status.QUEUED, 0.0)
ANSWERS: list[Answer] = [
    jobs.job(JOB, [Item("1", 0, "duck.jpg", "blob", 0, 1)]),
    jobs.listed(JOB, Item("1", 0, "duck.jpg", "blob", 0, 1, "DONE", [["drake", 0.9]])),
    jobs.listed(JOB, None),
    history.history(History([Point(1, 1), Point(2, 1, 1, 1, 0, {8: 1}, 0, 1, 0.5, 2, {20: 1})], Point(1, 5)), "own"),
    models.version(VERSION, {}),
    models.version_details(VERSION, {}, engine=None, training=TRAINING),
    datasets.dataset(Dataset(1, "default", "birds", DatasetState.READY, 0.0, 0.0), Inventory([], 0)),
    datasets.label(DatasetLabel(1, 1, "duck")),
    datasets.example(EXAMPLE),
    trainings.training(TRAINING, 1),
    trainings.summary(TRAINING, 1, {"accuracy": 0.5, "method": "head"}),
    webhooks.delivery(Delivery("1", "job", "default", "https://example.org", "", 0, None)),
    webhooks.delivery(Delivery("1", "job", "default", "https://example.org", "", 7, 0.0, "", 0.0, 0.0, 200, "", "ab")),
    webhooks.new_secret(WebhookSecret("default", "whsec_", 0.0, "old", 1.0)),
    webhooks.ping_result(Attempt("ab", 0.1, None, "no answer"), 0),
    promotions.comparison(COMPARISON, {}),
    promotions.canary(Canary("1", 0.5, 0, 0, 0.0), VERSION),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_is_written_as_described_and_read_again_as_it_was(document: dict[str, Any], answer: Answer) -> None:
    written = answer.to_json()
    fits(document, document["components"]["schemas"][type(answer).__name__], written)
    assert msgspec.convert(written, type(answer)) == answer


ODD_EVIDENCE: list[dict[str, Any]] = [
    {"accuracy": 0.75},
    {"accuracy": 0.75, "method": "head", "macro_f1": 1.0000000000000002, "seconds": {"total": None}},
    {"accuracy": None, "of": {"another": "version"}},
]


@pytest.mark.parametrize("evidence", ODD_EVIDENCE)
def test_what_a_trainer_of_another_version_measured_is_written_as_it_is_stored(evidence: dict[str, Any]) -> None:
    curve = ({"stage": "network", "epoch": 1, "train_loss": None},)
    written = json.loads(trainings.training(replace(TRAINING, evidence=evidence, curve=curve), 1).encode())
    assert (written["evidence"], written["curve"]) == (evidence, list(curve))
    report = {"pictures": 3, "labels": {"candidate": 2}, "candidate": {"milliseconds": None}}
    assert json.loads(promotions.comparison(replace(COMPARISON, report=report), {}).encode())["report"] == report


def test_an_answer_is_one_line_of_valid_text_whatever_it_holds() -> None:
    alias = Alias(alias="a\u2028b\u2029c\x85d\n\ud800", model="birds")
    (line,) = alias.encode().decode().splitlines()
    assert json.loads(line) == {"alias": "a\u2028b\u2029c\x85d\n\N{REPLACEMENT CHARACTER}", "model": "birds"}


def test_an_answer_of_a_newer_server_is_read_without_the_fields_that_it_adds() -> None:
    answer = models.alias(ModelAlias("default", "vit", "birds"))
    assert msgspec.convert(answer.to_json() | {"newer": 1}, Alias) == answer


def test_the_declared_parameters_of_a_training_have_the_defaults_of_the_domain() -> None:
    assert structs.asdict(training_schemas.TrainingParameters()) == vars(TrainingParameters())


def test_only_the_documented_fields_of_a_job_are_not_in_snake_case(document: dict[str, Any]) -> None:
    native = document_of(native_dialect.openapi(Settings()))
    odd = {name for name in native if not re.fullmatch(r"[a-z][a-z0-9_]*", name)}
    assert odd == {"_id", "tenantName", "featureVectors"}


def document_of(part: dict[str, Any]) -> set[str]:
    """Return the names of all fields of all schemas."""
    return {name for schema in part["components"]["schemas"].values() for name in schema.get("properties", {})}
