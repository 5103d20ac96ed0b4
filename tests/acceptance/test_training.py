"""Your own categories, end to end: real processes, real pictures, a trainer killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn import metrics

from tests import digit_images, stacks
from tests.stacks import Stack

LEARNT = {3: 25, 5: 25, 8: 25}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a trainer and a dataset `numbers`; leases are short, so a killed trainer is replaced soon."""
    data = tmp_path_factory.mktemp("taught") / "data"
    with stacks.running(data, "--workers", "1", trainer=True, INFERQ_LEASE="2") as running:
        dataset = post(running, "/v1/datasets", files={"file": archive()}, data={"name": "numbers"}, wait=60)
        assert (dataset["state"], dataset["examples"]) == ("READY", 75), dataset
        yield running


def archive() -> tuple[str, bytes]:
    return "numbers.tgz", digit_images.archive(digit_images.files(LEARNT))


def post(stack: Stack, path: str, wait: float = 0, **body: Any) -> dict[str, Any]:
    answer = httpx.post(stack.url + path, headers={"Prefer": f"wait={wait:g}"} if wait else {}, timeout=90, **body)
    assert answer.is_success, answer.text
    return dict(answer.json())


def trained(stack: Stack, training_id: str, seconds: float = 90) -> dict[str, Any]:
    """Return the training when it has ended."""
    training: dict[str, Any] = {}

    def ended() -> bool:
        training.update(stack.get(f"/v1/trainings/{training_id}", Prefer="wait=2"))
        return bool(training["terminal"])

    stacks.until(ended, seconds, lambda: str(training))
    return training


def held_back(digit: int) -> tuple[str, bytes]:
    return "held-back.png", digit_images.pictures(digit)[150]


def classified(stack: Stack, model: str, digit: int) -> str:
    job = post(stack, "/v1/classify", files={"files": held_back(digit)}, data={"model": model})
    return str(job["predictions"][0]["results"][0]["label"])


def test_an_archive_is_trained_on_and_the_result_classifies_what_was_held_back(taught: Stack) -> None:
    request = {"dataset": "numbers", "name": "mine", "base": "digits"}
    training = post(taught, "/v1/trainings", json=request)
    assert training["status"] in ("QUEUED", "RUNNING")

    ended = trained(taught, training["id"])

    assert (ended["status"], ended["model"]) == ("DONE", {"name": "mine", "version": "1"})
    assert ended["evidence"]["accuracy"] >= 0.9
    assert [classified(taught, "mine", digit) for digit in LEARNT] == ["three", "five", "eight"]
    for kind in ("svg", "png"):
        assert httpx.get(f"{taught.url}/v1/trainings/{training['id']}/plots/confusion.{kind}").status_code == 200


@pytest.mark.long
def test_a_second_version_is_compared_promoted_and_rolled_back(taught: Stack) -> None:
    for number in ("1", "2"):
        request = {"dataset": "numbers", "name": "twice", "base": "digits", "parameters": {"epochs": 3}}
        assert trained(taught, post(taught, "/v1/trainings", json=request)["id"])["model"]["version"] == number

    (report,) = taught.get("/v1/models/twice/comparisons")["comparisons"]
    assert report["status"] == "DONE"
    promoted = httpx.post(f"{taught.url}/v1/models/twice/promote", json={"version": "2"}, timeout=30)
    assert promoted.status_code == 200, promoted.text
    job = post(taught, "/v1/classify", files={"files": held_back(3)}, data={"model": "twice"})
    assert job["model"] == {"name": "twice", "version": "2"}
    assert httpx.post(f"{taught.url}/v1/models/twice/rollback", timeout=30).status_code == 200
    job = post(taught, "/v1/classify", files={"files": held_back(3)}, data={"model": "twice"})
    assert job["model"] == {"name": "twice", "version": "1"}


@pytest.mark.long
def test_a_trainer_that_is_killed_is_replaced_and_the_training_goes_on(taught: Stack) -> None:
    parameters = {"epochs": 30, "max_unimproved_epochs": 100}
    request = {"dataset": "numbers", "name": "survivor", "base": "scratch", "parameters": parameters}
    training = post(taught, "/v1/trainings", json=request)
    path = f"/v1/trainings/{training['id']}"
    stacks.until(lambda: len(taught.get(path)["curve"]) >= 3, 60, taught.output)

    os.kill(taught.pids()["trainer"], signal.SIGKILL)

    before = taught.get(path)
    assert before["status"] == "RUNNING"
    ended = trained(taught, training["id"])
    assert ended["status"] == "DONE", ended
    assert [point["epoch"] for point in ended["curve"]] == list(range(1, 31))
    kept = before["curve"]
    assert ended["curve"][: len(kept)] == kept
    assert classified(taught, "survivor", 3) in ("three", "five", "eight")


