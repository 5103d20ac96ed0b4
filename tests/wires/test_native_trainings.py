"""Trainings, versions, comparisons and promotions on the native wire; the tests take the trainer's part."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import uuid6
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.container import Container
from shared.domain.models import ModelVersion
from shared.domain.trainings import Training, TrainingParameters, plot_key
from shared.services import models, training_runs, trainings
from tests.wires.described import described_client
from tests.wires.training_requests import archive, complaint, form, keys, new_dataset, png

BIRDS: dict[str, Any] = {"teal": 3, "mallard": 3}
EPOCH = {"stage": "head", "epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": None,
         "validation_accuracy": None}  # fmt: skip
EVIDENCE = {"accuracy": 0.75, "method": "head", "confusion": [[1, 0], [1, 2]], "note": "A linear head.",
            "curve": [EPOCH]}  # fmt: skip
SIDE = {"version": "1", "accuracy": 0.5, "macro_f1": 0.5, "per_label": [], "milliseconds": 1.0}
REPORT = {"pictures": 2, "left_out": 1, "agreement": 0.5, "candidate": SIDE, "baseline": SIDE}


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return described_client(container)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_connection(container: Container) -> Iterator[None]:
    yield
    container.waiters.close()


def submit(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/v1/trainings", json={"dataset": "birds", "name": "birds"} | fields)


def begin(container: Container, answer: TestResponse) -> Training:
    """Begin a training, as a trainer does."""
    return training_runs.begin(container, trainings.get(container, "default", answer.json["id"]))


def finish(container: Container, training: Training, report: dict[str, Any] | None = None) -> ModelVersion:
    """Finish a training with a version like `digits`, as a trainer does."""
    digits = models.get_version(container, training.tenant, "digits")
    about: dict[str, Any] = {
        "id": str(uuid6.uuid7()),
        "tenant": training.tenant,
        "name": training.name,
        "training_id": training.id,
    }
    container.storage.write(plot_key(training.id, "confusion.svg"), b"<svg/>")
    return training_runs.finish(
        container, training, replace(digits, **about, labels=("teal", "mallard")), EVIDENCE, report
    )


def trained(client: FlaskClient, container: Container, report: dict[str, Any] | None = None) -> ModelVersion:
    """Train one more version of `birds`."""
    return finish(container, begin(container, submit(client)), report)


# submitting


def test_a_training_is_stored_and_waits_for_its_turn(client: FlaskClient, container: Container) -> None:
    dataset = new_dataset(client, **BIRDS)
    answer = submit(client)
    assert answer.status_code == 202
    assert answer.headers["Location"] == answer.json["links"]["self"] == f"/v1/trainings/{answer.json['id']}"
    assert answer.headers["Retry-After"]
    training = answer.json
    assert (training["status"], training["terminal"]) == ("QUEUED", False)
    assert (training["position"], training["progress"]) == (1, 0.0)
    assert (training["name"], training["base"]) == ("birds", "scratch")
    assert training["dataset"] == {"id": dataset["id"], "version": 1}
    assert training["parameters"] == vars(TrainingParameters())
    assert (training["model"], training["evidence"], training["error"]) == (None, None, None)
    assert training["links"]["plots"] == {}

    assert submit(client, name="fowl", dataset=dataset["id"]).json["position"] == 2
    listed = client.get("/v1/trainings").json["trainings"]
    assert [(training["name"], training["position"], "evidence" in training) for training in listed] == [
        ("fowl", 2, False), ("birds", 1, False)
    ]  # fmt: skip


def test_what_is_asked_for_is_shown_but_for_the_secret(container: Container) -> None:
    client = described_client(replace(container, settings=container.settings.changed(webhook_private=True)))
    new_dataset(client, **BIRDS)
    parameters = {"epochs": 7.0, "learning_rate": 0.5, "with_feedback": False, "fine_tune": "never", "max_seconds": 60,
                  "reject_below_precision": 0.95, "unknown_label": "unknown"}  # fmt: skip
    answer = submit(client, base="digits", base_version="1", parameters=parameters | {"seed": None},
                    webhook="http://127.0.0.1:9/", webhook_secret="hush", metadata={"of": "mine"})  # fmt: skip
    assert (answer.status_code, answer.json["base"], answer.json["metadata"]) == (202, "digits 1", {"of": "mine"})
    assert answer.json["parameters"] == vars(TrainingParameters()) | parameters
    assert "hush" not in answer.text
    kept = trainings.get(container, "default", answer.json["id"])
    assert (kept.webhook, kept.webhook_secret) == ("http://127.0.0.1:9/", "hush")


BAD_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "epochs"),
    ({"epochs": 10_001}, "epochs"),
    ({"epochs": "ten"}, "epochs"),
    ({"epochs": 1.5}, "epochs"),
    ({"epochs": True}, "epochs"),
    ({"batch_size": [1]}, "batch_size"),
    ({"learning_rate": 0}, "learning_rate"),
    ({"learning_rate": 1}, "learning_rate"),
    ({"learning_rate": 10**400}, "learning_rate"),
    ({"train_split_ratio": 1}, "train_split_ratio"),
    ({"seed": 10**400}, "seed"),
    ({"seed": -1}, "seed"),
    ({"with_feedback": "perhaps"}, "with_feedback"),
    ({"flip": 2}, "flip"),
    ({"fine_tune": True}, "fine_tune"),
    ({"fine_tune": "maybe"}, "fine_tune"),
    ({"max_seconds": float("nan")}, "NaN"),
    ({"max_seconds": float("inf")}, "infinite"),
    ({"reject_below_precision": 0.2}, "reject_below_precision"),
    ({"reject_below_precision": "high"}, "reject_below_precision"),
    ({"unknown_label": "unknown"}, "unknown_label"),
    ({"epocs": 5}, "did you mean epochs?"),
]


def test_a_bad_parameter_is_refused_by_name(client: FlaskClient) -> None:
    new_dataset(client, **BIRDS)
    for parameters, says in BAD_PARAMETERS:
        body = json.dumps({"dataset": "birds", "name": "birds", "parameters": parameters})
        answer = client.post("/v1/trainings", data=body, content_type="application/json")
        assert says in complaint(answer, 400, "bad_option"), parameters
    assert client.get("/v1/trainings").json["trainings"] == []


BAD_REQUESTS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"dataset": ""}, 400, "bad_option", "dataset"),
    ({"dataset": ["birds"]}, 400, "bad_option", "dataset"),
    ({"dataset": "geese"}, 404, "not_found", "birds"),
    ({"dataset": 5}, 404, "not_found", "birds"),
    ({"name": ""}, 400, "bad_option", "name"),
    ({"name": "two words"}, 400, "bad_option", "name"),
    ({"name": "x" * 101}, 400, "bad_option", "name"),
    ({"base": "vit"}, 404, "not_found", "digits"),
    ({"base": "digits", "base_version": "9"}, 404, "not_found", "9"),
    ({"base_version": "1"}, 400, "bad_option", "as base"),
    ({"base": "scratch", "base_version": "1"}, 400, "bad_option", "as base"),
    ({"base": "resnet50"}, 409, "model_not_ready", "resnet50"),
    ({"parameters": [1]}, 400, "bad_option", "parameters"),
    ({"metadata": "mine"}, 400, "bad_option", "metadata"),
    ({"webhook": "http://127.0.0.1/"}, 400, "bad_option", "webhook"),
    ({"webhook": "nonsense"}, 400, "bad_option", "webhook"),
    ({"webhook_secret": "hush"}, 400, "bad_option", "webhook"),
    ({"dataset": "one label"}, 400, "bad_dataset", "labels"),
    ({"dataset": "one picture"}, 400, "bad_dataset", "'mallard'"),
    ({"dataset": "x"}, 409, "conflict", "loaded"),
]


def test_a_training_that_can_come_to_nothing_is_refused(client: FlaskClient) -> None:
    new_dataset(client, **BIRDS)
    new_dataset(client, "one label", teal=4)
    new_dataset(client, "one picture", teal=2, mallard=1)
    client.post("/v1/datasets", **form("x.zip", archive(teal=2, mallard=2)))
    for fields, status, code, says in BAD_REQUESTS:
        assert says in complaint(submit(client, **fields), status, code), fields
    assert client.get("/v1/trainings").json["trainings"] == []


def test_an_idempotency_key_that_would_not_be_heeded_is_refused(client: FlaskClient) -> None:
    new_dataset(client, **BIRDS)
    fields = {"dataset": "birds", "name": "birds"}
    answer = client.post("/v1/trainings", json=fields, headers={"Idempotency-Key": "1"})
    assert "jobs only" in complaint(answer, 400, "bad_option")
    assert client.get("/v1/trainings").json["trainings"] == []


def test_a_name_is_trained_once_at_a_time(client: FlaskClient) -> None:
    new_dataset(client, **BIRDS)
    first = submit(client).json["id"]
    assert first in complaint(submit(client), 409, "conflict")


def test_a_dataset_that_is_trained_on_is_sealed_and_stays(client: FlaskClient) -> None:
    path = new_dataset(client, **BIRDS)["links"]["self"]
    training = submit(client).json["id"]
    assert training in complaint(client.delete(path), 409, "conflict")
    client.post(f"{path}/examples", **form("new.png", png(99), label="teal"))
    assert client.get(path).json["version"] == 2
    assert client.get(f"/v1/trainings/{training}").json["dataset"]["version"] == 1


# progress and waiting


def test_a_waiting_request_is_answered_at_the_end(client: FlaskClient, container: Container) -> None:
    patient = described_client(replace(container, settings=container.settings.changed(max_wait=30.0)))
    new_dataset(client, **BIRDS)
    answer = client.post("/v1/trainings", json={"dataset": "birds", "name": "birds"}, headers={"Prefer": "wait=0.1"})
    assert (answer.status_code, answer.json["status"]) == (202, "QUEUED")
    ending = threading.Timer(0.1, lambda: finish(container, begin(container, answer)))
    ending.start()
    ended = patient.get(answer.headers["Location"], headers={"Prefer": "wait=30"})
    ending.join()
    assert (ended.status_code, ended.json["status"]) == (200, "DONE")
    assert "Retry-After" not in ended.headers


def test_events_follow_a_training_to_its_end(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    training = submit(client)
    answer = client.get(training.json["links"]["events"], buffered=False)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    received = _events(chunk.decode() for chunk in answer.iter_encoded())

    kind, seen = next(received)
    assert (kind, seen["status"], seen["position"]) == ("status", "QUEUED", 1)
    begun = begin(container, training)
    kind, seen = next(received)
    assert (kind, seen["status"]) == ("status", "RUNNING")
    training_runs.report_progress(container, begun.id, 0.5, "epoch 1", [EPOCH])
    kind, seen = next(received)
    assert (kind, seen["progress"], seen["message"], seen["curve"]) == ("progress", 0.5, "epoch 1", [EPOCH])
    finish(container, begun)
    assert [(kind, seen["status"]) for kind, seen in received] == [("status", "DONE"), ("done", "DONE")]
    answer.close()


def _events(chunks: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for chunk in chunks:
        for block in chunk.strip().split("\n\n"):
            if block.startswith("event: "):
                kind, data = block.split("\n", 1)
                yield kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_an_unchanged_training_is_304_and_a_changed_one_is_not(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    training = submit(client)
    path = training.headers["Location"]
    mark = {"If-None-Match": client.get(path).headers["ETag"]}
    assert client.get(path, headers=mark).status_code == 304
    training_runs.report_progress(container, begin(container, training).id, 0.1, "features", None)
    assert client.get(path, headers=mark).json["message"] == "features"


def test_a_cancelled_training_stays_cancelled_and_an_ended_one_ended(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    path = submit(client).headers["Location"]
    for _ in range(2):
        answer = client.delete(path)
        assert (answer.status_code, answer.json["status"], answer.json["terminal"]) == (200, "CANCELLED", True)
    done = trained(client, container).training_id
    assert "DONE" in complaint(client.delete(f"/v1/trainings/{done}"), 409, "conflict")


def test_a_training_that_failed_says_why(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    training = submit(client)
    training_runs.fail(container, begin(container, training).id, "out_of_memory", "The batches are too large.")
    shown = client.get(training.headers["Location"]).json
    assert (shown["status"], shown["error_code"], shown["error"]) == (
        "FAILED", "out_of_memory", "The batches are too large."
    )  # fmt: skip
    assert (shown["model"], shown["evidence"]) == (None, None)


def test_the_list_can_be_narrowed_and_comes_in_pages(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    for name in ("a", "b", "c"):
        submit(client, name=name)
    client.delete(submit(client, name="d").headers["Location"])

    def listed(query: str) -> list[str]:
        return [training["name"] for training in client.get(f"/v1/trainings?{query}").json["trainings"]]

    first = client.get("/v1/trainings?limit=3").json
    assert [training["name"] for training in first["trainings"]] == ["d", "c", "b"]
    assert listed(f"cursor={first['next']}") == ["a"]
    assert listed("status=cancelled") == ["d"]
    assert listed("name=b") == ["b"]
    assert listed("dataset=birds&limit=1") == ["d"]
    for bad in ("status=happy", "limit=0"):
        complaint(client.get(f"/v1/trainings?{bad}"), 400, "bad_option")
    complaint(client.get("/v1/trainings?dataset=geese"), 404, "not_found")


# versions and evidence


def test_a_done_training_has_a_version_evidence_and_plots(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    version = trained(client, container)
    training = client.get(f"/v1/trainings/{version.training_id}").json
    assert (training["status"], training["progress"]) == ("DONE", 1.0)
    assert training["model"] == {"name": "birds", "version": "1"}
    assert training["evidence"].items() >= EVIDENCE.items()

    (listed,) = client.get("/v1/models/birds/versions").json["versions"]
    assert (listed["training"], listed["accuracy"], listed["method"]) == (version.training_id, 0.75, "head")
    assert (listed["requires_deployment"], listed["canary"], "evidence" in listed) == (False, 0.0, False)
    assert client.get("/v1/models/birds").json["versions"] == [listed]

    whole = client.get("/v1/models/birds/versions/1").json
    assert whole["evidence"].items() >= EVIDENCE.items()
    assert whole["label_names"] == ["teal", "mallard"]
    assert whole["links"]["training"] == f"/v1/trainings/{version.training_id}"
    assert whole["links"]["plots"] == training["links"]["plots"]

    plot = client.get(training["links"]["plots"]["confusion"])
    assert (plot.data, plot.mimetype) == (b"<svg/>", "image/svg+xml")
    assert "default-src 'none'" in plot.headers["Content-Security-Policy"]
    assert plot.headers["X-Content-Type-Options"] == "nosniff"
    mark = {"If-None-Match": plot.headers["ETag"]}
    assert client.get(training["links"]["plots"]["confusion"], headers=mark).status_code == 304


def test_a_version_that_was_brought_has_no_evidence(client: FlaskClient) -> None:
    (listed,) = client.get("/v1/models/digits/versions").json["versions"]
    assert (listed["training"], listed["accuracy"], listed["method"]) == (None, None, None)
    assert client.get("/v1/models/digits/versions/1").json["evidence"] is None
    complaint(client.get("/v1/models/none/versions"), 404, "not_found")


def test_a_plot_that_is_none_is_404(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    path = submit(client).headers["Location"]
    for plot, says in (("confusion.svg", "QUEUED"), ("roc.svg", "reliability"), ("curve.gif", "png"),
                       ("..%2f..%2fx.svg", ""), ("curve", "")):  # fmt: skip
        assert says in complaint(client.get(f"{path}/plots/{plot}"), 404, "not_found")


def test_a_correction_goes_where_the_model_was_trained(client: FlaskClient, container: Container) -> None:
    path = new_dataset(client, **BIRDS)["links"]["self"]
    trained(client, container)
    picture = {"files": (io.BytesIO(png(70)), "a.png"), "model": "birds"}
    job = client.post("/v1/jobs", data=picture, content_type="multipart/form-data").json["_id"]
    answer = client.post(f"/v1/jobs/{job}/feedback", json={"label": "teal"})
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{path}/examples/7")
    again = client.post(f"/v1/jobs/{job}/feedback", json={"label": "teal"})
    assert "example 7" in complaint(again, 409, "conflict")


# which version answers


def test_two_versions_are_compared_and_the_report_is_kept(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    trained(client, container), trained(client, container)
    answer = client.post("/v1/models/birds/compare", json={"version": "2"}, headers={"Prefer": "wait=0.1"})
    assert (answer.status_code, answer.json["status"], answer.json["report"]) == (202, "QUEUED", None)
    assert (answer.json["candidate"], answer.json["baseline"]) == ("2", "1")
    with container.database.write() as uow:
        uow.comparisons.end(answer.json["id"], container.now(), report=REPORT)
    comparison = client.get(answer.headers["Location"], headers={"Prefer": "wait=30"}).json
    assert (comparison["status"], comparison["terminal"], comparison["report"]) == ("DONE", True, REPORT)
    assert client.get("/v1/models/birds/comparisons").json == {"comparisons": [comparison]}


def test_a_comparison_that_failed_says_why(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    trained(client, container), trained(client, container)
    answer = client.post("/v1/models/birds/compare", json={"version": 2, "baseline": "1", "dataset": "birds"})
    with container.database.write() as uow:
        uow.comparisons.end(answer.json["id"], container.now(), error="There is no test picture.")
    comparison = client.get(answer.headers["Location"]).json
    assert (comparison["status"], comparison["report"]) == ("FAILED", None)
    assert comparison["error"] == "There is no test picture."


def test_a_version_is_promoted_after_it_was_compared_and_taken_back(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    trained(client, container), trained(client, container)
    refused = client.post("/v1/models/birds/promote", json={"version": "2"})
    assert "compare" in complaint(refused, 409, "conflict")
    complaint(client.post("/v1/models/birds/rollback"), 409, "conflict")

    trained(client, container, REPORT)
    answer = client.post("/v1/models/birds/promote", json={"version": "3"})
    assert (answer.status_code, answer.json["version"], answer.json["accuracy"]) == (200, "3", 0.75)
    promoted, listed = client.get("/v1/models/birds").json, client.get("/v1/models").json["models"]
    assert (promoted["default_version"], promoted["rollback_to"]) == ("3", "1")
    assert {model["name"]: model["rollback_to"] for model in listed}["birds"] == "1"
    assert client.post("/v1/models/birds/rollback").json["version"] == "1"
    back = client.get("/v1/models/birds").json
    assert (back["default_version"], back["rollback_to"]) == ("1", "")
    complaint(client.post("/v1/models/birds/rollback"), 409, "conflict")


def test_a_canary_gets_its_share_and_gives_it_back(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    trained(client, container)
    canary = trained(client, container)
    complaint(client.get("/v1/models/birds/canary"), 404, "not_found")
    answer = client.put("/v1/models/birds/canary", json={"version": "2", "share": 0.25})
    assert (answer.json["version"], answer.json["share"], answer.json["agreement"]) == ("2", 0.25, None)
    assert client.get("/v1/models/birds/versions/2").json["canary"] == 0.25
    with container.database.write() as uow:
        uow.promotions.count(canary.id, 4, 3)
    counted = client.get("/v1/models/birds/canary").json
    assert (counted["compared"], counted["agreed"], counted["agreement"]) == (4, 3, 0.75)
    assert client.delete("/v1/models/birds/canary").status_code == 204
    complaint(client.delete("/v1/models/birds/canary"), 404, "not_found")


BAD_CHOICES: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "birds/compare", {}, 400, "bad_option"),
    ("POST", "birds/compare", {"version": "9"}, 404, "not_found"),
    ("POST", "birds/compare", {"version": "1"}, 400, "bad_option"),
    ("POST", "birds/compare", {"version": "2", "baseline": "9"}, 404, "not_found"),
    ("POST", "birds/compare", {"version": "2", "dataset": "geese"}, 404, "not_found"),
    ("POST", "geese/compare", {"version": "2"}, 404, "not_found"),
    ("POST", "digits/compare", {"version": "1"}, 403, "forbidden"),
    ("GET", "geese/comparisons", {}, 404, "not_found"),
    ("POST", "birds/promote", {}, 400, "bad_option"),
    ("POST", "birds/promote", {"version": {"a": 1}}, 400, "bad_option"),
    ("POST", "birds/promote", {"version": "9"}, 404, "not_found"),
    ("POST", "birds/promote", {"version": "1"}, 409, "conflict"),
    ("POST", "geese/promote", {"version": "1"}, 404, "not_found"),
    ("POST", "digits/promote", {"version": "1"}, 403, "forbidden"),
    ("POST", "geese/rollback", {}, 404, "not_found"),
    ("POST", "digits/rollback", {}, 403, "forbidden"),
    ("PUT", "birds/canary", {"share": 0.5}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "2"}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "2", "share": 0}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "2", "share": 1.1}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "2", "share": True}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "2", "share": "half"}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "2", "share": float("nan")}, 400, "bad_option"),
    ("PUT", "birds/canary", {"version": "1", "share": 0.5}, 409, "conflict"),
    ("PUT", "geese/canary", {"version": "1", "share": 0.5}, 404, "not_found"),
]


def test_a_choice_that_cannot_be_made_is_refused(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    trained(client, container), trained(client, container)
    for method, path, body, status, code in BAD_CHOICES:
        answer = client.open(f"/v1/models/{path}", method=method, json=body)
        complaint(answer, status, code)
    assert client.get("/v1/models/birds/comparisons").json == {"comparisons": []}
    complaint(client.get("/v1/comparisons/none"), 404, "not_found")


# tenants and scopes


def test_one_tenant_never_sees_anothers_trainings(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    trained(client, container), trained(client, container)
    training = submit(client).json["id"]
    comparison = client.post("/v1/models/birds/compare", json={"version": "2"}).json["id"]
    anna = keys(client, anna=["infer", "models"])["anna"]
    for method, path, hidden in (
        ("GET", f"/v1/trainings/{training}", training),
        ("DELETE", f"/v1/trainings/{training}", training),
        ("GET", f"/v1/trainings/{training}/events", training),
        ("GET", f"/v1/trainings/{training}/plots/curve.svg", training),
        ("GET", f"/v1/comparisons/{comparison}", comparison),
    ):
        same = complaint(client.open(path, method=method, headers=anna), 404, "not_found")
        none = complaint(client.open(path.replace(hidden, "none"), method=method, headers=anna), 404, "not_found")
        assert same.replace(hidden, "none") == none
    for method, path in (
        ("GET", "versions"), ("GET", "comparisons"), ("POST", "compare"), ("POST", "promote"), ("POST", "rollback"),
        ("GET", "canary"), ("PUT", "canary"), ("DELETE", "canary"),
    ):  # fmt: skip
        body = {"version": "2"} | ({"share": 0.5} if method == "PUT" else {})
        complaint(client.open(f"/v1/models/birds/{path}", method=method, json=body, headers=anna), 404, "not_found")
    assert client.get("/v1/trainings", headers=anna).json["trainings"] == []
    taken = client.post("/v1/trainings", json={"dataset": "birds", "name": "birds"}, headers=anna)
    complaint(taken, 404, "not_found")


def test_a_key_that_may_only_infer_reads_and_changes_nothing(client: FlaskClient, container: Container) -> None:
    new_dataset(client, **BIRDS)
    done = trained(client, container).training_id
    headers = keys(client, default=["infer"])["default"]
    for path in ("/v1/trainings", f"/v1/trainings/{done}", "/v1/models/birds/versions", "/v1/models/birds/comparisons"):
        assert client.get(path, headers=headers).status_code == 200
    for method, path in (
        ("POST", "/v1/trainings"), ("DELETE", f"/v1/trainings/{done}"), ("POST", "/v1/models/birds/compare"),
        ("POST", "/v1/models/birds/promote"), ("POST", "/v1/models/birds/rollback"),
        ("PUT", "/v1/models/birds/canary"), ("DELETE", "/v1/models/birds/canary"),
    ):  # fmt: skip
        assert "models" in complaint(client.open(path, method=method, headers=headers), 403, "forbidden")
