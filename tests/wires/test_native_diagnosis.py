"""The native wire: the diagnosis of the service, with more parts for its operator, at once or after a wait."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from shared.container import Container
from tests.wires.described import described_client
from tests.wires.test_native_tenant_limits import made

PATH = "/v1/diagnosis"
FOR_ALL = {"queue", "workers", "maintenance", "storage", "keys", "webhooks", "dead letters"}


@pytest.fixture
def client(container: Container) -> FlaskClient:
    """Requests whose answers must be as the document says."""
    return described_client(container)


def told(client: FlaskClient, headers: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """Return whose queue was examined, and the parts."""
    answer = client.get(PATH, headers=headers)
    assert answer.status_code == 200
    assert answer.json["max_wait"] > 0
    return answer.json["tenants"], {check["part"] for check in answer.json["checks"]}


def test_each_part_is_told_with_its_verdict(client: FlaskClient) -> None:
    assert told(client) == ("all", {*FOR_ALL, "redis", "database", "clocks", "disk"})


def test_only_the_operator_is_told_of_redis_database_clocks_and_disk(client: FlaskClient) -> None:
    owner = made(client, scopes=["infer", "models", "keys"])
    others = made(client, owner, tenant="acme", scopes=["infer", "keys"]), made(client, owner, scopes=["infer"])
    assert told(client, owner)[0] == "all"
    assert [told(client, headers) for headers in others] == [("own", FOR_ALL)] * 2
    assert client.get(PATH).status_code == 401


def test_a_wait_is_held_to_its_end_but_no_longer_than_any_request(container: Container) -> None:
    short = described_client(replace(container, settings=container.settings.changed(max_wait=0.3)))
    began = time.monotonic()
    assert short.get(PATH, headers={"Prefer": "wait=30"}).status_code == 200
    assert 0.3 <= time.monotonic() - began < 20