@pytest.mark.long
def test_a_training_that_is_cancelled_leaves_nothing(taught: Stack) -> None:
    request = {"dataset": "numbers", "name": "unwanted", "base": "scratch", "parameters": {"epochs": 5000}}
    training = post(taught, "/v1/trainings", json=request)
    stacks.until(lambda: bool(taught.get(f"/v1/trainings/{training['id']}")["curve"]), 60, taught.output)

    cancelled = httpx.delete(f"{taught.url}/v1/trainings/{training['id']}", timeout=30)

    assert cancelled.json()["status"] == "CANCELLED"
    assert httpx.get(f"{taught.url}/v1/models/unwanted").status_code == 404
    request = {"dataset": "numbers", "name": "unwanted", "base": "digits", "parameters": {"epochs": 2}}
    assert trained(taught, post(taught, "/v1/trainings", json=request)["id"])["status"] == "DONE"  # the trainer is free


TRAITS = {"even": (0, 2, 4, 6, 8), "round": (0, 6, 8, 9), "prime": (2, 3, 5, 7)}
"""Label -> the digits that have it; a one has none."""


def test_pictures_with_several_labels_are_trained_on_and_measured_as_they_are_answered(taught: Stack) -> None:
    members, rows = {}, ["file,labels,split"]
    for digit in range(10):
        for number in range(12):
            name, split = f"{digit}-{number}.png", "test" if number < 3 else "training"
            members[f"pictures/{name}"] = digit_images.pictures(digit)[number]
            rows.append(f"{name},{'|'.join(label for label, digits in TRAITS.items() if digit in digits)},{split}")
    packed = digit_images.archive({**members, "labels.csv": "\n".join(rows).encode()})
    dataset = post(taught, "/v1/datasets", files={"file": ("traits.tgz", packed)}, data={"name": "traits"}, wait=60)
    assert (dataset["problem_type"], dataset["examples"]) == ("multi_label_classification", 120)
    request = {"dataset": "traits", "name": "traits", "base": "digits"}
    evidence = trained(taught, post(taught, "/v1/trainings", json=request)["id"])["evidence"]

    labels, test = evidence["labels"], [(digit, number) for digit in range(10) for number in range(3)]
    pictures = [("files", (f"{digit}-{number}.png", digit_images.pictures(digit)[number])) for digit, number in test]
    truths = np.array([[digit in TRAITS[label] for label in labels] for digit, _ in test])

    def answers(**options: str) -> list[dict[str, float]]:
        job = post(taught, "/v1/classify", files=pictures, data={"model": "traits", "top_k": "9", **options}, wait=60)
        return [{each["label"]: each["score"] for each in row["results"]} for row in job["predictions"]]

    everything = answers(function_to_apply="sigmoid")
    scores = np.array([[answer[label] for label in labels] for answer in everything])
    answered = np.array([[label in answer for label in labels] for answer in answers()])
    precisions = metrics.average_precision_score(truths, scores, average=None)
    assert evidence["mean_average_precision"] == pytest.approx(precisions.mean(), abs=1e-6)
    assert [row["average_precision"] for row in evidence["per_label"]] == pytest.approx(list(precisions), abs=1e-6)
    assert evidence["micro_f1"] == pytest.approx(metrics.f1_score(truths, answered, average="micro"))
    assert evidence["macro_f1"] == pytest.approx(metrics.f1_score(truths, answered, average="macro"))
    assert evidence["accuracy"] == pytest.approx(metrics.accuracy_score(truths, answered))
    assert evidence["mean_average_precision"] > 0.9


@pytest.mark.long
def test_the_sap_wire_trains_and_deploys(taught: Stack) -> None:
    wire = f"{taught.url}/api/v2/image/retraining"
    request = {"dataset": "numbers", "modelName": "sapling", "maxEpochs": 5, "batchSize": 64}
    job = httpx.post(f"{wire}/jobs", json=request, timeout=30).raise_for_status().json()

    def status() -> str:
        return str(httpx.get(f"{wire}/jobs/{job['id']}", timeout=30).json()["status"])

    stacks.until(lambda: status() in ("SUCCEEDED", "FAILED"), 90, status)
    assert status() == "SUCCEEDED"
    predict = f"{taught.url}/api/v2/image/classification/models/sapling/versions/1"
    picture = {"files": held_back(5)}
    assert httpx.post(predict, files=picture, timeout=60).status_code == 404
    deployed = httpx.post(f"{wire}/deployments", json={"modelName": "sapling", "modelVersion": "1"}, timeout=30)
    assert deployed.is_success, deployed.text
    answer = httpx.post(predict, files=picture, timeout=60)
    assert answer.status_code == 200, answer.text
