"""Serializers of datasets, labels, examples, trainings and models on this wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.dialects.einstein_vision.common import KIND, LANGUAGE, time
from shared.domain.datasets import Dataset, DatasetExample, DatasetLabel, DatasetState
from shared.domain.jobs import Status
from shared.domain.trainings import Training

DATASET_VERSION = 0
"""The constant dataset version of every training, as the vendor reports it; the native wire has the real version."""
STATUS = {
    Status.QUEUED: "QUEUED",
    Status.RUNNING: "RUNNING",
    Status.DONE: "SUCCEEDED",
    Status.FAILED: "FAILED",
    Status.CANCELLED: "FAILED",
}
_LOADING, _LEARNING = ("features",), ("head", "fine_tuning", "network")
"""Training stages whose seconds are summed into one number: loading time, and training time."""
_COUNTED = ("head", "network")
"""Training stages to which the requested number of epochs applies."""


# datasets


def dataset(found: Dataset, labels: Sequence[DatasetLabel]) -> dict[str, Any]:
    """Return one dataset with its labels and the number of examples of each."""
    return {
        "id": found.id,
        "name": found.name,
        "createdAt": time(found.created_at),
        "updatedAt": time(found.updated_at),
        "labelSummary": {"labels": [_counted(one) for one in labels]},
        "totalExamples": sum(one.examples for one in labels),
        "totalLabels": len(labels),
        "available": found.state is DatasetState.READY,
        "statusMsg": _condition(found),
        "type": KIND,
        "language": LANGUAGE,
        "numOfDuplicates": found.duplicates,
        "object": "dataset",
    }


def _condition(found: Dataset) -> str:
    """Return the status text; a usable dataset whose last archive could not be read is FAILED as well."""
    if found.state is DatasetState.LOADING:
        return "UPLOADING"
    if found.state is DatasetState.DELETING:
        return "DELETE_PENDING"
    return f"FAILED: {found.message}" if found.message or found.state is DatasetState.FAILED else "SUCCEEDED"


def label(found: DatasetLabel) -> dict[str, Any]:
    """Return one label by itself, without a count."""
    return {"id": found.id, "datasetId": found.dataset_id, "name": found.name, "object": "label"}


def _counted(found: DatasetLabel) -> dict[str, Any]:
    return {"id": found.id, "datasetId": found.dataset_id, "name": found.name, "numExamples": found.examples}


def example(found: DatasetExample, of: DatasetLabel, location: str) -> dict[str, Any]:
    """Return one labelled picture; `location` is the URL that shows it for a limited time."""
    return {
        "id": found.id,
        "name": found.name,
        "location": location,
        "createdAt": time(found.created_at),
        "label": _counted(of),
        "object": "example",
    }


# trainings


def training(found: Training, position: int) -> dict[str, Any]:
    """Return the status of a training; `position` is its place in the queue, where 1 is the next."""
    done = found.evidence
    return {
        **_head(found),
        "learningRate": found.parameters.learning_rate,
        "epochs": found.parameters.epochs,
        **({"queuePosition": position} if found.status is Status.QUEUED else {}),
        **(_ending(found, done) if done else {}),
        "object": "training",
        **_tail(found),
        "trainParams": found.metadata.get("trainParams"),
        "trainStats": _stats(found, done) if done else None,
    }


def model(found: Training) -> dict[str, Any]:
    """Return a model in a list, as its last training left it."""
    return {**_head(found), **_tail(found), "object": "model"}


def _head(found: Training) -> dict[str, Any]:
    return {
        "datasetId": found.dataset_id,
        "datasetVersionId": DATASET_VERSION,
        "name": found.title,
        "status": STATUS[found.status],
        "progress": found.progress,
        "createdAt": time(found.created_at),
        "updatedAt": time(found.updated_at),
    }


def _tail(found: Training) -> dict[str, Any]:
    why = "The training was cancelled." if found.status is Status.CANCELLED else found.error
    return {
        **({"failureMsg": why} if STATUS[found.status] == "FAILED" else {}),
        "modelId": found.name,
        "modelType": KIND,
        "language": LANGUAGE,
    }


def _ending(found: Training, evidence: Mapping[str, Any]) -> dict[str, Any]:
    last = len(counted_epochs(evidence))
    early = last < found.parameters.epochs and evidence["stopped"] != "time"
    return {"earlyStopping": early, "lastEpochDone": last}


def _stats(found: Training, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistics of a finished training. Fields without a counterpart are null, as with the vendor."""
    counts, seconds = evidence["examples"], evidence["seconds"]
    loading, trained = (sum(seconds.get(stage, 0.0) for stage in stages) for stages in (_LOADING, _LEARNING))
    saving = seconds["total"] - loading - trained - seconds.get("testing", 0.0)
    return {
        "labels": len(evidence["labels"]),
        "examples": sum(counts.values()),
        "totalTime": _clock(seconds["total"]),
        "transforms": None,
        "trainingTime": _clock(trained),
        **_ending(found, evidence),
        "modelSaveTime": _clock(max(0.0, saving)),
        "testSplitSize": counts["test"],
        "trainSplitSize": counts["training"],
        "datasetLoadTime": _clock(loading),
        "preProcessStats": None,
        "postProcessStats": None,
    }


def _clock(seconds: float) -> str:
    """Return a duration such as `00:01:35:172`, with milliseconds at the end."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}:{rest % 1000:03d}"


# metrics


def counted_epochs(evidence: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the epochs of the stage that the requested number limits; fine-tuning, which may follow, has its own."""
    return [epoch for epoch in evidence["curve"] if epoch["stage"] in _COUNTED]


def metrics(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a model, on its test pictures and on its training pictures."""
    return {
        "f1": [one["f1"] for one in evidence["per_label"]],
        "labels": list(evidence["labels"]),
        "testAccuracy": evidence["accuracy"],
        "trainingLoss": evidence["train_loss"],
        "confusionMatrix": evidence["confusion"],
        "trainingAccuracy": evidence["train_accuracy"],
    }


def epoch(number: int, measured: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return an epoch before the last; only its loss and its accuracy on the validation pictures are known."""
    return _epoch(
        number,
        {
            "f1": [],
            "labels": list(labels),
            "testAccuracy": measured["validation_accuracy"],
            "trainingLoss": measured["train_loss"],
            "confusionMatrix": [],
            "trainingAccuracy": measured["train_accuracy"],
        },
        [],
    )


def last_epoch(number: int, evidence: Mapping[str, Any], tested: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the last epoch with the model's metrics; `tested` is (example, expected, predicted) per test picture."""
    results = [
        {"exampleName": name, "expectedLabel": expected, "predictedLabel": predicted}
        for name, expected, predicted in tested
    ]
    return _epoch(number, metrics(evidence), results)


def _epoch(number: int, data: dict[str, Any], results: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {"epoch": number, "metricsData": data, "epochResults": results, "object": "learningcurve"}
