"""Multi-label datasets over HTTP: created from tables and singly, corrected, trained on, refused where one label is.

Evidence is made by the trainer's own functions, and read on each wire.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient

from shared.container import Container
from shared.domain.models import ModelState, ModelVersion, ProblemType
from shared.services import dataset_import, dataset_import_runs, datasets, training_runs, trainings
from tests import digit_images
from tests.unit.archive_files import as_zip
from tests.wires import einstein
from tests.wires.described import described_client
from tests.wires.training_requests import complaint, form, png
from worker.training import multi_label_evidence
from worker.training.thresholds import Correction

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
TABLE = b"file,labels\n1.png,cat|dog\n2.png,cat\n3.png,\n4.png,dog\n5.png,cat\n6.png,dog\n"
PETS = as_zip([("labels.csv", TABLE), *((f"{number}.png", png(number)) for number in range(1, 7))])
SETS, TRAIN = "/v2/vision/datasets", "/v2/vision/train"


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return described_client(container)


def load(container: Container) -> None:
    """Load all waiting datasets, as a trainer does on a notification."""
    for waiting in dataset_import_runs.list_waiting(container, {}):
        dataset_import.load(container, waiting.id)


@pytest.fixture
def pets(client: FlaskClient, container: Container) -> dict[str, Any]:
    """A multi-label dataset from an archive with a table."""
    created = client.post("/v1/datasets", **form("pets.zip", PETS, name="pets"))
    assert (created.status_code, created.json["problem_type"]) == (202, None)
    load(container)
    return dict(client.get("/v1/datasets/pets").get_json())


def names(example: Any) -> list[str]:
    return [label["name"] for label in example["labels"]]


def test_an_archive_with_a_table_becomes_a_multi_label_dataset(client: FlaskClient, pets: dict[str, Any]) -> None:
    assert (pets["state"], pets["problem_type"], pets["examples"]) == ("READY", MULTI, 6)
    assert [(label["name"], label["examples"]) for label in pets["labels"]] == [("cat", 3), ("dog", 3)]
    examples = client.get("/v1/datasets/pets/examples").json["examples"]
    assert [names(example) for example in examples] == [["cat", "dog"], ["cat"], [], ["dog"], ["cat"], ["dog"]]
    assert [example["label"] for example in examples] == [None] * 6
    dogs = client.get("/v1/datasets/pets/examples?label=dog").json["examples"]
    assert [example["name"] for example in dogs] == ["1.png", "4.png", "6.png"]
    [listed] = client.get("/v1/datasets").json["datasets"]
    assert (listed["examples"], listed["problem_type"]) == (6, MULTI)


def test_the_type_can_be_asked_for_and_refuses_what_does_not_fit(client: FlaskClient, container: Container) -> None:
    asked = form("pets.zip", PETS, name="single", problem_type=SINGLE)
    assert client.post("/v1/datasets", **asked).json["problem_type"] == SINGLE
    load(container)
    failed = client.get("/v1/datasets/single").json
    assert (failed["state"], "'1.png' has 2 labels" in failed["message"]) == ("FAILED", True)
    empty = client.post("/v1/datasets", json={"name": "none", "labels": ["cat"], "problem_type": MULTI})
    assert (empty.status_code, empty.json["problem_type"]) == (201, MULTI)
    raw = client.post(f"/v1/datasets?name=raw&problem_type={MULTI}", data=as_zip([("cat/1.png", png(1))]))
    assert raw.json["problem_type"] == MULTI
    wrong = client.post("/v1/datasets", json={"name": "x", "problem_type": "several"})
    assert f"problem_type must be one of {SINGLE}, {MULTI}, not 'several'" in complaint(wrong, 400, "bad_option")


def test_single_pictures_are_added_with_any_number_of_labels(client: FlaskClient, pets: dict[str, Any]) -> None:
    path = pets["links"]["examples"]

    def add(number: int, *labels: str) -> Any:
        data = {"file": (io.BytesIO(png(number)), f"{number}.png"), "label": list(labels)}
        return client.post(path, data=data, content_type="multipart/form-data")

    both = add(20, "dog", "cat")
    assert (both.status_code, names(both.json), both.json["label"]) == (201, ["cat", "dog"], None)
    assert names(client.get(both.headers["Location"]).json) == ["cat", "dog"]
    assert names(add(21).json) == []
    assert "'cat | dog'" in complaint(add(20, "cat"), 409, "conflict")
    assert "no label 'cow'" in complaint(add(22, "cow"), 400, "bad_option")
    client.post("/v1/datasets", json={"name": "single", "labels": ["cat", "dog"]})
    path = "/v1/datasets/single/examples"
    assert "one label for each picture, not 2" in complaint(add(1, "cat", "dog"), 400, "bad_option")
    assert "label is missing" in complaint(add(1), 400, "bad_option")
    assert "may have 100 labels, not 101" in complaint(add(23, *["cat"] * 101), 400, "bad_option")


def test_a_correction_names_all_labels_of_the_picture(client: FlaskClient, pets: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", data=png(40)).json["_id"]
    for labels, expected in ((["dog", "cat"], ["cat", "dog"]), ([], [])):
        answer = client.post(f"/v1/jobs/{job}/feedback", json={"labels": labels, "dataset": "pets"})
        assert (answer.status_code, names(answer.json)) == (201, expected)
    one = client.post(f"/v1/jobs/{job}/feedback", json={"label": "cat", "dataset": "pets"})
    assert names(one.json) == ["cat"]
    for wrong in ({}, {"label": "cat", "labels": ["dog"]}):
        answer = client.post(f"/v1/jobs/{job}/feedback", json={"dataset": "pets"} | wrong)
        assert "either the label" in complaint(answer, 400, "bad_option")


def test_copies_with_other_labels_contradict_each_other(client: FlaskClient, container: Container) -> None:
    three = digit_images.pictures(3)[0]
    table = b"file,labels\n1.png,cat|dog\n2.png,cat\n3.png,\n"
    files = [("labels.csv", table), ("1.png", three), ("2.png", three + b"?"), ("3.png", digit_images.pictures(5)[1])]
    client.post("/v1/datasets", **form("pets.zip", as_zip(files), name="pets"))
    load(container)
    [group] = client.get("/v1/datasets/pets/duplicates").json["groups"]
    assert group["labels"] == ["cat", "cat | dog"]


def finish(container: Container) -> ModelVersion:
    """End the waiting training as a trainer does, with evidence of made-up logits."""
    [waiting] = training_runs.list_waiting(container)
    begun = training_runs.begin(container, waiting)
    test = training_runs.get_splits(container, begun).test
    shown = torch.tensor([[float(label in example.labels) for label in ("cat", "dog")] for example in test])
    logits = 4 * shown - 2
    logits[0, 1] *= -1
    correction = Correction(torch.zeros(2), 1.0)
    measured = multi_label_evidence.evidence(logits, shown, ("cat", "dog"), test, correction, (0.5, 0.25))
    epoch = {"stage": "head", "epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9, "validation_loss": 0.6,
             "validation_accuracy": 0.8}  # fmt: skip
    measured |= {
        "method": "head", "curve": [epoch, epoch | {"epoch": 2}], "stopped": "early", "train_loss": 0.5,
        "train_accuracy": 0.9, "examples": {"training": 4, "validation": 0, "test": len(test)},
        "seconds": {"head": 1.0, "total": 2.0}, "cross_validation": None, "rejection": None, "suspects": [],
        "suspects_in_all": 0,
    }  # fmt: skip
    version = ModelVersion(
        begun.id, begun.tenant, begun.name, "", "digits", "digits", ModelState.READY, container.now(),
        labels=("cat", "dog"), training_id=begun.id, problem_type=ProblemType.MULTI_LABEL, thresholds=(0.5, 0.25),
    )  # fmt: skip
    return training_runs.finish(container, begun, version, measured)


def test_a_training_shows_its_evidence(client: FlaskClient, container: Container, pets: dict[str, Any]) -> None:
    started = client.post("/v1/trainings", json={"dataset": "pets", "name": "pets", "base": "digits"})
    assert started.status_code == 202, started.text
    finish(container)
    found = client.get(f"/v1/trainings/{started.json['id']}").json["evidence"]
    assert found["problem_type"] == MULTI
    assert [row["threshold"] for row in found["per_label"]] == [0.5, 0.25]
    [listed] = client.get("/v1/trainings").json["trainings"]
    assert listed["mean_average_precision"] == found["mean_average_precision"] is not None
    details = client.get("/v1/models/pets/versions/1").json
    assert (details["problem_type"], details["thresholds"]) == (MULTI, [0.5, 0.25])
    refused = client.post(
        "/v1/trainings",
        json={"dataset": "pets", "name": "cautious", "base": "digits", "parameters": {"reject_below_precision": 0.9}},
    )
    assert "rejection rule is for single-label" in complaint(refused, 400, "bad_dataset")


def test_einstein_has_a_type_for_it(client: FlaskClient, container: Container) -> None:
    kind = "image-multi-label"
    made = einstein.post(client, SETS, name="pets", labels="cat,dog", type=kind)
    body = einstein.fine(made, "EinsteinDataset")
    assert body["type"] == kind
    where = f"{SETS}/{body['id']}/examples"
    both = einstein.fine(einstein.post(client, where, name="1.png", labelId=["1", "2"], data=png(1)), "EinsteinExample")
    assert [label["name"] for label in both["labels"]] == ["cat", "dog"]
    assert "label" not in both
    for number, labels in ((2, ["1"]), (3, ["2"]), (4, []), (5, ["1"]), (6, ["2"])):
        einstein.fine(
            einstein.post(client, where, name=f"{number}.png", labelId=labels, data=png(number)), "EinsteinExample"
        )
    shown = einstein.fine(client.get(f"{SETS}/{body['id']}"), "EinsteinDataset")
    assert (shown["totalExamples"], [label["numExamples"] for label in shown["labelSummary"]["labels"]]) == (6, [3, 3])
    many = einstein.post(client, where, name="7.png", labelId=["1"] * 101, data=png(7))
    assert (many.status_code, "may have 100 labels, not 101" in many.json["message"]) == (400, True)
    listed = einstein.listed(client.get(where), "EinsteinExample")
    assert [len(example["labels"]) for example in listed] == [2, 1, 1, 0, 1, 1]

    begun = einstein.fine(einstein.post(client, TRAIN, name="pets", datasetId=str(body["id"])), "EinsteinTraining")
    assert begun["modelType"] == kind
    finish(container)
    model = begun["modelId"]
    measured = einstein.fine(client.get(f"/v2/vision/models/{model}"), "EinsteinMetrics")["metricsData"]
    ended = trainings.find_last(container, "default", model)
    evidence = dict((ended.evidence if ended else None) or {})
    assert measured["labels"] == ["cat", "dog"]
    assert "confusionMatrix" not in measured
    for matrix, row in zip(measured["confusionMatrices"], evidence["per_label"], strict=True):
        assert matrix == [
            [row["true_negatives"], row["false_positives"]],
            [row["false_negatives"], row["true_positives"]],
        ]
    first, last = einstein.listed(client.get(f"/v2/vision/models/{model}/lc"), "EinsteinEpoch")
    assert first["metricsData"]["confusionMatrices"] == []
    expected = {each.name: ", ".join(each.labels) for each in datasets.list_examples(
        container, datasets.get(container, "default", body["id"]), limit=9)}  # fmt: skip
    assert [result["expectedLabel"] for result in last["epochResults"]] == [
        expected[result["exampleName"]] for result in last["epochResults"]
    ]
    corrected = einstein.post(client, "/v2/vision/feedback", modelId=model, expectedLabel=["cat", "dog"], data=png(9))
    assert [label["name"] for label in einstein.fine(corrected, "EinsteinExample")["labels"]] == ["cat", "dog"]


def test_sap_trains_on_one_label_for_each_picture_only(client: FlaskClient, pets: dict[str, Any]) -> None:
    answer = client.post("/api/v2/image/retraining/jobs", json={"dataset": "pets", "modelName": "pets"})
    assert answer.status_code == 400
    assert "a retraining job needs exactly one" in answer.text
