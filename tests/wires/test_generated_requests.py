"""Requests generated from /openapi.json, valid and invalid ones, are answered as it says, and never by a 500."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode, Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.container import Container
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ALL_TENANTS
from shared.services import keys
from tests import apps, picture_files
from tests.fuzzing import examples
from tests.unit.archive_files import as_tar, as_zip
from tests.wires.training_requests import new_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # schemathesis closes no files that an answer is sent from
]

TAGS = ("Jobs", "Dead letters", "Webhooks", "Tenants", "Datasets", "Trainings", "Suggestions",
        "Promotion", "Models", "Keys", "Fleet", "Einstein Vision", "SAP Leonardo",
        "Hugging Face", "IMG Processing", "Service", "Pages")  # fmt: skip
WEIGHTS = "models/digits.safetensors"
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
PICTURES = [*picture_files.small().values()]
FILES = [*PICTURES, as_zip([("a.png", PICTURES[2])]), as_tar([("pear/a.png", PICTURES[2])])]
schemathesis.openapi.format("binary", st.one_of(st.sampled_from(FILES), st.binary(max_size=300)))
schemathesis.openapi.media_type("application/octet-stream", st.one_of(st.sampled_from(FILES), st.binary(max_size=300)))


@pytest.fixture
def app(container: Container) -> Flask:
    """The app without rate limits, whose stacks of requests would otherwise be refused."""
    container.storage.write(WEIGHTS, b"weights")  # as a worker stores them before it calls a version ready
    with container.database.write() as uow:
        for version in uow.model_versions.named(ALL_TENANTS, "digits"):
            uow.model_versions.save(replace(version, weights=WEIGHTS))
    settings = container.settings.changed(img_live_rate="off", img_test_rate="off", max_wait=0.02)
    return apps.over(replace(container, settings=settings))


@pytest.fixture
def schema(app: Flask) -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


@pytest.fixture
def headers(container: Container) -> dict[str, str]:
    """Headers with a key that may do everything: without one, all calls would be refused after the first new key."""
    _, secret = keys.create(container, Caller("default", SCOPES), scopes=SCOPES)
    return {"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"}


@pytest.fixture
def known(app: Flask, headers: dict[str, str]) -> dict[str, str]:
    """Part of a path -> the id of something that exists."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = headers["Authorization"]

    def made(path: str, **body: Any) -> dict[str, Any]:
        answer = client.post(path, **body)
        assert answer.status_code < 300, answer.text
        return dict(answer.json or {})

    dataset = new_dataset(client, pear=3, plum=3)
    examples_of_it = client.get(f"{dataset['links']['self']}/examples").json["examples"]
    labels = client.get(f"/v2/vision/datasets/{dataset['id']}").json["labelSummary"]["labels"]
    image = made("/v1/images/upload", data={"image": (io.BytesIO(PICTURES[0]), "a.jpg"), "name": "a.jpg"})
    ended = made("/v1/jobs?model=digits&webhook=https://1.1.1.1/hook", data=PICTURES[0])["_id"]
    made(f"/v1/jobs/{ended}/cancel")
    return {
        "delivery_id": ended,
        "tenant": "default",
        "job_id": made("/v1/jobs?model=digits", data=PICTURES[0])["_id"],
        "reference": str(dataset["id"]),
        "dataset_id": str(dataset["id"]),
        "example_id": str(examples_of_it[0]["id"]),
        "label_id": str(labels[0]["id"]),
        "image_id": str(image["id"]),
        "key_id": made("/v1/keys", json={"name": "another"})["id"],
        "name": "digits",
        "model": "digits",
        "model_id": "digits",
        "version": "1",
        "kind": "svg",
        "plot": "confusion",
    }


@pytest.mark.parametrize("tag", TAGS)
def test_a_generated_request_is_answered_as_described(
    schema: BaseSchema, headers: dict[str, str], known: dict[str, str], tag: str
) -> None:
    operations = list(_operations(schema, tag))
    assert operations
    for operation in operations:
        for mode in MODES:
            _try(operation, mode, headers, known)


def test_every_call_has_a_tag_whose_requests_are_generated(schema: BaseSchema) -> None:
    named = {tag for operation in schema.get_all_operations() for tag in operation.ok().definition.raw["tags"]}
    assert named == set(TAGS)


def _operations(schema: BaseSchema, tag: str) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    """Yield the calls of a tag; those that delete come last, as they would leave nothing to the others."""
    every = [result.ok() for result in schema.get_all_operations()]
    yield from sorted(
        (operation for operation in every if tag in operation.definition.raw["tags"]),
        key=lambda operation: operation.method == "DELETE",
    )


def _try(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, headers: dict[str, str],
         known: dict[str, str]) -> None:  # fmt: skip
    @examples(4, shrink=False)
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def send(case: Case, of_known: bool) -> None:
        if of_known:
            case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
        _check(case, case.call(headers=headers))

    with suppress(Unsatisfiable):  # nothing can be wrong with a call that takes nothing
        send()


def _check(case: Case, response: Response) -> None:
    documented = case.operation.definition.raw["responses"]
    where = f"{case.operation.label} answers {response.status_code}: {response.content[:300]!r}"
    # What is wrong with a request may be the default answer; all others are named.
    named = str(response.status_code) in documented or 400 <= response.status_code < 500
    assert named, f"{where}, which is not documented"
    case.validate_response(
        response, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
    )
