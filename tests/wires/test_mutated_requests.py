"""Requests with random damage are refused in words of their wire; none is a fault of the service."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.container import Container
from tests import apps, stacks
from tests.unit.archive_files import as_zip
from tests.unit.test_mutated_pictures import damaged
from tests.wires.training_requests import png

# Werkzeug leaves the files of a form that breaks off to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PICTURE = stacks.digits()[7][1]
TEXT = base64.b64encode(PICTURE).decode()
ZIP = as_zip([("a.png", png(1)), ("b.png", png(2))])
ROUNDS = 40
"""Damaged requests of each kind."""
BOUNDARY = "0123456789abcdef"
AWAY = (503, 504)
"""Answers of wires without polling, where no worker runs the picture in time."""


def multipart(part: str, data: bytes, **fields: str) -> tuple[str, bytes]:
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="a.png"\r\n\r\n'
    body = b"".join([*lines, head.encode(), data, f"\r\n--{BOUNDARY}--\r\n".encode()])
    return f"multipart/form-data; boundary={BOUNDARY}", body


def in_json(content: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(content).encode()


REQUESTS = {
    "native picture": ("/v1/jobs", "image/png", PICTURE),
    "native archive": ("/v1/jobs", "application/zip", ZIP),
    "native multipart": ("/v1/jobs", *multipart("files", PICTURE, model="digits", top_k="3", metadata='{"a": 1}')),
    "native json": ("/v1/jobs", *in_json({"inputs": [{"base64": TEXT, "name": "a"}], "top_k": 3, "deadline": 60})),
    "native model": ("/v1/models", *multipart("weights", PICTURE, name="mine", labels="a\nb", architecture="resnet18")),
    "native dataset": ("/v1/datasets", *multipart("file", ZIP, name="birds")),
    "native labels": ("/v1/datasets", *in_json({"name": "birds", "labels": ["a", "b"]})),
    "native training": ("/v1/trainings", *in_json({"dataset": "birds", "name": "birds", "parameters": {"epochs": 3}})),
    "native key": ("/v1/keys", *in_json({"name": "a", "scopes": ["keys", "infer"], "stage": "test"})),
    "sap": ("/api/v2/image/classification", *multipart("files", PICTURE)),
    "sap jobs": ("/api/v2/image/classification/jobs", *multipart("files", ZIP)),
    "einstein": ("/v2/vision/predict", *multipart("sampleContent", PICTURE, modelId="digits", numResults="3")),
    "einstein base64": ("/v2/vision/predict", *multipart("x", b"", modelId="digits", sampleBase64Content=TEXT)),
    "einstein dataset": ("/v2/vision/datasets/upload", *multipart("data", ZIP, type="image")),
    "hugging face": ("/models/digits", "image/png", PICTURE),
    "hugging face json": ("/models/digits", *in_json({"inputs": TEXT, "parameters": {"top_k": 3}, "options": {}})),
    "img": ("/v1/images", *in_json({"name": "a", "base64": TEXT})),
    "img upload": ("/v1/images/upload", *multipart("image", PICTURE, name="a")),
    "token": ("/v2/oauth2/token", "application/x-www-form-urlencoded", b"grant_type=a&assertion=a.b.c"),
}


@pytest.fixture
def client(container: Container) -> Iterator[FlaskClient]:
    """Requests to a service that hardly waits, with a key, so that the damage cannot close the open door."""
    settings = container.settings.changed(max_wait=0.01, admin_key="owner", img_live_rate="off")
    client = apps.over(replace(container, settings=settings)).test_client()
    client.environ_base["HTTP_X_API_KEY"] = "owner"
    yield client
    container.waiters.close()


@pytest.mark.parametrize("kind", sorted(REQUESTS))
def test_a_damaged_request_is_never_a_fault_of_the_service(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("api.dialects.huggingface.common.PATIENCE", 0.0)
    path, media, body = REQUESTS[kind]
    chance = random.Random(kind)
    for number in range(ROUNDS):
        sent = damaged(body, chance)
        about = media if chance.random() < 0.8 else damaged(media.encode(), chance).decode("latin-1")
        about = "".join(letter for letter in about if letter.isprintable())  # others do not come through the server
        answer = client.post(path, data=sent, content_type=about)
        assert answer.status_code < 500 or answer.status_code in AWAY, (kind, number, answer.get_data(as_text=True))
