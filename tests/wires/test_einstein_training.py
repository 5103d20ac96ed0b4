"""Training on the Einstein Vision wire: trainings, retraining, models with their metrics, and their removal."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.dialects import einstein_vision
from shared import errors
from shared.container import Container
from shared.domain.datasets import Dataset
from shared.domain.models import ModelState, ModelVersion
from shared.domain.pictures import Picture
from shared.domain.trainings import Training, TrainingParameters, TrainingRequest
from shared.services import dataset_import, datasets, models, training_runs, trainings
from tests.unit.archive_files import as_zip
from tests.wires.einstein import TIME, fine, listed, picture, post, refused

PREFIXES = ("/v2", "/v1")
SETS, TRAIN, RETRAIN, MODELS, FEEDBACK = (
    f"/v2/vision/{call}" for call in ("datasets", "train", "retrain", "models", "feedback")
)
CURVE = [
    {"stage": stage, "epoch": epoch, "train_loss": 1.0 / number, "train_accuracy": 0.5 + number / 10,
     "validation_loss": None, "validation_accuracy": None if stage == "head" else 0.5}
    for number, (stage, epoch) in enumerate([("head", 1), ("head", 2), ("fine-tuning", 1)], 1)
]  # fmt: skip


def mug(shade: int, name: str = "mug.png") -> Picture:
    return Picture(name, picture(shade), "PNG", 12, 12)


@pytest.fixture
def mugs(container: Container) -> Dataset:
    """Four red mugs and four blue ones."""
    dataset = datasets.create(container, "default", "mugs", labels=["Red", "Blue"])
    for number in range(8):
        datasets.add_example(container, "default", dataset.id, [1 + number % 2], mug(number, f"{number}.png"))
    return datasets.get(container, "default", dataset.id)


@pytest.fixture
def model_id(client: FlaskClient, container: Container, mugs: Dataset) -> str:
    """The id of a model that was trained on the mugs."""
    begun = begin(client, mugs)
    finish(container, begun["modelId"])
    return str(begun["modelId"])


def begin(client: FlaskClient, dataset: Dataset, **sent: Any) -> dict[str, Any]:
    return fine(post(client, TRAIN, name="mugs v1", datasetId=str(dataset.id), **sent), "EinsteinTraining")


def status(client: FlaskClient, model_id: str) -> dict[str, Any]:
    return fine(client.get(f"{TRAIN}/{model_id}"), "EinsteinTraining")


def last(container: Container, model_id: str) -> Training:
    with container.database.read() as uow:
        training = uow.trainings.find_last_of("default", model_id)
    assert training is not None
    return training


def begun(container: Container, model_id: str) -> Training:
    """Begin the last training of a model, as a trainer does."""
    return training_runs.begin(container, last(container, model_id))


def evidence(container: Container, training: Training, accuracy: float = 0.75) -> dict[str, Any]:
    """Return evidence on the test examples of a training."""
    test = training_runs.get_splits(container, training).test
    return {
        "accuracy": accuracy,
        "labels": ["Red", "Blue"],
        "per_label": [{"label": "Red", "f1": 0.8}, {"label": "Blue", "f1": 0.7}],
        "confusion": [[1, 0], [1, 0]],
        "mistakes": [{"example": example.id, "name": example.name, "expected": example.label, "predicted": "Red",
                      "score": 0.6} for example in test if example.label == "Blue"],
        "tested": [[example.id, 0] for example in test],
        "curve": CURVE,
        "train_accuracy": 0.9,
        "train_loss": 0.2,
        "epochs": 3,
        "stopped": "early",
        "examples": {"training": 6, "validation": 0, "test": len(test)},
        "seconds": {"features": 1.5, "head": 60.25, "fine_tuning": 3540.0, "testing": 0.5, "total": 3605.0},
    }  # fmt: skip


def finish(container: Container, model_id: str, accuracy: float = 0.75) -> ModelVersion:
    """Let the last training of a model succeed."""
    training = begun(container, model_id)
    version = ModelVersion(
        training.id,
        "default",
        training.name,
        "",
        "digits",
        "digits",
        ModelState.READY,
        container.now(),
        labels=("Red", "Blue"),
        training_id=training.id,
    )
    return training_runs.finish(container, training, version, evidence(container, training, accuracy))


# -- beginning


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_training_is_queued_for_a_model_with_a_new_id(
    client: FlaskClient, container: Container, mugs: Dataset, prefix: str
) -> None:
    answer = post(client, f"{prefix}/vision/train", name="mugs v1 ", datasetId=f"{mugs.id}")
    body = fine(answer, "EinsteinTraining")
    for name in ("createdAt", "updatedAt"):
        assert re.fullmatch(TIME, body.pop(name))
    model_id = body["modelId"]
    assert re.fullmatch(r"[A-Z2-7]{26}", model_id)
    assert body == {
        "datasetId": mugs.id, "datasetVersionId": 0, "name": "mugs v1", "status": "QUEUED", "progress": 0,
        "learningRate": 0.0001, "epochs": 100, "queuePosition": 1, "object": "training", "modelId": model_id,
        "modelType": "image", "language": "N/A", "trainParams": None, "trainStats": None,
    }  # fmt: skip
    stored = last(container, model_id)
    assert (stored.wire, stored.parameters.train_split_ratio, stored.parameters.with_feedback) == (
        "einstein",
        0.9,
        False,
    )
    assert fine(client.get(f"{prefix}/vision/train/{model_id}"), "EinsteinTraining")["status"] == "QUEUED"


def test_how_to_train_is_taken_and_shown(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    params = {"trainSplitRatio": 0.7, "withFeedback": True, "somethingNew": [1, 2]}
    body = begin(client, mugs, epochs="7 ", learningRate=" 0.005", trainParams=json.dumps(params))
    assert (body["epochs"], body["learningRate"]) == (7, 0.005)
    assert body["trainParams"] == {"trainSplitRatio": 0.7, "withFeedback": True}
    wanted = TrainingParameters(epochs=7, learning_rate=0.005, train_split_ratio=0.7, with_feedback=True)
    assert last(container, body["modelId"]).parameters == wanted
    assert status(client, body["modelId"])["trainParams"] == body["trainParams"]


WRONG = [
    ({"name": ""}, "'name' parameter is required"),
    ({"name": "x" * 181}, "180"),
    ({"datasetId": ""}, "'datasetId' parameter is required"),
    ({"datasetId": "mugs"}, "datasetId must be a whole number"),
    ({"epochs": "0"}, "epochs must be from 1 to 1000"),
    ({"epochs": "1001"}, "epochs must be from 1 to 1000"),
    ({"epochs": "many"}, "epochs must be a whole number"),
    ({"learningRate": "0.00001"}, "learningRate must be from 0.0001 to 0.01"),
    ({"learningRate": "0.1"}, "learningRate must be from 0.0001 to 0.01"),
    ({"trainParams": "ratio=0.9"}, "trainParams must be a JSON object"),
    ({"trainParams": '{"trainSplitRatio": 1}'}, "trainSplitRatio must be from 0.1 to 0.95"),
    ({"trainParams": '{"trainSplitRatio": "most"}'}, "trainSplitRatio must be a number"),
    ({"trainParams": '{"withFeedback": "perhaps"}'}, "withFeedback must be true or false"),
    ({"trainParams": '{"withGlobalDatasetId": 7}'}, "no global datasets"),
    ({"algorithm": "object-detection"}, "algorithm"),
]


def test_what_cannot_be_meant_is_refused(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    for sent, reason in WRONG:
        assert reason in refused(post(client, TRAIN, **{"name": "mugs", "datasetId": str(mugs.id)} | sent))
    with container.database.read() as uow:
        assert uow.trainings.page("default") == []


def test_more_pictures_need_fewer_epochs(mugs: Dataset) -> None:
    from api.dialects.einstein_vision.training import _parameters
    from api.reading import Fields

    assert [_parameters(Fields({}), Fields({}), examples).epochs for examples in (0, 100, 400, 10**6)] == [
        100,
        100,
        50,
        20,
    ]


def test_a_dataset_that_is_not_there_cannot_be_trained_on(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    refused(post(client, TRAIN, name="mugs", datasetId="57"), 404)
    datasets.delete(container, "default", mugs.id)
    refused(post(client, TRAIN, name="mugs", datasetId=str(mugs.id)), 404)


def test_one_label_is_refused_at_once(client: FlaskClient, container: Container) -> None:
    for labels in ([], ["Red"]):
        dataset = datasets.create(container, "default", "mugs", labels=labels)
        assert "at least 2 labels" in refused(post(client, TRAIN, name="mugs", datasetId=str(dataset.id)))


def test_too_few_pictures_are_a_training_that_has_failed(client: FlaskClient, container: Container) -> None:
    dataset = datasets.create(container, "default", "mugs", labels=["Red", "Blue"])
    for number, label in enumerate((1, 1, 2)):
        datasets.add_example(container, "default", dataset.id, [label], mug(number))
    body = begin(client, dataset)
    assert body["status"] == "FAILED"
    assert "'Blue'" in body["failureMsg"]
    assert status(client, body["modelId"])["failureMsg"] == body["failureMsg"]
    assert "queuePosition" not in body


def test_a_dataset_that_is_still_loading_is_waited_for(client: FlaskClient, container: Container) -> None:
    archive = as_zip([(f"{label}/{number}.png", picture(number)) for number, label in enumerate("RRBB")])
    answer = post(client, f"{SETS}/upload", data=archive)
    dataset = datasets.get(container, "default", answer.get_json()["id"])
    body = begin(client, dataset)
    assert body["status"] == "QUEUED"
    dataset_import.load(container, dataset.id)
    finish(container, body["modelId"])
    assert status(client, body["modelId"])["status"] == "SUCCEEDED"


def test_a_dataset_is_trained_on_by_one_training_at_a_time(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    first = begin(client, mugs)["modelId"]
    for _ in range(2):
        assert first in refused(post(client, TRAIN, name="again", datasetId=str(mugs.id)))
        assert first in refused(post(client, RETRAIN, modelId=first))
        refused(client.delete(f"{SETS}/{mugs.id}"))
        refused(client.delete(f"{MODELS}/{first}"))
        if status(client, first)["status"] == "QUEUED":
            begun(container, first)
    training_runs.fail(container, last(container, first).id, "out_of_memory", "too large")
    assert begin(client, mugs)["status"] == "QUEUED"


def test_of_trainings_begun_at_once_on_a_dataset_one_passes(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    def once(_: int) -> int:
        return post(client.application.test_client(), TRAIN, name="mugs", datasetId=str(mugs.id)).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(once, range(6))) == [200, 400, 400, 400, 400, 400]
    with container.database.read() as uow:
        assert len(uow.trainings.live_on(mugs.id)) == 1


# -- asking


def test_a_training_that_waits_shows_how_many_are_before_it(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    other = datasets.create(container, "default", "others", labels=["Red", "Blue"])
    for number in range(4):
        datasets.add_example(container, "default", other.id, [1 + number % 2], mug(number))
    first, second = begin(client, other), begin(client, mugs)
    assert [first["queuePosition"], second["queuePosition"]] == [1, 2]
    begun(container, first["modelId"])
    assert status(client, second["modelId"])["queuePosition"] == 1


def test_a_training_shows_its_progress(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    model_id = begin(client, mugs)["modelId"]
    training = begun(container, model_id)
    training_runs.report_progress(container, training.id, 0.4, "epoch 3")
    body = status(client, model_id)
    assert (body["status"], body["progress"], body["trainStats"]) == ("RUNNING", 0.4, None)
    assert not {"queuePosition", "failureMsg", "earlyStopping"} & set(body)


def test_a_training_that_is_done_shows_what_came_of_it(client: FlaskClient, model_id: str) -> None:
    body = status(client, model_id)
    assert (body["status"], body["progress"], body["earlyStopping"], body["lastEpochDone"]) == ("SUCCEEDED", 1, True, 2)
    stats = body["trainStats"]
    assert stats == {
        "labels": 2, "examples": 8, "totalTime": "01:00:05:000", "transforms": None, "trainingTime": "01:00:00:250",
        "earlyStopping": True, "lastEpochDone": 2, "modelSaveTime": "00:00:02:750", "testSplitSize": 2,
        "trainSplitSize": 6, "datasetLoadTime": "00:00:01:500", "preProcessStats": None, "postProcessStats": None,
    }  # fmt: skip


def test_no_more_epochs_are_shown_than_were_asked_for(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    model_id = begin(client, mugs, epochs="2")["modelId"]
    finish(container, model_id)
    body = status(client, model_id)
    assert (body["epochs"], body["lastEpochDone"], body["earlyStopping"]) == (2, 2, False)
    assert len(listed(client.get(f"{MODELS}/{model_id}/lc"), "EinsteinEpoch")) == 2


def test_a_training_that_failed_is_answered_with_200_and_the_reason(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    model_id = begin(client, mugs)["modelId"]
    training_runs.fail(container, begun(container, model_id).id, "out_of_memory", "The pictures are too large.")
    body = status(client, model_id)
    assert (body["status"], body["failureMsg"]) == ("FAILED", "The pictures are too large.")


def test_a_cancelled_training_has_failed_to_this_wire(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    model_id = begin(client, mugs)["modelId"]
    trainings.cancel(container, "default", last(container, model_id).id)
    body = status(client, model_id)
    assert (body["status"], body["failureMsg"]) == ("FAILED", "The training was cancelled.")


def test_an_unknown_model_cannot_be_found(client: FlaskClient) -> None:
    for path in (f"{TRAIN}/NOSUCHMODEL", f"{MODELS}/NOSUCHMODEL", f"{MODELS}/NOSUCHMODEL/lc"):
        assert "model id 'NOSUCHMODEL' cannot be found" in refused(client.get(path), 404)


def test_a_model_that_is_still_trained_predicts_nothing_and_cannot_be_found(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    model_id = begin(client, mugs)["modelId"]
    for _ in range(2):
        answer = post(client, "/v2/vision/predict", modelId=model_id, sampleContent=picture(1))
        assert f"model id '{model_id}' cannot be found" in refused(answer, 404)
        assert "Its training is" in refused(client.get(f"{MODELS}/{model_id}"), 404)
        if status(client, model_id)["status"] == "QUEUED":
            begun(container, model_id)


# -- again


def test_a_model_keeps_its_id_when_it_is_trained_again(
    client: FlaskClient, container: Container, mugs: Dataset, model_id: str
) -> None:
    datasets.add_example(container, "default", mugs.id, [1], mug(99))
    body = fine(post(client, RETRAIN, modelId=f" {model_id} ", epochs="5"), "EinsteinTraining")
    assert (body["modelId"], body["name"], body["datasetId"], body["epochs"]) == (model_id, "mugs v1", mugs.id, 5)
    assert body["status"] == "QUEUED"
    assert models.get_version(container, "default", model_id).version == "1"
    finish(container, model_id, accuracy=0.5)
    assert models.get_version(container, "default", model_id).version == "2"
    assert fine(client.get(f"{MODELS}/{model_id}"), "EinsteinMetrics")["metricsData"]["testAccuracy"] == 0.5
    assert [model["modelId"] for model in listed(client.get(f"{SETS}/{mugs.id}/models"), "EinsteinModel")] == [model_id]


def test_a_model_id_may_come_url_encoded(client: FlaskClient, model_id: str) -> None:
    escaped = "".join(f"%{ord(letter):02X}" for letter in model_id)
    assert fine(post(client, RETRAIN, modelId=escaped), "EinsteinTraining")["modelId"] == model_id


def test_a_model_that_others_manage_too_is_not_promoted_by_training_it_again(
    client: FlaskClient, container: Container, mugs: Dataset, model_id: str
) -> None:
    trainings.submit(container, "default", TrainingRequest(mugs.id, model_id))
    finish(container, model_id)  # version 2, which waits for its promotion
    assert fine(post(client, RETRAIN, modelId=model_id), "EinsteinTraining")["status"] == "QUEUED"
    assert finish(container, model_id).version == "3"
    assert models.get_version(container, "default", model_id).version == "1"


def test_an_id_in_a_path_is_trimmed(client: FlaskClient, mugs: Dataset, model_id: str) -> None:
    assert fine(client.get(f"{TRAIN}/{model_id}%20"), "EinsteinTraining")["modelId"] == model_id
    assert fine(client.get(f"{MODELS}/%20{model_id}"), "EinsteinMetrics")["id"] == model_id
    assert fine(client.get(f"{SETS}/{mugs.id}%20"), "EinsteinDataset")["id"] == mugs.id


def test_only_what_was_trained_here_is_trained_again(client: FlaskClient) -> None:
    for name, code in (("digits", 404), ("NOSUCHMODEL", 404), ("", 400), ("  ", 400)):
        assert refused(post(client, RETRAIN, modelId=name), code)


# -- models


def test_the_models_of_a_dataset_are_listed_newest_first(
    client: FlaskClient, container: Container, mugs: Dataset, model_id: str
) -> None:
    failed = begin(client, mugs)["modelId"]
    training_runs.fail(container, last(container, failed).id, "out_of_memory", "too large")
    path = f"{SETS}/{mugs.id}/models"
    newest, first = listed(client.get(path), "EinsteinModel")
    assert (newest["modelId"], newest["status"], newest["failureMsg"]) == (failed, "FAILED", "too large")
    for name in ("createdAt", "updatedAt"):
        assert re.fullmatch(TIME, first.pop(name))
    assert first == {
        "datasetId": mugs.id, "datasetVersionId": 0, "name": "mugs v1", "status": "SUCCEEDED", "progress": 1,
        "modelId": model_id, "modelType": "image", "language": "N/A", "object": "model",
    }  # fmt: skip
    assert [model["modelId"] for model in listed(client.get(f"{path}?offset=1&count=5"), "EinsteinModel")] == [model_id]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_metrics_show_how_good_a_model_is(client: FlaskClient, model_id: str, prefix: str) -> None:
    body = fine(client.get(f"{prefix}/vision/models/{model_id}"), "EinsteinMetrics")
    assert re.fullmatch(TIME, body.pop("createdAt"))
    assert body == {
        "id": model_id,
        "language": "N/A",
        "object": "metrics",
        "metricsData": {"f1": [0.8, 0.7], "labels": ["Red", "Blue"], "testAccuracy": 0.75, "trainingLoss": 0.2,
                        "confusionMatrix": [[1, 0], [1, 0]], "trainingAccuracy": 0.9},
    }  # fmt: skip


def test_metrics_are_those_of_the_version_that_answers(
    client: FlaskClient, container: Container, mugs: Dataset, model_id: str
) -> None:
    trainings.submit(container, "default", TrainingRequest(mugs.id, model_id))
    finish(container, model_id, accuracy=0.25)  # trained natively, and so not promoted
    assert fine(client.get(f"{MODELS}/{model_id}"), "EinsteinMetrics")["metricsData"]["testAccuracy"] == 0.75


def test_a_model_that_was_brought_has_no_metrics(client: FlaskClient) -> None:
    for path in ("", "/lc"):
        assert "was not trained here" in refused(client.get(f"{MODELS}/digits{path}"), 404)


def test_the_learning_curve_has_the_epochs_asked_for_and_the_test_pictures_after_the_last(
    client: FlaskClient, model_id: str
) -> None:
    curve = listed(client.get(f"{MODELS}/{model_id}/lc"), "EinsteinEpoch")
    assert [(epoch["epoch"], epoch["object"]) for epoch in curve] == [(number, "learningcurve") for number in (1, 2)]
    assert (curve[0]["metricsData"]["trainingLoss"], curve[0]["epochResults"]) == (1.0, [])
    metrics = client.get(f"{MODELS}/{model_id}").get_json()["metricsData"]
    assert curve[1]["metricsData"] == metrics
    results = curve[1]["epochResults"]
    labels = sorted((result["expectedLabel"], result["predictedLabel"]) for result in results)
    assert labels == [("Blue", "Red"), ("Red", "Red")]
    assert all(re.fullmatch(r"\d\.png", result["exampleName"]) for result in results)
    pages = [listed(client.get(f"{MODELS}/{model_id}/lc?offset={at}&count=1"), "EinsteinEpoch") for at in (0, 1, 2)]
    assert [epoch for page in pages for epoch in page] == curve


def test_of_a_dataset_that_is_gone_the_curve_knows_the_mistakes(
    client: FlaskClient, container: Container, mugs: Dataset, model_id: str
) -> None:
    datasets.delete(container, "default", mugs.id)
    datasets.drop_deleted(container)
    results = listed(client.get(f"{MODELS}/{model_id}/lc"), "EinsteinEpoch")[1]["epochResults"]
    assert [(result["expectedLabel"], result["predictedLabel"]) for result in results] == [("Blue", "Red")]


def test_a_model_is_deleted_before_its_dataset(
    client: FlaskClient, container: Container, mugs: Dataset, model_id: str
) -> None:
    assert model_id in refused(client.delete(f"{SETS}/{mugs.id}"))
    gone = fine(client.delete(f"{MODELS}/{model_id}"), "EinsteinDeletion")
    assert (gone["type"], gone["status"], gone["deletedObjectId"]) == ("MODEL", "SUCCEEDED", model_id)
    refused(client.get(f"{MODELS}/{model_id}"), 404)
    refused(client.get(f"{TRAIN}/{model_id}"), 404)
    refused(client.delete(f"{MODELS}/{model_id}"), 404)
    assert listed(client.get(f"{SETS}/{mugs.id}/models"), "EinsteinModel") == []
    assert fine(client.delete(f"{SETS}/{mugs.id}"), "EinsteinDeletion")["type"] == "DATASET"


def test_a_model_that_came_to_nothing_can_be_deleted(client: FlaskClient, container: Container, mugs: Dataset) -> None:
    model_id = begin(client, mugs)["modelId"]
    trainings.cancel(container, "default", last(container, model_id).id)
    assert fine(client.delete(f"{MODELS}/{model_id}"), "EinsteinDeletion")["deletedObjectId"] == model_id
    refused(client.get(f"{TRAIN}/{model_id}"), 404)
    assert fine(client.delete(f"{SETS}/{mugs.id}"), "EinsteinDeletion")["type"] == "DATASET"


def test_a_training_that_came_to_nothing_keeps_no_dataset_for_a_model_of_its_name(
    client: FlaskClient, container: Container, mugs: Dataset
) -> None:
    brought = replace(
        models.get_version(container, "default", "digits"), id="brought", tenant="default", name="squeeze"
    )
    with container.database.write() as uow:
        uow.model_versions.add(brought)
    trainings.cancel(
        container, "default", trainings.submit(container, "default", TrainingRequest(mugs.id, "squeeze")).id
    )
    assert fine(client.delete(f"{SETS}/{mugs.id}"), "EinsteinDeletion")["type"] == "DATASET"


def test_the_catalogue_cannot_be_deleted(client: FlaskClient) -> None:
    assert "catalogue" in refused(client.delete(f"{MODELS}/digits"), 403)


# -- feedback


def test_a_wrong_prediction_becomes_an_example(client: FlaskClient, mugs: Dataset, model_id: str) -> None:
    answer = post(client, FEEDBACK, modelId=model_id, expectedLabel="Blue ", data=picture(77), name="wrong.png")
    body = fine(answer, "EinsteinExample")
    assert (body["name"], body["label"]["name"], body["label"]["numExamples"]) == ("wrong.png", "Blue", 5)
    path = f"{SETS}/{mugs.id}/examples"
    assert [example["id"] for example in listed(client.get(f"{path}?source=feedback"), "EinsteinExample")] == [
        body["id"]
    ]
    assert len(listed(client.get(f"{path}?type=all"), "EinsteinExample")) == 9


def test_feedback_needs_a_model_that_was_trained_here_a_label_and_a_picture(client: FlaskClient, model_id: str) -> None:
    good: dict[str, Any] = {"modelId": model_id, "expectedLabel": "Red", "data": picture(77), "name": "a.png"}
    for wrong in ({"modelId": ""}, {"modelId": "digits"}, {"expectedLabel": ""}, {"expectedLabel": "Black"},
                  {"data": b"text"}, {"data": picture(1)}):  # fmt: skip
        assert refused(post(client, FEEDBACK, **good | wrong))
    assert refused(post(client, FEEDBACK, **good | {"modelId": "NOSUCHMODEL"}), 404)


def test_what_is_in_no_state_for_it_is_400_as_its_clients_know_no_409(client: FlaskClient) -> None:
    with client.application.test_request_context("/v2/vision/train"):
        answer = client.application.make_response(einstein_vision.write_error(errors.Conflict("Not now.")))
    assert (answer.status_code, answer.get_json()) == (400, {"message": "Not now."})
