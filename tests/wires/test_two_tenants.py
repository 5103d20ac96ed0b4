"""Every route of every wire, asked by one tenant for what belongs to another: to it, nothing of that exists.

The routes come from the URL map, so that a new one is walked too. A new name of an id in a path needs a line in `ids`,
and a new call that reads a body one in BODIES.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import uuid6
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.comparisons import Comparison
from shared.domain.jobs import Status
from shared.domain.trainings import plot_key
from shared.services import explanations, models, training_runs, trainings
from tests import apps, stacks
from tests.wires.training_requests import archive, keys, new_dataset, png

PICTURE = stacks.digits()[7][1]
EVERYTHING = ["infer", "models", "keys"]
EVIDENCE: dict[str, Any] = {
    "accuracy": 0.75, "method": "head", "confusion": [[1, 0], [1, 2]], "note": "A linear head.", "curve": [],
    "per_label": [], "labels": [], "examples": {"training": 4, "test": 2}, "stopped": "time", "seconds": {"total": 1.0},
    "train_loss": 0.5, "train_accuracy": 0.75,
}  # fmt: skip
SECRET = "annas"
"""It is in all names that anna gives."""


@dataclass(frozen=True)
class World:
    """What anna has, and how she and bert ask for it."""

    client: FlaskClient
    anna: dict[str, str]
    bert: dict[str, str]
    ids: dict[str, Any]
    """Name of a part of a path -> anna's."""

    def ask(self, rule: Rule, method: str, headers: dict[str, str], ids: dict[str, Any]) -> TestResponse:
        """Send a request that would be right if the ids were the caller's."""
        return self.client.open(self.path(rule, ids), method=method, headers=headers, **body(rule.rule, method, ids))

    @staticmethod
    def path(rule: Rule, ids: dict[str, Any]) -> str:
        named = ids | ({"name": ids["alias"].partition("/")[2]} if "owner" in rule.arguments else {})
        built = rule.build({name: named[name] for name in rule.arguments})
        assert built
        return str(built[1])


def own(ids: dict[str, Any]) -> dict[str, Any]:
    """Return ids like the given ones that no tenant has."""
    numbers = {"example_id": 7777, "label_id": 7777, "dataset_id": 7777, "version": "7777", "position": 7777}
    return {name: numbers.get(name, f"x{name}") for name in ids} | {"alias": "xowner/xalias", "kind": ids["kind"]}


def body(path: str, method: str, ids: dict[str, Any]) -> dict[str, Any]:
    """Return a body that the call would take: most take a picture."""
    if method not in ("POST", "PUT"):
        return {}
    make = next((make for end, make in BODIES.items() if path.endswith(end) and method in make), None)
    if make:
        fields = make[method](ids)
        return {"json": fields} if "/vision/" not in path else form(**fields)
    if path.startswith(("/models", "/hf-inference")):
        return {"data": PICTURE, "content_type": "image/png"}
    return form(file("annas.png", PICTURE), label="annas-teal")


def form(files: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"data": {**(files or {}), **fields}, "content_type": "multipart/form-data"}


def file(name: str, data: bytes) -> dict[str, Any]:
    """Return a file under each name that a wire has for it."""
    return {field: (io.BytesIO(data), name) for field in ("files", "file", "data", "sampleContent")}


BODIES: dict[str, dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "<path:alias>": {"PUT": lambda ids: {"model": ids["name"]}},
    "/canary": {"PUT": lambda ids: {"version": "1", "share": 0.5}},
    "/compare": {"POST": lambda ids: {"version": "1"}},
    "/limits": {"PUT": lambda ids: {"max_queued": 5}},
    "/promote": {"POST": lambda ids: {"version": "1"}},
    "/rejection": {"PUT": lambda ids: {"precision": 0.9, "dataset": ids["reference"]}},
    "/rollback": {"POST": lambda ids: {}},
    "/<job_id>/feedback": {"POST": lambda ids: {"label": "annas-teal"}},
    "dataset_id>/examples": {"POST": lambda ids: {"name": "a", "labelId": "1", "data": (io.BytesIO(png(99)), "a.png")}},
    "dataset_id>/labels": {"POST": lambda ids: {"name": "another"}},
    "reference>/labels": {"POST": lambda ids: {"name": "another"}},
    "/upload": {"PUT": lambda ids: {"data": (io.BytesIO(archive(a=3)), "a.zip")}},
}
"""End of a rule -> method -> its body, where that is no picture."""


