"""Models: the models of a dataset, and the metrics, learning curve and deletion of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope
from api.dialects.einstein_vision import serializers
from api.dialects.einstein_vision.common import LANGUAGE, Calls, deletion, kind_of, list_response, time, window
from api.dialects.einstein_vision.datasets import ONE_DATASET, trained_on
from api.dialects.einstein_vision.training import of_model
from shared import errors
from shared.domain.trainings import Training
from shared.services import datasets, models, trainings

ONE_MODEL = "/vision/models/<einstein_name:model_id>"
MOST = 100
"""Most models, or epochs, in one list."""


def list_models(dataset_id: int) -> ResponseReturnValue:
    """Return the models that were trained on a dataset, newest first, each as its last training there left it."""
    offset, count = window(MOST)
    kind = kind_of(datasets.get(container(), caller().tenant, dataset_id).problem_type)
    last: dict[str, Training] = {}
    for training in trained_on(dataset_id):
        last.setdefault(training.name, training)
    return list_response([serializers.model(training, kind) for training in [*last.values()][offset : offset + count]])


def show_metrics(model_id: str) -> ResponseReturnValue:
    """Return the metrics of a model; raises NotFound where none were measured."""
    training, evidence = _measured(model_id)
    return jsonify(
        id=model_id,
        createdAt=time(training.finished_at or training.updated_at),
        language=LANGUAGE,
        object="metrics",
        metricsData=serializers.metrics(evidence),
    )


def list_epochs(model_id: str) -> ResponseReturnValue:
    """Return the learning curve of a model: an entry for each epoch, the first epoch first."""
    offset, count = window(MOST)
    training, evidence = _measured(model_id)
    curve = serializers.counted_epochs(evidence)
    epochs = [
        serializers.epoch(number, measured, evidence)
        for number, measured in enumerate(curve[offset : offset + count], offset + 1)
    ]
    if epochs and epochs[-1]["epoch"] == len(curve):
        epochs[-1] = serializers.last_epoch(len(curve), evidence, _tested(training, evidence))
    return list_response(epochs)


@scope("models")
def delete_model(model_id: str) -> ResponseReturnValue:
    """Remove a model with the records of its trainings."""
    tenant = caller().tenant
    if models.list_versions(container(), tenant, model_id):
        models.remove(container(), tenant, model_id)
    else:
        _forget_trainings(model_id)
    return deletion("MODEL", model_id, done=True, message="the model is gone")


def _forget_trainings(model_id: str) -> None:
    """Remove the trainings of a model without a version; raises NotFound, and Conflict while a training is active."""
    of_model(model_id)
    while page := trainings.list_page(container(), caller().tenant, name=model_id):
        for training in page:
            trainings.remove(container(), caller().tenant, training.id)


def _measured(model_id: str) -> tuple[Training, Mapping[str, Any]]:
    """Return (training, evidence) of a model's default version, else of its newest with evidence; raises NotFound."""
    tenant = caller().tenant
    measured = trainings.find_measured(container(), tenant, model_id)
    if measured and measured.evidence:
        return measured, measured.evidence
    last = trainings.find_last(container(), tenant, model_id)
    if models.list_versions(container(), tenant, model_id):
        raise errors.NotFound(f"The model {model_id!r} was not trained here: nothing is known of how good it is.")
    ended = f" Its training is {serializers.STATUS[last.status]}." if last else ""
    raise errors.NotFound(f"The model id {model_id!r} cannot be found.{ended}")


def _tested(training: Training, evidence: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (example, expected, predicted) of each test picture; of the mistakes only if the dataset was deleted.

    Several labels of a picture have commas between them.
    """
    tested = [example_id for example_id, *_ in evidence["tested"]]
    names_and_labels = datasets.get_names_and_labels(container(), training.dataset_id, tested)
    if not names_and_labels:
        return [(mistake["name"], mistake["expected"], mistake["predicted"]) for mistake in evidence["mistakes"]]
    labels = evidence["labels"]
    return [
        (name, ", ".join(expected), ", ".join(labels[number] for number in predicted))
        for example_id, *predicted in evidence["tested"]
        if example_id in names_and_labels
        for name, expected in (names_and_labels[example_id],)
    ]


CALLS: Calls = (
    (f"{ONE_DATASET}/models", "GET", list_models),
    (ONE_MODEL, "GET", show_metrics),
    (f"{ONE_MODEL}/lc", "GET", list_epochs),
    (ONE_MODEL, "DELETE", delete_model),
)
