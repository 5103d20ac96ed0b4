"""Suspect labels on the native wire: those of the newest training, until a person has changed, kept or deleted them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.container import Container
from shared.domain.suspects import kept_name
from shared.services import datasets, models, training_runs, trainings
from tests.wires.described import described_client
from tests.wires.training_requests import complaint, form, keys, new_dataset, png


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return described_client(container)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_connection(container: Container) -> Iterator[None]:
    yield
    container.waiters.close()


def doubt(client: FlaskClient, container: Container, *rows: tuple[int, str, str]) -> dict[int, str]:
    """Train on `birds`, as a trainer does that doubts the labels of examples: (id, label, suggested). Return the label
    of each example that the training has learned from or is tested on."""
    answer = client.post("/v1/trainings", json={"dataset": "birds", "name": "birds"})
    training = training_runs.begin(container, trainings.get(container, "default", answer.json["id"]))
    splits = training_runs.get_splits(container, training)
    doubted = [
        {
            "example": example,
            "name": f"{example}.png",
            "label": label,
            "suggested": suggested,
            "score": 0.1 + place / 10,
        }
        for place, (example, label, suggested) in enumerate(rows)
    ]
    evidence = {"accuracy": 0.5, "method": "head", "curve": [], "suspects_in_all": len(rows), "suspects": doubted}
    digits = models.get_version(container, "default", "digits")
    version = replace(
        digits, id=training.id, tenant="default", name="birds", training_id=training.id, labels=("a", "b")
    )
    training_runs.finish(container, training, version, evidence)
    return {each.id: each.label for each in (*splits.training, *splits.validation, *splits.test)}


def suspects(client: FlaskClient) -> list[tuple[int, str, str]]:
    found = client.get("/v1/datasets/birds/suspects").json["suspects"]
    return [(each["example"]["id"], each["label"], each["suggested"]) for each in found]


def relabel(client: FlaskClient, example: int, **wanted: Any) -> Any:
    return client.post(f"/v1/datasets/birds/examples/{example}/labels", json=wanted)


def test_the_suspects_are_those_of_the_newest_training_until_each_is_decided(
    client: FlaskClient, container: Container
) -> None:
    new_dataset(client, teal=4, mallard=4)
    assert client.get("/v1/datasets/birds/suspects").json == {"training": None, "suspects": [], "kept": 0}
    doubt(client, container, (5, "mallard", "teal"))
    doubt(
        client,
        container,
        (2, "teal", "mallard"),
        (6, "mallard", "teal"),
        (3, "teal", "mallard"),
        (1, "teal", "mallard"),
    )
    found = client.get("/v1/datasets/birds/suspects").json
    assert [each["example"]["id"] for each in found["suspects"]] == [2, 6, 3, 1]
    assert found["suspects"][0]["score"] == pytest.approx(0.1)
    assert found["suspects"][0]["example"] == client.get("/v1/datasets/birds/examples/2").json
    assert found["training"] == client.get("/v1/trainings").json["trainings"][0]["id"]

    assert relabel(client, 2, label="mallard").status_code == 201
    assert client.delete("/v1/datasets/birds/suspects/6").status_code == 204
    assert client.delete("/v1/datasets/birds/examples/3").status_code == 204
    assert suspects(client) == [(1, "teal", "mallard")]
    assert client.get("/v1/datasets/birds/suspects").json["kept"] == 1


def test_a_label_that_was_kept_is_not_doubted_again_by_the_next_training(
    client: FlaskClient, container: Container
) -> None:
    made = new_dataset(client, teal=4, mallard=4)
    doubt(client, container, (2, "teal", "mallard"), (1, "teal", "mallard"))
    for _ in range(2):
        assert client.delete("/v1/datasets/birds/suspects/2").status_code == 204
    doubt(client, container, (2, "teal", "mallard"), (4, "teal", "mallard"))
    assert suspects(client) == [(4, "teal", "mallard")]
    assert client.delete(made["links"]["self"]).status_code == 202
    datasets.drop_deleted(container)
    with container.database.read() as uow:
        assert uow.key_values.get(kept_name(made["id"])) == ""


def test_the_next_training_learns_the_new_label_and_the_one_before_keeps_its_own(
    client: FlaskClient, container: Container
) -> None:
    made = new_dataset(client, teal=4, mallard=4)
    learned = doubt(client, container, (2, "teal", "mallard"))
    before: dict[str, Any] = client.get("/v1/datasets/birds/examples/2").json or {}
    picture = client.get(before["links"]["picture"]).data
    answer = relabel(client, 2, label="mallard")
    assert answer.headers["Location"] == f"/v1/datasets/{made['id']}/examples/9"
    assert answer.json == {
        **before,
        "id": 9, "label": {"id": 2, "name": "mallard"}, "labels": [{"id": 2, "name": "mallard"}],
        "links": answer.json["links"],
    }  # fmt: skip
    assert client.get(answer.json["links"]["picture"]).data == picture
    complaint(client.get("/v1/datasets/birds/examples/2"), 404, "not_found")
    now = client.get("/v1/datasets/birds").json
    assert (now["version"], [label["examples"] for label in now["labels"]]) == (2, [3, 5])
    assert learned[2] == "teal"
    assert doubt(client, container)[9] == "mallard"


def test_a_picture_of_a_version_that_was_not_trained_on_is_relabelled_in_place(
    client: FlaskClient, container: Container
) -> None:
    new_dataset(client, teal=2, mallard=2)
    data = client.get("/v1/datasets/birds/examples/1/picture").data
    first = relabel(client, 1, label="mallard").json
    assert client.get(first["links"]["picture"]).data == data
    assert client.get("/v1/datasets/birds").json["version"] == 1
    same = relabel(client, first["id"], label="mallard")
    assert (same.status_code, same.json) == (201, first), "a label that it has changes nothing"
    assert relabel(client, first["id"], label="teal").json["id"] == 6
    assert client.delete("/v1/datasets/birds/examples/6").status_code == 204
    assert client.get("/v1/datasets/birds").json["examples"] == 3


def test_the_labels_of_a_multi_label_picture_are_all_replaced(client: FlaskClient) -> None:
    made = client.post(
        "/v1/datasets", json={"name": "birds", "labels": ["a", "b", "c"], "problem_type": "multi_label_classification"}
    ).json
    client.post(f"{made['links']['self']}/examples", **form("1.png", png(), label="a"))
    first = relabel(client, 1, labels=["c", "b"]).json
    assert [label["name"] for label in first["labels"]] == ["b", "c"]
    assert relabel(client, first["id"], labels=[]).json["labels"] == []
    assert [label["examples"] for label in client.get(made["links"]["self"]).json["labels"]] == [0, 0, 0]


def test_a_label_that_cannot_be_given_is_refused(client: FlaskClient, container: Container) -> None:
    new_dataset(client, teal=2, mallard=2)
    for wanted, status, code in (
        ({}, 400, "bad_option"), ({"label": "teal", "labels": ["teal"]}, 400, "bad_option"),
        ({"label": "goose"}, 400, "bad_option"), ({"labels": ["teal", "mallard"]}, 400, "bad_option"),
    ):  # fmt: skip
        complaint(relabel(client, 1, **wanted), status, code)
    complaint(relabel(client, 99, label="teal"), 404, "not_found")
    complaint(client.delete("/v1/datasets/birds/suspects/99"), 404, "not_found")
    assert client.get("/v1/datasets/birds/examples/1").json["label"]["name"] == "teal"


def test_only_the_tenant_with_the_scope_decides(client: FlaskClient, container: Container) -> None:
    made = new_dataset(client, teal=2, mallard=2)
    doubt(client, container, (1, "teal", "mallard"))
    headers = keys(client, default=["infer"], bert=["infer", "models"])
    path = f"/v1/datasets/{made['id']}"
    calls = (("DELETE", f"{path}/suspects/1"), ("POST", f"{path}/examples/1/labels"))
    assert len(client.get(f"{path}/suspects", headers=headers["default"]).json["suspects"]) == 1
    complaint(client.get(f"{path}/suspects", headers=headers["bert"]), 404, "not_found")
    for method, call in calls:
        for tenant, status, code in (("default", 403, "forbidden"), ("bert", 404, "not_found")):
            complaint(
                client.open(call, method=method, json={"label": "mallard"}, headers=headers[tenant]), status, code
            )
