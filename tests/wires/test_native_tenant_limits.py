"""The native wire: the limits of tenants, and their words when a job passes one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

PATH = "/v1/tenants/acme/limits"


def made(client: FlaskClient, owner: dict[str, str] | None = None, **request: Any) -> dict[str, str]:
    """Create a key; return its headers."""
    answer = client.post("/v1/keys", json=request, headers=owner)
    assert answer.status_code == 201
    return {"Authorization": f"Bearer {answer.json['key']}"}


@pytest.fixture
def owner(client: FlaskClient) -> dict[str, str]:
    return made(client, scopes=["infer", "models", "keys"])


@pytest.fixture
def acme(client: FlaskClient, owner: dict[str, str]) -> dict[str, str]:
    return made(client, owner, tenant="acme", scopes=["infer", "keys"])


def sent(client: FlaskClient, headers: dict[str, str], pictures: int) -> TestResponse:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    files = [(io.BytesIO(file.getvalue()), f"{number}.png") for number in range(pictures)]
    return client.post("/v1/jobs", data={"files": files}, headers=headers, content_type="multipart/form-data")


def test_limits_are_the_settings_until_some_are_set(
    client: FlaskClient, owner: dict[str, str], acme: dict[str, str]
) -> None:
    settings = {"keep_jobs": 604800.0, "max_queued": 1000, "pictures_per_minute": None, "max_bytes": None}
    nothing = dict.fromkeys(settings) | {"tenant": "acme", "kept_bytes": 0}
    assert client.get(PATH, headers=acme).json == nothing | {"in_effect": settings}
    assert client.get("/v1/tenants", headers=owner).json == {"tenants": []}

    answer = client.put(PATH, json={"keep_jobs": 60}, headers=owner)

    own = nothing | {"keep_jobs": 60.0, "in_effect": settings | {"keep_jobs": 60.0}}
    assert (answer.status_code, answer.json) == (200, own)
    assert client.get(PATH, headers=acme).json == own
    assert client.get("/v1/tenants", headers=acme).json == {"tenants": [own]}
    assert client.put(PATH, json={}, headers=owner).json == nothing | {"in_effect": settings}
    assert client.get("/v1/tenants", headers=owner).json == {"tenants": []}


def test_only_the_owner_sets_limits_and_sees_those_of_others(
    client: FlaskClient, owner: dict[str, str], acme: dict[str, str]
) -> None:
    bert = made(client, owner, tenant="bert", scopes=["keys"])
    without = made(client, owner, tenant="acme")
    for answer in (
        client.put(PATH, json={"max_queued": 10**6}, headers=acme),
        client.get(PATH, headers=bert),
        client.get(PATH, headers=without),
        client.get("/v1/tenants", headers=without),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert client.get(PATH, headers=owner).json["max_queued"] is None


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"keep_jobs": -1}, "keep_jobs must be a number"),
        ({"max_queued": 1.5}, "max_queued must be a whole number"),
        ({"pictures_per_minute": 0}, "pictures_per_minute must be a whole number"),
        ({"max_bytes": -1}, "max_bytes must be a whole number"),
        ({"keep_job": 5}, "did you mean keep_jobs?"),
    ],
)
def test_a_bad_limit_is_refused(
    client: FlaskClient, owner: dict[str, str], request_: dict[str, Any], says: str
) -> None:
    answer = client.put(PATH, json=request_, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_option")
    assert says in answer.json["detail"]


def test_the_owner_sees_what_every_tenant_uses_and_a_tenant_what_it_uses_itself(
    client: FlaskClient, owner: dict[str, str], acme: dict[str, str]
) -> None:
    assert sent(client, acme, 3).status_code == 202
    client.put(PATH, json={"max_queued": 30}, headers=owner)

    found = client.get("/v1/usage", headers=owner).json["tenants"]

    assert [one["tenant"] for one in found] == ["acme", "default"]
    used = found[0]
    assert {name: used[name] for name in ("keys", "jobs", "waiting", "fullest", "answered", "trainings")} == {
        "keys": 1, "jobs": 1, "waiting": 3, "fullest": 3, "answered": 0, "trainings": 0,
    }  # fmt: skip
    assert (used["max_queued"], used["in_effect"]["max_queued"]) == (30, 30)
    assert used["kept_bytes"] > 100
    assert client.get("/v1/usage", headers=acme).json["tenants"] == [used]
    assert client.get("/v1/usage", headers=made(client, owner, tenant="acme")).status_code == 403


def test_a_job_past_the_pictures_of_a_minute_is_refused_with_a_time_to_come_back(
    client: FlaskClient, owner: dict[str, str], acme: dict[str, str]
) -> None:
    client.put(PATH, json={"pictures_per_minute": 3}, headers=owner)
    assert sent(client, acme, 2).status_code == 202
    refused = sent(client, acme, 2)
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "would pass your limit of 3 a minute" in refused.json["detail"]
    too_large = sent(client, acme, 4)
    assert (too_large.status_code, too_large.json["code"]) == (400, "too_many_files")
    assert sent(client, owner, 4).status_code == 202
