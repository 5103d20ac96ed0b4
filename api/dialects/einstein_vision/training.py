"""Trainings: begin, begin again under the same model id, and poll the progress."""

from __future__ import annotations

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope
from api.dialects.einstein_vision import serializers
from api.dialects.einstein_vision.common import (
    METER,
    Calls,
    check_range,
    form_fields,
    kind_of,
    model_id,
    new_id,
    required_text,
)
from api.reading import Fields
from shared import errors
from shared.domain.counted import counted
from shared.domain.datasets import DatasetState, check_name
from shared.domain.jobs import Status
from shared.domain.models import ProblemType
from shared.domain.splits import FEWEST_LABELS
from shared.domain.trainings import Training, TrainingParameters, TrainingRequest
from shared.services import datasets, trainings

TRAIN_PATH, RETRAIN_PATH = "/vision/train", "/vision/retrain"
MOST_EPOCHS, FEWEST_EPOCHS, ENOUGH_EPOCHS = 1000, 20, 100
"""The largest number that a request may give, and the least and most epochs of a request without a number."""
SHOWN = 20_000
"""Pictures, each counted once per epoch, after which further epochs do not pay off; see `_parameters`."""
RATES = (0.0001, 0.01)
"""The lowest and highest learning rate; the lowest is the default."""
RATIOS = (0.1, 0.95)


@scope("models")
def train() -> ResponseReturnValue:
    """Begin a training of a model with a new id."""
    fields = form_fields()
    title = check_name(required_text(fields, "name"), "model")
    dataset_id = fields.whole("datasetId", 0) if required_text(fields, "datasetId") else 0
    return _begin(fields, dataset_id, new_id(), title)


@scope("models")
def retrain() -> ResponseReturnValue:
    """Train a model again, on the current state of its dataset; its id stays."""
    fields = form_fields()
    last = of_model(model_id(fields))
    return _begin(fields, last.dataset_id, last.name, last.title)


def show_training(model_id: str) -> ResponseReturnValue:
    """Return the last training of a model."""
    return _training_response(of_model(model_id))


def of_model(model_id: str) -> Training:
    """Return the last training of a model, with its evidence if it is done; raises NotFound."""
    training = trainings.find_last(container(), caller().tenant, model_id)
    if training is None:
        raise errors.NotFound(f"The model id {model_id!r} cannot be found among those that were trained here.")
    return training


def _begin(fields: Fields, dataset_id: int, name: str, title: str) -> ResponseReturnValue:
    dataset = datasets.get(container(), caller().tenant, dataset_id)
    held = datasets.inventory(container(), dataset)
    fewest = 1 if dataset.is_multi_label else FEWEST_LABELS
    if dataset.state is DatasetState.READY and len(held.labels) < fewest:
        raise errors.BadDataset(
            f"Training needs at least {counted(fewest, 'label')}; the dataset has {len(held.labels)}."
        )
    params = _train_params(fields)
    training_request = TrainingRequest(
        dataset_id,
        name,
        parameters=_parameters(fields, Fields(params or {}), held.examples),
        title=title,
        promote=_is_ours(name),
        allow_unready_dataset=True,
        exclusive=True,
        metadata={"trainParams": params} if params is not None else {},
        wire=METER,
    )
    return _training_response(trainings.submit(container(), caller().tenant, training_request))


def _kind(training: Training) -> str:
    """Return the type of the training's dataset; if that was removed, by the evidence."""
    dataset = datasets.find(container(), training.tenant, training.dataset_id)
    measured = (training.evidence or {}).get("problem_type") or ProblemType.SINGLE_LABEL
    return kind_of(dataset.problem_type if dataset else ProblemType(measured))


def _is_ours(name: str) -> bool:
    """Return whether this wire alone manages the model; versions of other models are promoted by the native wire."""
    trained = trainings.list_makers(container(), caller().tenant, name)
    return all(training is not None and training.wire == METER for training in trained)


def _training_response(training: Training) -> ResponseReturnValue:
    position = trainings.position(container(), training) if training.status is Status.QUEUED else 0
    return jsonify(serializers.training(training, _kind(training), position))


def _train_params(fields: Fields) -> dict[str, Any] | None:
    """Return the known parameters of `trainParams`; None where it was not sent. Raises BadOption."""
    if fields.has("algorithm"):
        raise errors.BadOption("algorithm is for the detection of objects, which is not served; leave it out")
    if not fields.has("trainParams"):
        return None
    params = fields.mapping("trainParams")
    if Fields(params).has("withGlobalDatasetId"):
        raise errors.BadOption("withGlobalDatasetId: there are no global datasets here; leave it out")
    return {name: params[name] for name in ("trainSplitRatio", "withFeedback") if name in params}


def _parameters(fields: Fields, params: Fields, examples: int) -> TrainingParameters:
    """Return the training parameters; raises BadOption in the words of this wire."""
    epochs = fields.whole("epochs", max(FEWEST_EPOCHS, min(ENOUGH_EPOCHS, SHOWN // max(1, examples))))
    rate = fields.number("learningRate", RATES[0])
    ratio = params.number("trainSplitRatio", 0.9)
    check_range("epochs", epochs, 1, MOST_EPOCHS)
    check_range("learningRate", rate, *RATES)
    check_range("trainSplitRatio", ratio, *RATIOS)
    feedback = params.flag("withFeedback", False)
    return TrainingParameters(epochs=epochs, learning_rate=rate, train_split_ratio=ratio, with_feedback=feedback)


CALLS: Calls = (
    (TRAIN_PATH, "POST", train),
    (RETRAIN_PATH, "POST", retrain),
    (f"{TRAIN_PATH}/<einstein_name:model_id>", "GET", show_training),
)