@pytest.fixture
def world(container: Container) -> Iterator[World]:
    client = apps.over(container).test_client()
    headers = keys(client, anna=EVERYTHING, bert=EVERYTHING)
    anna = headers["anna"]
    client.environ_base["HTTP_AUTHORIZATION"] = anna["Authorization"]
    dataset = new_dataset(client, "annas-birds", **{"annas-teal": 3, "annas-mallard": 3})
    made = []
    for _ in range(2):
        training = client.post("/v1/trainings", json={"dataset": "annas-birds", "name": "annas-model"})
        assert training.status_code == 202, training.text
        begun = training_runs.begin(container, trainings.get(container, "anna", training.json["id"]))
        container.storage.write(plot_key(begun.id, "confusion.svg"), b"<svg/>")
        version = replace(
            models.get_version(container, "anna", "digits"), id=str(uuid6.uuid7()), tenant="anna", name="annas-model",
            training_id=begun.id, labels=("annas-teal", "annas-mallard"),
        )  # fmt: skip
        made.append(training_runs.finish(container, begun, version, EVIDENCE, None))
    comparison = Comparison(
        str(uuid6.uuid7()), "anna", "annas-model", made[1].id, made[0].id, dataset["id"], 1, Status.QUEUED, 0.0
    )
    with container.database.write() as uow:
        uow.comparisons.add(comparison)
    assert client.put("/v1/aliases/annas/alias", json={"model": "annas-model"}).status_code == 201
    job = client.post("/v1/jobs?model=digits&name=annas.png&explain=true", data=PICTURE, content_type="image/png")
    called_back = "/v1/jobs?model=digits&webhook=https://1.1.1.1/hook"
    ended = client.post(called_back, data=PICTURE, content_type="image/png")
    assert client.post(f"/v1/jobs/{ended.json['_id']}/cancel").status_code == 200
    image = client.post("/v1/images", json={"name": "annas.png", "base64": base64.b64encode(png()).decode()})
    assert (job.status_code, image.status_code) == (202, 201), image.text
    explanations.store(container, {(job.json["_id"], 0): PICTURE})
    (key,) = client.get("/v1/keys").json["keys"]
    del client.environ_base["HTTP_AUTHORIZATION"]
    ids = {
        "job_id": job.json["_id"], "position": 0, "delivery_id": ended.json["_id"], "tenant": "anna",
        "image_id": image.json["id"], "key_id": key["id"], "training_id": begun.id,
        "reference": "annas-birds", "dataset_id": dataset["id"], "label_id": 1, "example_id": 1, "plot": "confusion",
        "kind": "svg", "name": "annas-model", "model": "annas-model", "model_id": "annas-model", "version": "1",
        "version_id": made[0].id, "alias": "annas/alias", "owner": "annas", "comparison_id": comparison.id,
    }  # fmt: skip
    yield World(client, anna, headers["bert"], ids)
    container.waiters.close()


