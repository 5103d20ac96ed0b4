"""Serializers of datasets, labels, examples, trainings and models on this wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.dialects.einstein_vision.common import LANGUAGE, kind_of, time
from shared.domain.datasets import Dataset, DatasetExample, DatasetLabel, DatasetState, Inventory
from shared.domain.jobs import Status
from shared.domain.models import ProblemType
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


def dataset(dataset: Dataset, held: Inventory) -> dict[str, Any]:
    """Return one dataset with its labels and the number of examples of each."""
    return {
        "id": dataset.id,
        "name": dataset.name,
        "createdAt": time(dataset.created_at),
        "updatedAt": time(dataset.updated_at),
        "labelSummary": {"labels": [_counted(label) for label in held.labels]},
        "totalExamples": held.examples,
        "totalLabels": len(held.labels),
        "available": dataset.state is DatasetState.READY,
        "statusMsg": _status_message(dataset),
        "type": kind_of(dataset.problem_type),
        "language": LANGUAGE,
        "numOfDuplicates": dataset.duplicates + dataset.contradicting,
        "object": "dataset",
    }


def _status_message(dataset: Dataset) -> str:
    """Return the status text; a usable dataset whose last archive could not be read is FAILED as well."""
    if dataset.state is DatasetState.LOADING:
        return "UPLOADING"
    if dataset.state is DatasetState.DELETING:
        return "DELETE_PENDING"
    return f"FAILED: {dataset.message}" if dataset.message or dataset.state is DatasetState.FAILED else "SUCCEEDED"


def label(label: DatasetLabel) -> dict[str, Any]:
    """Return one label by itself, without a count."""
    return {"id": label.id, "datasetId": label.dataset_id, "name": label.name, "object": "label"}


def _counted(label: DatasetLabel) -> dict[str, Any]:
    return {"id": label.id, "datasetId": label.dataset_id, "name": label.name, "numExamples": label.examples}


def example(example: DatasetExample, labels: Sequence[DatasetLabel], location: str) -> dict[str, Any]:
    """Return one picture with its labels; `location` is the URL that shows it for a limited time.

    One of a multi-label dataset has `labels` in place of `label`, as it may have any number.
    """
    counted = [_counted(label) for label in labels]
    return {
        "id": example.id,
        "name": example.name,
        "location": location,
        "createdAt": time(example.created_at),
        **({"label": counted[0]} if example.label else {"labels": counted}),
        "object": "example",
    }


# trainings


def training(training: Training, kind: str, position: int) -> dict[str, Any]:
    """Return the status of a training; `kind` is the type of its dataset, `position` its place in the queue, where 1 is
    the next."""
    evidence = training.evidence
    return {
        **_head(training),
        "learningRate": training.parameters.learning_rate,
        "epochs": training.parameters.epochs,
        **({"queuePosition": position} if training.status is Status.QUEUED else {}),
        **(_end_fields(training, evidence) if evidence else {}),
        "object": "training",
        **_tail(training, kind),
        "trainParams": training.metadata.get("trainParams"),
        "trainStats": _stats(training, evidence) if evidence else None,
    }


def model(training: Training, kind: str) -> dict[str, Any]:
    """Return a model in a list, as its last training left it; `kind` is the type of its dataset."""
    return {**_head(training), **_tail(training, kind), "object": "model"}


def _head(training: Training) -> dict[str, Any]:
    return {
        "datasetId": training.dataset_id,
        "datasetVersionId": DATASET_VERSION,
        "name": training.title,
        "status": STATUS[training.status],
        "progress": training.progress,
        "createdAt": time(training.created_at),
        "updatedAt": time(training.updated_at),
    }


def _tail(training: Training, kind: str) -> dict[str, Any]:
    failure = "The training was cancelled." if training.status is Status.CANCELLED else training.error
    return {
        **({"failureMsg": failure} if STATUS[training.status] == "FAILED" else {}),
        "modelId": training.name,
        "modelType": kind,
        "language": LANGUAGE,
    }


def _end_fields(training: Training, evidence: Mapping[str, Any]) -> dict[str, Any]:
    last = len(counted_epochs(evidence))
    early = last < training.parameters.epochs and evidence["stopped"] != "time"
    return {"earlyStopping": early, "lastEpochDone": last}


def _stats(training: Training, evidence: Mapping[str, Any]) -> dict[str, Any]:
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
        **_end_fields(training, evidence),
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
    """Return the metrics of a model, on its test pictures and on its training pictures.

    A multi-label model has a matrix of two rows for each label: pictures without the label, and with it.
    """
    return {
        "f1": [label_metrics["f1"] for label_metrics in evidence["per_label"]],
        "labels": list(evidence["labels"]),
        "testAccuracy": evidence["accuracy"],
        "trainingLoss": evidence["train_loss"],
        **_confusion(evidence),
        "trainingAccuracy": evidence["train_accuracy"],
    }


def _confusion(evidence: Mapping[str, Any], *, known: bool = True) -> dict[str, Any]:
    if not _is_multi_label(evidence):
        return {"confusionMatrix": evidence["confusion"] if known else []}
    matrices = [
        [[row["true_negatives"], row["false_positives"]], [row["false_negatives"], row["true_positives"]]]
        for row in evidence["per_label"]
    ]
    return {"confusionMatrices": matrices if known else []}


def _is_multi_label(evidence: Mapping[str, Any]) -> bool:
    return bool(evidence.get("problem_type") == ProblemType.MULTI_LABEL)


def epoch(number: int, measured: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch before the last; only its loss and its accuracy on the validation pictures are known."""
    return _epoch(
        number,
        {
            "f1": [],
            "labels": list(evidence["labels"]),
            "testAccuracy": measured["validation_accuracy"],
            "trainingLoss": measured["train_loss"],
            **_confusion(evidence, known=False),
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
