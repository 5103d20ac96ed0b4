"""`/v1/models/{name}/drift`: what a caller sees of drift, on each database, and the metrics of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.adapters.database.unit_of_work import Database
from shared.domain import drift as rules
from shared.domain.drift import Kind, Reference, Source, measure_name
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.domain.observations import Observation
from shared.services import drift, keys
from tests import dataset_fixtures
from tests.dataset_fixtures import Ground
from tests.wires.described import described_client

DAY = 86_400.0
NOW = 20_000 * DAY + 3600
OPERATOR = Caller("default", SCOPES)
HOOK = "https://1.1.1.1/hook"


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Iterator[Ground]:
    """A container whose clock stands, an hour into 2024-10-04, and which waits for no worker."""
    ground = dataset_fixtures.on(database, tmp_path)
    settings = ground.container.settings.changed(max_wait=0.1)
    ground.container = replace(ground.container, now=lambda: NOW, settings=settings)
    yield ground
    ground.container.waiters.close()


@pytest.fixture
def client(ground: Ground) -> FlaskClient:
    """A client whose requests and answers are compared with `/openapi.json`."""
    return described_client(ground.container)


def model(ground: Ground, tenant: str = "default", name: str = "fruit", count: int = 200) -> ModelVersion:
    """Store a model with a reference of so many pears."""
    version = ground.version(name, tenant=tenant)
    counted = rules.count([Observation(version.id, 0, 0.9, 0.3, "bank")] * count)[version.id, "bank"]
    with ground.container.database.write() as uow:
        uow.drift.set_reference(Reference(version.id, counted, Source.TEST, NOW, bank="bank"))
    return version


def seen(ground: Ground, version: ModelVersion, count: int, label: int, days_ago: float = 0.0) -> None:
    with ground.container.database.write() as uow:
        observations = [Observation(version.id, label, 0.9, 0.3, "bank")] * count
        uow.drift.count(observations, NOW - days_ago * DAY)


def key(ground: Ground, tenant: str) -> str:
    """Return the text of a key that may not change models, after a first one that closes the open door."""
    keys.create(ground.container, OPERATOR, scopes=SCOPES)
    return keys.create(ground.container, OPERATOR, tenant=tenant, scopes=["infer"])[1]


def look(client: FlaskClient, query: str = "", name: str = "fruit") -> Any:
    answer = client.get(f"/v1/models/{name}/drift{query}")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_each_day_is_shown_with_what_has_drifted_and_what_to_do(client: FlaskClient, ground: Ground) -> None:
    version = model(ground)
    seen(ground, version, 100, 0, days_ago=1)
    seen(ground, version, 100, 1)
    seen(ground, version, 9, 1, days_ago=40)
    found = look(client)
    assert [(day["day"], day["pictures"], day["labels"]["drifted"]) for day in found["days"]] == [
        ("2024-10-03", 100, False), ("2024-10-04", 100, True),
    ]  # fmt: skip
    assert found["days"][1]["distance"] == {"effect": 0.0, "p_value": 1.0, "drifted": False, "unknown": None}
    assert found["days"][1]["labels"]["effect"] == pytest.approx(1.0, abs=0.01)
    assert (found["recent"]["since"], found["recent"]["pictures"]) == ("2024-10-04", 100)
    assert found["recent"]["labels"] == found["days"][1]["labels"]
    assert (found["verdict"], found["version"], found["webhook"]) == ("other_labels", "1", None)
    assert "other labels" in found["message"]
    assert "train again" in found["advice"]
    assert found["reference"] == {
        "source": "test", "dataset": None, "pictures": 200, "measured_at": "2024-10-04T01:00:00.000Z",
    }  # fmt: skip
    assert [day["pictures"] for day in look(client, "?days=60&version=1")["days"]] == [9, 100, 100]


def test_without_a_reference_or_pictures_it_says_so(client: FlaskClient, ground: Ground) -> None:
    ground.version("fruit", tenant="default")
    found = look(client)
    assert (found["verdict"], found["reference"], found["recent"], found["days"]) == ("no_reference", None, None, [])
    ground.version("shared", tenant=ALL_TENANTS)
    assert look(client, name="shared")["verdict"] == "not_counted"
    model(ground, name="other")
    assert look(client, name="other")["verdict"] == "too_few_pictures"


@pytest.mark.parametrize(
    ("query", "named"), [("?days=0", "days"), ("?days=91", "days"), ("?day=3", "day"), ("?version=9", "version '9'")]
)
def test_a_bad_query_is_refused_by_its_name(client: FlaskClient, ground: Ground, query: str, named: str) -> None:
    model(ground)
    answer = client.get(f"/v1/models/fruit/drift{query}")
    assert answer.status_code in (400, 404)
    assert named in answer.json["detail"]


def test_a_webhook_is_set_shown_and_removed(client: FlaskClient, ground: Ground) -> None:
    model(ground)
    assert client.put("/v1/models/fruit/webhook", json={"url": HOOK, "secret": "s3cret"}).json["webhook"] == HOOK
    assert "s3cret" not in client.get("/v1/models/fruit/drift").text
    assert client.delete("/v1/models/fruit/webhook").status_code == 204
    assert look(client)["webhook"] is None
    refused = client.put("/v1/models/fruit/webhook", json={"url": "http://127.0.0.1/hook"})
    assert (refused.status_code, "cannot be called back" in refused.json["detail"]) == (400, True)


def test_a_reference_is_asked_for_and_followed(client: FlaskClient, ground: Ground) -> None:
    version = ground.version("fruit", tenant="default")
    few, many = (
        ground.dataset({"pear": count, "plum": count}, tenant="default", name=name)
        for name, count in (("few", 3), ("many", 20))
    )
    path = "/v1/models/fruit/versions/1/drift-reference"
    refused = client.put(path, json={"dataset": few.name})
    assert (refused.status_code, "6 pictures" in refused.json["detail"]) == (400, True)
    begun = client.put(path, json={"dataset": many.id})
    assert (begun.status_code, begun.json["measuring"], begun.headers["Retry-After"]) == (202, True, "1")
    assert ("measure_reference", version.id) in ground.sent
    assert look(client)["measuring"]
    with ground.container.database.read() as uow:
        assert uow.key_values.get(measure_name(version.id))


def test_metrics_name_the_models_of_the_key_and_nobody_elses(client: FlaskClient, ground: Ground) -> None:
    for tenant, name, label in (("anna", "fruit", 1), ("bert", "birds", 0)):
        seen(ground, model(ground, tenant, name), 100, label, days_ago=1)
    secret = key(ground, "anna")
    hidden = client.get("/metrics").text
    own = client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).text
    assert "fruit" not in hidden
    assert 'inferq_model_drifted{kind="labels",model="(private)",version=""} 1.0' in hidden
    assert 'inferq_model_drifted{kind="labels",model="fruit",version="1"} 1.0' in own
    assert 'inferq_model_drifted{kind="labels",model="(private)",version=""} 0.0' in own
    assert "birds" not in own
    (compared,) = [compared for version, compared in drift.list_finished(ground.container) if version.name == "fruit"]
    size = next(line for line in own.splitlines() if line.startswith('inferq_model_drift{kind="labels",model="fruit"'))
    assert float(size.rpartition(" ")[2]) == pytest.approx(compared.shifts[Kind.LABELS].effect)


def test_another_tenants_drift_does_not_exist(client: FlaskClient, ground: Ground) -> None:
    model(ground, tenant="anna")
    for answer in (
        client.get("/v1/models/fruit/drift"),
        client.put("/v1/models/fruit/webhook", json={"url": HOOK}),
        client.delete("/v1/models/fruit/webhook"),
    ):
        assert answer.status_code == 404


def test_a_key_without_the_scope_changes_nothing(client: FlaskClient, ground: Ground) -> None:
    model(ground)
    secret = key(ground, "default")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    assert client.get("/v1/models/fruit/drift").status_code == 200
    assert client.put("/v1/models/fruit/webhook", json={"url": HOOK}).status_code == 403
    assert client.delete("/v1/models/fruit/webhook").status_code == 403
    path = "/v1/models/fruit/versions/1/drift-reference"
    assert client.put(path, json={"dataset": "fruit"}).status_code == 403
