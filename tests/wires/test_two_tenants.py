"""Every route of every wire, asked by one tenant for what belongs to another: to it, nothing of that exists.

The routes come from the URL map, so that a new one is walked too. A new name of an id in a path needs a line in `ids`
of two_tenants.py, and a new call that reads a body one in its BODIES.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.container import Container
from tests.wires import two_tenants
from tests.wires.two_tenants import PICTURE, SECRET, World, file, form, own, walked


@pytest.fixture
def world(container: Container) -> Iterator[World]:
    yield from two_tenants.inhabited(container)


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


NOT_HERS = ("/canary", "/retraining/jobs/<name>", SIGNED)
"""Ends of what anna cannot read either: there is none of it, or no worker that makes it, or it takes a signed link."""

HERS = ("/v1/datasets", "/v1/models/<name>/suggestions")
"""Beginnings of what she reads with her key, although it ends so."""


def test_the_same_requests_reach_what_the_owner_has(world: World) -> None:
    for rule, method in walked(world):
        if method == "GET" and not (rule.rule.endswith(NOT_HERS) and not rule.rule.startswith(HERS)):
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
