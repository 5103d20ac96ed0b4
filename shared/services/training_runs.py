"""A trainer uses these use-cases to begin a training, report its progress, and end it with any result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import splits
from shared.domain.datasets import DatasetExample, DatasetState
from shared.domain.drift import Reference
from shared.domain.jobs import Status
from shared.domain.models import ModelVersion, next_version
from shared.domain.splits import Splits
from shared.domain.trainings import Training
from shared.services import metrics, models, trainings

FOREIGN_DATASETS, FOREIGN = 5, 50
"""Other datasets, and examples of each, that show whether foreign pictures are turned away."""


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
        current = uow.trainings.find_by_id(training.id, lock=True)
        if current is None or current.status.terminal:
            raise TrainingEnded
        begun = _start_or_fail(container, uow, current)
    if begun.status is Status.QUEUED:  # its dataset is still loading
        raise TrainingEnded
    if begun.status is Status.FAILED:
        trainings.forget_checkpoint(container, begun.id)
        models.drop_unregistered(container, begun.id)
        _ended(container, begun.id)
        raise TrainingEnded
    container.queue.events.publish([begun.id])
    return begun


def _start_or_fail(container: Container, uow: UnitOfWork, training: Training) -> Training:
    """Update a live training and return it: RUNNING, FAILED with the reason, or QUEUED while its dataset is loading."""
    now = container.now()
    if not training.dataset_version:
        try:
            training = trainings.seal_dataset(uow, replace(training, updated_at=now), allow_unready_dataset=True)
        except errors.NotFound as error:
            training = replace(training, status=Status.FAILED, error_code=error.code, error=error.message)
    if training.attempts >= container.settings.max_attempts:
        crashes = f"{training.attempts} trainers crashed on it, or gave up, without an epoch in between"
        reason = f"{crashes}: {training.message}"
        training = replace(training, status=Status.FAILED, error_code="poison", error=reason)
    if training.status is Status.FAILED:
        uow.trainings.end(training.id, Status.FAILED, now, error_code=training.error_code, error=training.error)
    elif training.dataset_version:
        started_at = training.started_at or now
        training = replace(training, status=Status.RUNNING, attempts=training.attempts + 1, started_at=started_at)
        uow.trainings.start(training, now)
    return training


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
    models.drop_unregistered(container, training_id)
    _ended(container, training_id)


def finish(container: Container, training: Training, version: ModelVersion, evidence: Mapping[str, Any],
           report: Mapping[str, Any] | None = None, reference: Reference | None = None) -> ModelVersion:  # fmt: skip
    """Register the version, end the training and store its comparison with the previous default, and the reference for
    drift, in a single commit.

    `version` is READY and names the training; its number and whether it is the default are set here. Raises
    TrainingEnded when the training was cancelled meanwhile.
    """
    try:
        registered = _register(container, training, version, evidence, report, reference)
    except errors.Conflict:  # a concurrent import took the number; the second try reads it
        registered = _register(container, training, version, evidence, report, reference)
    trainings.forget_checkpoint(container, training.id)
    _ended(container, training.id)
    return registered


def _register(container: Container, training: Training, version: ModelVersion, evidence: Mapping[str, Any],
              report: Mapping[str, Any] | None, reference: Reference | None) -> ModelVersion:  # fmt: skip
    now = container.now()
    with container.database.write() as uow:
        if not uow.trainings.hold(training.id):
            raise TrainingEnded
        named = uow.model_versions.named(training.tenant, training.name, lock=True)
        others = [other for other in named if other.tenant == training.tenant]
        number, first = next_version(others), not others
        registered = replace(
            version, version=number, is_default=first, requires_deployment=training.requires_deployment, created_at=now
        )
        uow.model_versions.add(registered)
        if reference is not None:
            uow.drift.set_reference(reference)
        if report is not None:  # compared with the default of that time: another may be promoted by now
            report = {**report, "candidate": {**report["candidate"], "version": number}}
            for baseline in [other for other in others if other.version == report["baseline"]["version"]]:
                uow.comparisons.add_done(training, registered, baseline, report, now)
        default = next((other for other in others if other.is_default), None)
        if default and training.promote:
            uow.promotions.promote(registered, default, now)
        uow.trainings.done(training.id, registered, evidence, now)
    return registered


def discard(container: Container, training_id: str) -> None:
    """Drop the checkpoint of a cancelled training, and all that a trainer has made for it."""
    trainings.forget_checkpoint(container, training_id)
    abandon(container, training_id)


def abandon(container: Container, training_id: str) -> None:
    """Drop the plots, weights and example that a trainer has made and could not register. The checkpoint stays.

    The blobs of a training that is DONE or continues stay: after a lost lock another trainer may have registered a
    version with the same id, or may be about to. A later failure or cancellation drops the rest.
    """
    with container.database.read() as uow:
        training = uow.trainings.find_by_id(training_id)
    if not training or (training.status.terminal and training.status is not Status.DONE):
        models.drop_unregistered(container, training_id)


def _ended(container: Container, training_id: str) -> None:
    metrics.count_training(container, training_id)
    container.queue.events.publish([training_id])
    container.queue.notifications.send_task("deliver")


def list_foreign(container: Container, training: Training) -> dict[str, list[DatasetExample]]:
    """Return examples of the tenant's other datasets, by the names of these, whose labels this training does not know:
    at most FOREIGN of each of at most FOREIGN_DATASETS."""
    found: dict[str, list[DatasetExample]] = {}
    with container.database.read() as uow:
        others = uow.datasets.page(training.tenant, limit=FOREIGN_DATASETS + 1)
        known = {label.casefold() for label in uow.datasets.label_names(training.dataset_id).values()}
        for other in others:
            if other.id == training.dataset_id or other.state is not DatasetState.READY:
                continue
            examples = [
                each
                for each in uow.datasets.examples(other)
                if not known & {label.casefold() for label in each.all_labels}
            ]
            if examples:
                found[other.name] = examples[:: max(1, len(examples) // FOREIGN)][:FOREIGN]
    return found


def get_splits(container: Container, training: Training) -> Splits:
    """Return the examples that the training uses, each in its split; raises NotFound when the dataset is gone."""
    with container.database.read() as uow:
        dataset = uow.datasets.find(training.tenant, training.dataset_id)
        if dataset is None:
            raise errors.NotFound(f"The dataset {training.dataset_id} is gone.")
        examples = uow.datasets.examples(replace(dataset, version=training.dataset_version))
    parameters = training.parameters
    return splits.deal(
        examples,
        parameters.train_split_ratio,
        parameters.seed,
        with_feedback=parameters.with_feedback,
        is_multi_label=dataset.is_multi_label,
    )
