"""Helpers for tests of datasets and trainings over HTTP: pictures, archives, keys, and checks of refusals."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from tests.unit.archive_files import as_zip


def png(number: int = 0) -> bytes:
    """Return a picture, a different one for each number."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 255 - number, 7)).save(file, "PNG")
    return file.getvalue()


def archive(**counts: int) -> bytes:
    """Return a zip with so many pictures of each label."""
    names = [f"{label}/{number}.png" for label, count in counts.items() for number in range(count)]
    return as_zip([(name, png(number)) for number, name in enumerate(names)])


def form(file: str, data: bytes, /, **fields: str) -> dict[str, Any]:
    """Return a multipart body with one file, for one request."""
    return {"data": {"file": (io.BytesIO(data), file), **fields}, "content_type": "multipart/form-data"}


def complaint(answer: TestResponse, status: int, code: str) -> str:
    """Return the detail of a problem document (RFC 9457)."""
    assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), answer.text
    assert answer.mimetype == "application/problem+json"
    return str(answer.json["detail"])


def new_dataset(client: FlaskClient, name: str = "birds", **counts: int) -> dict[str, Any]:
    """Create a dataset with so many pictures of each label, added one by one."""
    answer = client.post("/v1/datasets", json={"name": name, "labels": list(counts)})
    assert answer.status_code == 201, answer.text
    path = answer.json["links"]["self"]
    labels = [label for label, count in counts.items() for _ in range(count)]
    for number, label in enumerate(labels):
        added = client.post(f"{path}/examples", **form(f"{number}.png", png(number), label=label))
        assert added.status_code == 201, added.text
    return dict(client.get(path).get_json())


def keys(client: FlaskClient, **scopes: list[str]) -> dict[str, dict[str, str]]:
    """Tenant -> headers with a key of it that has these scopes."""
    owner = client.post("/v1/keys", json={"scopes": ["infer", "models", "keys"]}).json["key"]
    headers: Mapping[str, str] = {"Authorization": f"Bearer {owner}"}
    requests = [{"tenant": tenant, "scopes": given} for tenant, given in scopes.items()]
    texts = [client.post("/v1/keys", json=request, headers=headers).json["key"] for request in requests]
    return {tenant: {"Authorization": f"Bearer {text}"} for tenant, text in zip(scopes, texts, strict=True)}
