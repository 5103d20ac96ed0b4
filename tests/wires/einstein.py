"""Requests to the Einstein Vision wire for tests of datasets and trainings, checked against the OpenAPI document."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import jsonschema
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from api.dialects import einstein_vision
from shared.settings import Settings

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000"


def picture(shade: int, format: str = "PNG") -> bytes:
    """Return a small picture, a different one for each shade."""
    out = io.BytesIO()
    Image.new("RGB", (12, 12), (shade, 255 - shade, 40)).save(out, format)
    return out.getvalue()


def send(client: FlaskClient, method: str, where: str, file: str = "mugs.zip", **sent: Any) -> TestResponse:
    """Send a multipart body: bytes and lists of bytes as file parts, texts as fields."""
    boundary, body = encode_multipart({name: _part(value, file) for name, value in sent.items()})
    return client.open(where, method=method, data=body, content_type=f"multipart/form-data; boundary={boundary}")


def _part(value: Any, file: str) -> Any:
    if isinstance(value, list):
        return [_part(part, file) for part in value]
    return FileStorage(io.BytesIO(value), file) if isinstance(value, bytes) else value


def post(client: FlaskClient, where: str, **sent: Any) -> TestResponse:
    return send(client, "POST", where, **sent)


def fine(answer: TestResponse, schema: str) -> dict[str, Any]:
    """Return the body of a success, which must fit its schema exactly."""
    assert answer.status_code == 200, answer.text
    body = dict(answer.get_json())
    _must_fit(body, schema)
    return body


def listed(answer: TestResponse, schema: str) -> list[dict[str, Any]]:
    """Return the entries of a list, each of which must fit its schema."""
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert (set(body), body["object"]) == ({"object", "data"}, "list")
    for resource in body["data"]:
        _must_fit(resource, schema)
    return list(body["data"])


def refused(answer: TestResponse, status: int = 400) -> str:
    """Return the message of a refusal, which must be the only field."""
    assert answer.status_code == status, answer.text
    assert set(answer.get_json()) == {"message"}
    assert answer.get_json()["message"]
    return str(answer.get_json()["message"])


@cache
def _schemas() -> dict[str, Any]:
    return dict(einstein_vision.openapi(Settings())["components"]["schemas"])


def _must_fit(body: dict[str, Any], schema: str) -> None:
    described = _schemas()[schema]
    jsonschema.Draft202012Validator({**described, "components": {"schemas": _schemas()}}).validate(body)
    assert set(body) <= set(described["properties"])
