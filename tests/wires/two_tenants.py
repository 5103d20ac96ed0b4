"""Two tenants on one service, anna and bert: anna has one of everything that a path may name, and both ask for it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import uuid6
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.comparisons import Comparison
from shared.domain.jobs import Status
from shared.domain.trainings import plot_key
from shared.services import explanations, models, seen_pictures, suggestions, training_runs, trainings
from shared.services.seen_pictures import Sighting
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
    "/drift-reference": {"PUT": lambda ids: {"dataset": ids["reference"]}},
    "/webhook": {"PUT": lambda ids: {"url": "https://1.1.1.1/hook"}},
    "/link": {"POST": lambda ids: {}},
    "/limits": {"PUT": lambda ids: {"max_queued": 5}},
    "/promote": {"POST": lambda ids: {"version": "1"}},
    "/rejection": {"PUT": lambda ids: {"precision": 0.9, "dataset": ids["reference"]}},
    "/rollback": {"POST": lambda ids: {}},
    "/seen-pictures": {"PUT": lambda ids: {"most": 5}},
    "/suggestions": {"POST": lambda ids: {"limit": 5}},
    "/<suggestion_id>": {"POST": lambda ids: {"label": "annas-teal"}},
    "/<job_id>/feedback": {"POST": lambda ids: {"label": "annas-teal"}},
    "dataset_id>/examples": {"POST": lambda ids: {"name": "a", "labelId": "1", "data": (io.BytesIO(png(99)), "a.png")}},
    "dataset_id>/labels": {"POST": lambda ids: {"name": "another"}},
    "reference>/labels": {"POST": lambda ids: {"name": "another"}},
    "/upload": {"PUT": lambda ids: {"data": (io.BytesIO(archive(a=3)), "a.zip")}},
}
"""End of a rule -> method -> its body, where that is no picture."""


def inhabited(container: Container) -> Iterator[World]:
    """Yield the world of a container, and end its threads."""
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
        version_id = str(uuid6.uuid7())
        container.storage.write(f"weights/{version_id}", b"weights")
        version = replace(
            models.get_version(container, "anna", "digits"), id=version_id, tenant="anna", name="annas-model",
            training_id=begun.id, labels=("annas-teal", "annas-mallard"), weights=f"weights/{version_id}",
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
    assert client.put("/v1/models/annas-model/seen-pictures", json={}).status_code == 200
    choice = seen_pictures.list_choices(container, "annas-model")["anna"]
    sighting = Sighting(job.json["_id"], 0, made[0].id, PICTURE, "annas-teal", 0.5, 0.9, False, None, b"\0<" * 8)
    seen_pictures.keep(container, choice, [sighting])
    (suggestion,) = suggestions.suggest(container, "anna", "annas-model", "1", 9).pictures
    (key,) = client.get("/v1/keys").json["keys"]
    del client.environ_base["HTTP_AUTHORIZATION"]
    ids = {
        "job_id": job.json["_id"], "position": 0, "delivery_id": ended.json["_id"], "tenant": "anna",
        "image_id": image.json["id"], "key_id": key["id"], "training_id": begun.id,
        "reference": "annas-birds", "dataset_id": dataset["id"], "label_id": 1, "example_id": 1, "plot": "confusion",
        "kind": "svg", "name": "annas-model", "model": "annas-model", "model_id": "annas-model", "version": "1",
        "version_id": made[0].id, "alias": "annas/alias", "owner": "annas", "comparison_id": comparison.id,
        "suggestion_id": suggestion.id,
    }  # fmt: skip
    yield World(client, anna, headers["bert"], ids)
    container.waiters.close()


def walked(world: World) -> Iterator[tuple[Rule, str]]:
    """Yield each rule with an id in its path, and its methods: those that change nothing first."""
    rules = [rule for rule in world.client.application.url_map.iter_rules() if rule.arguments]
    calls = [(rule, method) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    # The pages hold no data: their scripts ask for it by the native wire.
    yield from sorted((call for call in calls if not call[0].endpoint.startswith("web.")), key=lambda call: call[1])
