"""Serializers of datasets, trainings, comparisons and canaries; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.dialects.native.serializers.jobs_and_models import iso
from shared.domain.comparisons import Comparison
from shared.domain.datasets import Dataset, DatasetExample, DatasetLabel
from shared.domain.jobs import Status
from shared.domain.models import ModelVersion
from shared.domain.promotions import Canary
from shared.domain.trainings import Training, TrainingParameters

PLOTS = ("confusion", "curve", "reliability")
LISTED = 100
"""Most labels of each dataset in a list: a dataset may have thousands, and a page has up to 500 datasets."""


def dataset(dataset: Dataset, labels: Sequence[DatasetLabel]) -> dict[str, Any]:
    """Return a dataset with the labels of its current version."""
    path = f"/v1/datasets/{dataset.id}"
    return {
        "id": dataset.id,
        "name": dataset.name,
        "state": dataset.state,
        "message": dataset.message,
        "progress": dataset.progress,
        "version": dataset.version,
        "examples": sum(label.examples for label in labels),
        "labels": [label(known) for known in labels],
        "label_count": len(labels),
        "duplicates": dataset.duplicates,
        "unreadable": dataset.unreadable,
        "reasons": [{"path": path, "why": why} for path, why in dataset.reasons],
        "created_at": iso(dataset.created_at),
        "updated_at": iso(dataset.updated_at),
        "links": {"self": path, "labels": f"{path}/labels", "examples": f"{path}/examples"},
    }


def listed(one: Dataset, labels: Sequence[DatasetLabel]) -> dict[str, Any]:
    """Return a dataset for a list of datasets, with the first LISTED of its labels."""
    return dataset(one, labels) | {"labels": [label(known) for known in labels[:LISTED]]}


def label(label: DatasetLabel) -> dict[str, Any]:
    """Return a label with its current number of examples."""
    return {"id": label.id, "name": label.name, "examples": label.examples}


def example_path(example: DatasetExample) -> str:
    """Return the path of an example."""
    return f"/v1/datasets/{example.dataset_id}/examples/{example.id}"


def example(example: DatasetExample) -> dict[str, Any]:
    """Return one labelled picture, without its bytes."""
    path = example_path(example)
    return {
        "id": example.id,
        "name": example.name,
        "label": {"id": example.label_id, "name": example.label},
        "split": example.split,
        "source": example.source,
        "size": example.size,
        "sha256": example.sha256,
        "created_at": iso(example.created_at),
        "links": {"self": path, "picture": f"{path}/picture"},
    }


def training(training: Training, position: int = 0) -> dict[str, Any]:
    """Return a training without its evidence; `position`, its place in the queue, is included while it is QUEUED."""
    path = f"/v1/trainings/{training.id}"
    made = {"name": training.name, "version": training.version} if training.version_id else None
    body = {
        "_id": training.id,
        "status": training.status,
        "terminal": training.status.terminal,
        "wire": training.wire,
        "name": training.name,
        "title": training.title,
        "dataset": {"id": training.dataset_id, "version": training.dataset_version or None},
        "base": training.base,
        "parameters": parameters(training.parameters),
        "progress": training.progress,
        "message": training.message,
        "curve": [dict(epoch) for epoch in training.curve],
        "model": made,
        "error": training.error or None,
        "error_code": training.error_code or None,
        "metadata": dict(training.metadata),
        "created_at": iso(training.created_at),
        "started_at": iso(training.started_at),
        "finished_at": iso(training.finished_at),
        "links": {"self": path, "events": f"{path}/events", "plots": plots(training)},
    }
    return body | ({"position": position} if training.status is Status.QUEUED else {})


def parameters(parameters: TrainingParameters) -> dict[str, Any]:
    """Return every parameter with its value."""
    return dict(vars(parameters))


def plots(training: Training) -> dict[str, str]:
    """Return the paths of the plots of its evidence by name; empty before the training is DONE."""
    if training.status is not Status.DONE:
        return {}
    return {name: f"/v1/trainings/{training.id}/plots/{name}.svg" for name in PLOTS}


def comparison(comparison: Comparison, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the comparison of two versions; `names` maps version ids to version names, such as `2`."""
    return {
        "_id": comparison.id,
        "status": comparison.status,
        "terminal": comparison.status.terminal,
        "name": comparison.name,
        "candidate": names.get(comparison.candidate_id),
        "baseline": names.get(comparison.baseline_id),
        "dataset": {"id": comparison.dataset_id, "version": comparison.dataset_version},
        "report": comparison.report,
        "error": comparison.error or None,
        "created_at": iso(comparison.created_at),
        "finished_at": iso(comparison.finished_at),
        "links": {"self": f"/v1/comparisons/{comparison.id}", "model": f"/v1/models/{comparison.name}"},
    }


def canary(canary: Canary, version: ModelVersion) -> dict[str, Any]:
    """Return the canary version with its share, and how often it agreed with the default version."""
    return {
        "version": version.version,
        "share": canary.share,
        "compared": canary.compared,
        "agreed": canary.agreed,
        "agreement": canary.agreed / canary.compared if canary.compared else None,
        "since": iso(canary.since),
    }
