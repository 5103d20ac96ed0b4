"""A tenant that keeps as much as it may: every wire refuses in its own words, and before the body where it can."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import room
from shared.adapters.storage import Storage
from shared.container import Container
from shared.domain.sizes import in_units
from shared.domain.tenant_limits import TenantLimits
from shared.services import datasets, jobs, kept_bytes, tenant_limits
from tests.integration.test_kept_bytes import archive
from tests.wires.ways import WAYS, Way, picture

PNG = picture("PNG")
SAYS = "more would pass your limit of 5 bytes. Delete jobs, stored images, seen pictures, datasets or models"


@pytest.fixture
def full(container: Container) -> Container:
    """A container whose tenant `default`, that of loopback, may keep 5 bytes."""
    dataset = datasets.create(container, "default", "fruit", labels=["pear"])
    assert dataset.name == "fruit"
    tenant_limits.replace(container, "default", TenantLimits("default", max_bytes=5))
    return container


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_to_send_a_picture_is_refused_with_what_to_do(full: Container, client: FlaskClient, way: Way) -> None:
    headers, body = way.write(way, [("a.png", PNG)])
    answer = client.post(way.path, headers=headers, data=body)
    assert answer.status_code == 507, answer.text
    assert SAYS in answer.text
    assert "Retry-After" not in answer.headers
    assert kept_bytes.used(full, "default") == 0


def _form(**fields: Any) -> dict[str, Any]:
    return {"data": fields, "content_type": "multipart/form-data"}


def _file(data: bytes, name: str = "a.zip") -> tuple[io.BytesIO, str]:
    return io.BytesIO(data), name


UPLOADS: dict[str, Callable[[FlaskClient], TestResponse]] = {
    "a dataset": lambda client: client.post("/v1/datasets", **_form(file=_file(archive(1)))),
    "a raw dataset": lambda client: client.post("/v1/datasets?name=a", data=archive(1)),
    "an archive for a dataset": lambda client: client.post(
        "/v1/datasets/fruit/archive", **_form(file=_file(archive(1)))
    ),
    "an example": lambda client: client.post(
        "/v1/datasets/fruit/examples", **_form(file=_file(PNG, "a.png"), label="pear")
    ),
    "weights": lambda client: client.post("/v1/models", **_form(name="own", weights=_file(bytes(100), "a.onnx"))),
    "a dataset by Einstein": lambda client: client.post(
        "/v2/vision/datasets/upload", **_form(data=_file(archive(1)), type="image")
    ),
}


@pytest.mark.parametrize("send", UPLOADS.values(), ids=UPLOADS)
def test_every_upload_is_refused_with_what_to_do_and_leaves_nothing(
    full: Container, client: FlaskClient, send: Callable[[FlaskClient], TestResponse]
) -> None:
    answer = send(client)
    assert answer.status_code == 507, answer.text
    assert SAYS in answer.text
    assert [*full.storage.tree("uploads"), *full.storage.tree("datasets")] == []
    assert kept_bytes.used(full, "default") == 0


def test_the_npm_client_of_img_does_not_send_it_again(full: Container, client: FlaskClient) -> None:
    way = WAYS["IMG"]
    headers, body = way.write(way, [("a.png", PNG)])
    assert client.post(way.path, headers=headers, data=body).headers["x-should-retry"] == "false"


def test_a_body_that_is_larger_than_the_room_is_refused_by_its_length_alone(
    container: Container, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "writing", lambda *_: pytest.fail("something was stored"))
    tenant_limits.replace(container, "default", TenantLimits("default", max_bytes=room.SMALL))
    answer = client.post("/v1/jobs", environ_overrides={"CONTENT_LENGTH": str(2 * room.SMALL)})
    assert (answer.status_code, answer.json["code"]) == (507, "quota_exceeded")
    assert f"and {in_units(2 * room.SMALL * 3 // 4)} more would pass" in answer.json["detail"]


def test_a_full_tenant_may_send_what_is_not_kept(full: Container, client: FlaskClient) -> None:
    texts = {"0": [{"id": "a", "vector": [1.0] * room.SMALL}]}
    body = {"texts": json.dumps(texts), "options": '{"numSimilarVectors": 1}'}
    assert client.post("/api/v2/similarity-scoring", **_form(**body)).status_code == 200


def test_a_large_repeat_gets_its_job_though_nothing_more_may_be_kept(container: Container, client: FlaskClient) -> None:
    body, key = PNG + bytes(2 * room.SMALL), {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", data=body, headers=key)
    assert first.status_code == 202, first.text
    tenant_limits.replace(container, "default", TenantLimits("default", max_bytes=0))
    again = client.post("/v1/jobs", data=body, headers=key)
    assert again.json["_id"] == first.json["_id"]
    assert client.post("/v1/jobs", data=body).status_code == 507
    jobs.cancel(container, "default", first.json["_id"])
    jobs.erase(container, "default", first.json["_id"])
    assert kept_bytes.used(container, "default") == 0


def test_a_tenant_sees_what_it_keeps(container: Container, client: FlaskClient) -> None:
    client.post("/v1/jobs", data=PNG)
    shown = client.get("/v1/tenants/default/limits").json
    assert (shown["kept_bytes"], shown["max_bytes"], shown["in_effect"]["max_bytes"]) == (len(PNG), None, None)
