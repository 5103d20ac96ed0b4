"""A trainer uses these use-cases to begin a training, report its progress, and end it with any result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared import errors
from shared.container import Container
from shared.domain import splits
from shared.domain.jobs import Status
from shared.domain.models import ModelVersion, next_version
from shared.domain.splits import Splits
from shared.domain.trainings import Training
from shared.services import models, trainings


class TrainingEnded(Exception):
    """The training is no longer RUNNING; the trainer that works on it discards its results."""


def list_waiting(container: Container) -> list[Training]:
    """Return every tenant's RUNNING trainings, then the waiting trainings in the order of their turn."""
    with container.database.read() as uow:
        return uow.trainings.in_status(Status.RUNNING) + uow.trainings.in_turn()


def begin(container: Container, training: Training) -> Training:
    """Begin or resume a training whose lock the trainer holds, and return it; raises TrainingEnded.

    A training that has used up its attempts, or whose dataset proved unusable, fails here with the reason.
    """
    with container.database.write() as uow:
        found = uow.trainings.find_by_id(training.id, lock=True)
        if found is None or found.status.terminal:
            raise TrainingEnded
        if not found.dataset_version:
            try:
                found = trainings.sealed(uow, replace(found, updated_at=container.now()), allow_unready_dataset=True)
            except errors.NotFound as error:
                found = replace(found, status=Status.FAILED, error_code=error.code, error=error.message)
        if found.attempts >= container.settings.max_attempts:
            cause = f"{found.attempts} trainers crashed on it, or gave up, without an epoch in between: {found.message}"
            found = replace(found, status=Status.FAILED, error_code="poison", error=cause)
        if found.status is Status.FAILED:
            uow.trainings.end(found.id, Status.FAILED, container.now(), error_code=found.error_code, error=found.error)
        elif found.dataset_version:
            started = found.started_at or container.now()
            found = replace(found, status=Status.RUNNING, attempts=found.attempts + 1, started_at=started)
            uow.trainings.start(found, container.now())
    if found.status is Status.QUEUED:  # its dataset is still loading
        raise TrainingEnded
    if found.status is Status.FAILED:
        trainings.forget_checkpoint(container, found.id)
        models.drop_made(container, found.id)
        _ended(container, found.id)
        raise TrainingEnded
    container.queue.events.publish([found.id])
    return found


def report_progress(
    container: Container,
    training_id: str,
    progress: float,
    message: str,
    curve: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Store the progress of a training, from 0 to 1; raises TrainingEnded when it was cancelled meanwhile.

    `curve` is given when an epoch has been stored: the attempts before that epoch then no longer count.
    """
    with container.database.write() as uow:
        running = uow.trainings.update_progress(training_id, min(1.0, progress), message, curve, container.now())
    if not running:
        raise TrainingEnded
    container.queue.events.publish([], [training_id])


def put_back(container: Container, training_id: str, message: str) -> None:
    """Leave the training to the next trainer, without counting the attempt of a trainer that stops.

    Raises TrainingEnded.
    """
    with container.database.write() as uow:
        uow.trainings.put_back(training_id)
        running = uow.trainings.update_message(training_id, message, container.now())
    if not running:
        raise TrainingEnded
    container.queue.events.publish([], [training_id])


def fail(container: Container, training_id: str, code: str, reason: str) -> None:
    """End a training that cannot be finished; the dataset stays as it was, and no version is made.

    A training that has ended stays unchanged: another trainer may have finished it, and its plots are the evidence.
    """
    with container.database.write() as uow:
        if not uow.trainings.end(training_id, Status.FAILED, container.now(), error_code=code, error=reason):
            return
    trainings.forget_checkpoint(container, training_id)
    models.drop_made(container, training_id)
    _ended(container, training_id)


def finish(container: Container, training: Training, version: ModelVersion, evidence: Mapping[str, Any],
           report: Mapping[str, Any] | None = None) -> ModelVersion:  # fmt: skip
    """Register the version, end the training and store its comparison with the previous default, in a single commit.

    `version` is READY and names the training; its number and whether it is the default are set here. Raises
    TrainingEnded when the training was cancelled meanwhile.
    """
    try:
        made = _register(container, training, version, evidence, report)
    except errors.Conflict:  # a concurrent import took the number; the second try reads it
        made = _register(container, training, version, evidence, report)
    trainings.forget_checkpoint(container, training.id)
    _ended(container, training.id)
    return made


def _register(container: Container, training: Training, version: ModelVersion, evidence: Mapping[str, Any],
              report: Mapping[str, Any] | None) -> ModelVersion:  # fmt: skip
    now = container.now()
    with container.database.write() as uow:
        if not uow.trainings.hold(training.id):
            raise TrainingEnded
        named = uow.model_versions.named(training.tenant, training.name, lock=True)
        others = [known for known in named if known.tenant == training.tenant]
        number, first = next_version(others), not others
        made = replace(
            version, version=number, is_default=first, requires_deployment=training.requires_deployment, created_at=now
        )
        uow.model_versions.add(made)
        if report is not None:  # compared with the default of that time: another may be promoted by now
            report = {**report, "candidate": {**report["candidate"], "version": number}}
            for baseline in [known for known in others if known.version == report["baseline"]["version"]]:
                uow.comparisons.add_done(training, made, baseline, report, now)
        default = next((known for known in others if known.is_default), None)
        if default and training.promote:
            uow.promotions.promote(made, default, now)
        uow.trainings.done(training.id, made, evidence, now)
    return made


def abandon(container: Container, training_id: str) -> None:
    """Drop the plots, weights and example that a trainer has made and could not register. The checkpoint stays.

    The blobs of a training that is DONE or continues stay: after a lost lock another trainer may have registered a
    version with the same id, or may be about to. A later failure or cancellation drops the rest.
    """
    with container.database.read() as uow:
        found = uow.trainings.find_by_id(training_id)
    if not found or (found.status.terminal and found.status is not Status.DONE):
        models.drop_made(container, training_id)


def _ended(container: Container, training_id: str) -> None:
    container.queue.events.publish([training_id])
    container.queue.notifications.send_task("deliver")


def dealt(container: Container, training: Training) -> Splits:
    """Return the examples that the training uses, each in its split; raises NotFound when the dataset is gone."""
    with container.database.read() as uow:
        found = uow.datasets.find(training.tenant, training.dataset_id)
        if found is None:
            raise errors.NotFound(f"The dataset {training.dataset_id} is gone.")
        examples = uow.datasets.examples(replace(found, version=training.dataset_version))
    asked = training.parameters
    return splits.deal(examples, asked.train_split_ratio, asked.seed, with_feedback=asked.with_feedback)
