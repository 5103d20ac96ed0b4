"""Quick trainings on the network `digits`, by a trainer without threads."""

from __future__ import annotations

from typing import Any

from shared.container import Container
from shared.domain.datasets import Dataset
from shared.domain.models import ModelVersion
from shared.domain.trainings import Training, TrainingParameters, TrainingRequest
from shared.services import trainings
from worker.trainer import Trainer

QUICK = TrainingParameters(epochs=5, fine_tune="never")


def submit(container: Container, source: Dataset, **about: Any) -> Training:
    fields: dict[str, Any] = {"name": "mine", "base": "digits", "parameters": QUICK} | about
    return trainings.submit(container, "anna", TrainingRequest(source.id, **fields))


def trained(trainer: Trainer, training: Training) -> Training:
    trainer._train_all()
    return trainings.get(trainer.container, "anna", training.id)


def version(container: Container, training: Training) -> ModelVersion:
    with container.database.read() as uow:
        stored = uow.model_versions.find(training.version_id)
    assert stored is not None
    return stored
