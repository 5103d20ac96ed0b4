"""Serializers of trainings and their evidence; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from api.context import link
from shared.domain.jobs import Status
from shared.domain.trainings import Training
from shared.schemas import trainings as schemas
from shared.schemas.common import moment, moment_at
from shared.schemas.evidence import Evidence, Plots
from shared.schemas.jobs import ModelReference

PLOTS = ("confusion", "curve", "reliability")


def training(training: Training, position: int = 0) -> schemas.Training:
    """Return a training with its evidence; `position`, its place in the queue, is written while it is QUEUED."""
    return schemas.Training(**_fields(training, position), evidence=evidence(training))


def state(training: Training, position: int = 0) -> schemas.TrainingState:
    """Return a training without its evidence; `position` as in `training`."""
    return schemas.TrainingState(**_fields(training, position))


def summary(training: Training, position: int, measured: Mapping[str, Any]) -> schemas.TrainingSummary:
    """Return a training for a list; `measured` has the `accuracy`, `mean_average_precision` and `method` of its
    version, if it made one."""
    return schemas.TrainingSummary(**_fields(training, position), **measured)


def evidence(training: Training) -> Evidence | None:
    """Return the evidence of a training as it is stored; None before it is DONE."""
    # Not converted: what a trainer of another version measured is written as it is, and never refused.
    return cast("Evidence | None", training.evidence)


def plots(training: Training) -> Plots:
    """Return the paths of the plots of its evidence; none before the training is DONE."""
    if training.status is not Status.DONE:
        return Plots()
    return Plots(**{name: link(f"/v1/trainings/{training.id}/plots/{name}.svg") for name in PLOTS})


def _fields(training: Training, position: int) -> dict[str, Any]:
    path = link(f"/v1/trainings/{training.id}")
    made = ModelReference(name=training.name, version=training.version) if training.version_id else None
    fields = {
        "id": training.id,
        "status": training.status,
        "terminal": training.status.terminal,
        "wire": training.wire,
        "name": training.name,
        "title": training.title,
        "dataset": schemas.TrainingDataset(id=training.dataset_id, version=training.dataset_version or None),
        "base": training.base,
        "parameters": schemas.EffectiveParameters(**vars(training.parameters)),
        "progress": training.progress,
        "message": training.message,
        "curve": list(training.curve),
        "model": made,
        "error": training.error or None,
        "error_code": training.error_code or None,
        "metadata": dict(training.metadata),
        "created_at": moment_at(training.created_at),
        "started_at": moment(training.started_at),
        "finished_at": moment(training.finished_at),
        "links": schemas.TrainingLinks(self=path, events=f"{path}/events", plots=plots(training)),
    }
    return fields | ({"position": position} if training.status is Status.QUEUED else {})