def walked(world: World) -> Iterator[tuple[Rule, str]]:
    """Yield each rule with an id in its path, and its methods: those that change nothing first."""
    rules = [rule for rule in world.client.application.url_map.iter_rules() if rule.arguments]
    calls = [(rule, method) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    # The pages hold no data: their scripts ask for it by the native wire.
    yield from sorted((call for call in calls if not call[0].endpoint.startswith("web.")), key=lambda call: call[1])


def same(answer: TestResponse, ids: dict[str, Any]) -> tuple[int, str]:
    """Return status and text, with the ids that the request names taken out."""
    text = answer.get_data(as_text=True)
    for value in sorted(map(str, ids.values()), key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(value)}\b", "ID", text)
    return answer.status_code, text


FOREIGN_IMAGES = "/v1/images/<image_id>"
"""The contract of this wire answers 403 for an image of another key."""
SIGNED = "/picture"
"""Ends the path of pictures on the Einstein wire, which are shown to those who have a signed link, with or without a
key."""


def test_to_another_tenant_nothing_of_it_exists(world: World) -> None:
    nothing = own(world.ids)
    for rule, method in walked(world):
        call = f"{method} {rule.rule}"
        theirs = world.ask(rule, method, world.bert, world.ids)
        if rule.rule.startswith(FOREIGN_IMAGES) or (rule.rule.endswith(SIGNED) and "/vision/" in rule.rule):
            assert theirs.status_code == 403, call
            continue
        # Whether there is a tenant of that name or not.
        expected = 403 if rule.rule.startswith("/v1/tenants/") else 404
        assert theirs.status_code == expected, (call, theirs.get_data(as_text=True))
        assert same(theirs, world.ids) == same(world.ask(rule, method, world.bert, nothing), nothing), call


NOT_HERS = ("/canary", "/retraining/jobs/<name>", "/export", SIGNED)
"""Ends of what anna cannot read either: there is none of it, or no worker that makes it, or it takes a signed link."""


def test_the_same_requests_reach_what_the_owner_has(world: World) -> None:
    for rule, method in walked(world):
        if method == "GET" and not (rule.rule.endswith(NOT_HERS) and not rule.rule.startswith("/v1/datasets")):
            with world.ask(rule, method, world.anna, world.ids) as answer:
                assert answer.status_code == 200, (rule.rule, answer.get_data(as_text=True))


def test_no_list_and_no_page_names_anything_of_another_tenant(world: World) -> None:
    values = {str(value) for value in world.ids.values() if len(str(value)) > 9} | {SECRET}
    for rule in world.client.application.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.arguments:
            with world.client.get(rule.rule, headers=world.bert) as answer:
                text = answer.get_data(as_text=True)
            assert [value for value in values if value in text] == [], rule.rule


@pytest.mark.parametrize(
    ("path", "make", "status"),
    [
        ("/v1/jobs", lambda ids: {"json": {"inputs": [{"image_id": ids["image_id"]}]}}, 404),
        ("/v1/jobs", lambda ids: form(file("a.png", PICTURE), model=ids["name"]), 404),
        ("/v1/classify", lambda ids: form(file("a.png", PICTURE), model=ids["alias"]), 404),
        ("/v1/images/search", lambda ids: {"json": {"inputs": {"image_id": ids["image_id"]}}}, 404),
        ("/v1/images/search", lambda ids: form(file("a.png", PICTURE), dataset=ids["reference"]), 404),
        ("/v1/images/search", lambda ids: form(file("a.png", PICTURE), dataset=str(ids["dataset_id"])), 404),
        ("/v1/images/search", lambda ids: form(file("a.png", PICTURE), model=ids["name"]), 404),
        ("/v1/trainings", lambda ids: {"json": {"dataset": ids["reference"], "name": "mine"}}, 404),
        ("/v1/trainings", lambda ids: {"json": {"dataset": str(ids["dataset_id"]), "name": "mine"}}, 404),
        ("/v1/keys", lambda ids: {"json": {"tenant": "anna"}}, 403),
        ("/v2/vision/predict", lambda ids: form({"sampleContent": (io.BytesIO(PICTURE), "a.png")},
                                                modelId=ids["model_id"]), 404),
        ("/v2/vision/train", lambda ids: form(name="mine", datasetId=str(ids["dataset_id"])), 404),
        ("/v2/vision/retrain", lambda ids: form(modelId=ids["model_id"]), 404),
        ("/v2/vision/feedback", lambda ids: form({"data": (io.BytesIO(PICTURE), "a.png")}, modelId=ids["model_id"],
                                                 expectedLabel="annas-teal"), 404),
        ("/api/v2/image/retraining/jobs", lambda ids: {"json": {"jobName": "mine", "dataset": ids["reference"],
                                                                "modelName": "mine"}}, 404),
        ("/api/v2/image/retraining/deployments", lambda ids: {"json": {"modelName": ids["name"],
                                                                       "modelVersion": "1"}}, 404),
    ],
)  # fmt: skip
def test_a_body_that_names_what_belongs_to_another_tenant_names_nothing(
    world: World, path: str, make: Callable[[dict[str, Any]], dict[str, Any]], status: int
) -> None:
    nothing = own(world.ids)
    theirs = world.client.post(path, headers=world.bert, **make(world.ids))
    assert theirs.status_code == status, theirs.get_data(as_text=True)
    assert same(theirs, world.ids) == same(world.client.post(path, headers=world.bert, **make(nothing)), nothing)
