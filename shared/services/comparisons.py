"""Comparisons run two versions of a model on the same test pictures; a promotion requires a comparison.

    QUEUED ──> DONE, with the report     FAILED, with the reason

A training that adds a version to an existing model creates a comparison by itself. Pictures that either version has
learned from are left out: a picture seen in training is no evidence of a version's accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import splits
from shared.domain.comparisons import Comparison
from shared.domain.datasets import DatasetExample, DatasetState
from shared.domain.jobs import Status
from shared.domain.models import ModelState, ModelVersion, pick
from shared.domain.trainings import Training, TrainingParameters


def request(container: Container, tenant: str, name: str, candidate: str, baseline: str = "",
            dataset_id: int | None = None) -> Comparison:  # fmt: skip
    """Queue a comparison of two versions for a trainer; `baseline` is the default version if none is named.

    If no dataset is named, the candidate's training dataset is used in its current version. Raises NotFound,
    BadOption, Forbidden (the catalogue), Conflict (a version or a dataset that is not READY).
    """
    container.queue.ping()
    with container.database.read() as uow:
        known = uow.model_versions.named(tenant, name)
        if any(version.tenant != tenant for version in known):
            raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and stays as it is.")
        chosen = pick(known, name, candidate)
        other = pick(known, name, baseline)
        trained = uow.trainings.get(tenant, chosen.training_id) if chosen.training_id else None
    if chosen.id == other.id:
        raise errors.BadOption(f"version {chosen.version} of {name!r} cannot be compared with itself")
    for version in (chosen, other):
        if version.state is not ModelState.READY:
            raise errors.Conflict(f"Version {version.version} of {name!r} is {version.state}, not ready.")
    if dataset_id is None:
        if trained is None:
            raise errors.BadOption(f"version {chosen.version} was not trained here: name a dataset to test it on")
        dataset_id = trained.dataset_id
    made = Comparison(
        str(uuid6.uuid7()), tenant, name, chosen.id, other.id, dataset_id, 0, Status.QUEUED, container.now()
    )
    with container.database.write() as uow:
        dataset = uow.datasets.get(tenant, dataset_id, lock=True)
        if dataset is None:
            raise errors.NotFound(f"There is no dataset {dataset_id}.")
        if dataset.state is not DatasetState.READY:
            raise errors.Conflict(f"The dataset {dataset.name!r} is {dataset.state.lower()}, not ready.")
        made = replace(made, dataset_version=dataset.version)
        if not dataset.sealed:
            uow.datasets.save(replace(dataset, sealed=True))
        uow.comparisons.add(made)
    container.queue.notifications.send_task("load")
    return made


def get(container: Container, tenant: str, comparison_id: str) -> Comparison:
    """Return the tenant's comparison; raises NotFound."""
    with container.database.read() as uow:
        found = uow.comparisons.get(tenant, comparison_id)
    if found is None:
        raise errors.NotFound(f"There is no comparison {comparison_id}.")
    return found


def wait(container: Container, tenant: str, comparison_id: str, seconds: float) -> Comparison:
    """Return the comparison when it has ended, or its current state after `seconds`."""
    return container.waiters.until(
        comparison_id,
        lambda: get(container, tenant, comparison_id),
        lambda comparison: comparison.status.terminal,
        seconds,
    )


def list_queued(container: Container) -> list[Comparison]:
    """Return every tenant's comparisons that wait for a trainer, oldest first."""
    with container.database.read() as uow:
        return uow.comparisons.queued()


def list_of_model(container: Container, tenant: str, name: str) -> list[Comparison]:
    """Return the last comparisons of a model, newest first; raises NotFound when there is no such model."""
    with container.database.read() as uow:
        pick(uow.model_versions.named(tenant, name), name)
        return uow.comparisons.of(tenant, name)


def update_attempts(container: Container, comparison_id: str, attempts: int) -> None:
    """Store how many trainers have begun a comparison without ending it."""
    with container.database.write() as uow:
        uow.comparisons.tried(comparison_id, attempts)


def finish(container: Container, comparison_id: str, *, report: Mapping[str, Any] | None, error: str) -> None:
    """End and announce a comparison: DONE with its report, or FAILED with the error if there is an error."""
    with container.database.write() as uow:
        uow.comparisons.end(comparison_id, container.now(), report=report, error=error)
    container.queue.events.publish([comparison_id])


def get_material(
    container: Container, comparison: Comparison
) -> tuple[ModelVersion, ModelVersion, tuple[list[DatasetExample], int]]:
    """Return (candidate, baseline, the result of `pictures` for both), read together; raises NotFound, BadDataset."""
    with container.database.read() as uow:
        candidate = uow.model_versions.get(comparison.candidate_id)
        baseline = uow.model_versions.get(comparison.baseline_id)
        if candidate is None or baseline is None:
            raise errors.NotFound("One of the versions has been removed.")
        return (
            candidate,
            baseline,
            pictures(uow, candidate, baseline, comparison.tenant, comparison.dataset_id, comparison.dataset_version),
        )


def find_default_material(
    container: Container, training: Training, candidate: ModelVersion
) -> tuple[ModelVersion, tuple[list[DatasetExample], int]] | None:
    """Return (the READY default version, the pictures to compare on), read together, for a training's candidate.

    Returns None if there is no such version, or no picture that both versions can be run on. Raises NotFound (dataset).
    """
    with container.database.read() as uow:
        known = uow.model_versions.named(training.tenant, training.name)
        own = [version for version in known if version.tenant == training.tenant and version.state is ModelState.READY]
        default = next((version for version in own if version.is_default), None)
        if default is None:
            return None
        try:
            return default, pictures(
                uow, candidate, default, training.tenant, training.dataset_id, training.dataset_version
            )
        except errors.BadDataset:
            return None


def pictures(uow: UnitOfWork, candidate: ModelVersion, baseline: ModelVersion, tenant: str, dataset_id: int,
             dataset_version: int) -> tuple[list[DatasetExample], int]:  # fmt: skip
    """Return (the test pictures to compare on, the number left out); raises NotFound, BadDataset.

    Pictures that either version has learned from, and pictures whose label neither version has, are left out. The
    test split is the candidate's own if the candidate was trained on this dataset.
    """
    dataset = uow.datasets.get(tenant, dataset_id)
    if dataset is None:
        raise errors.NotFound(f"The dataset {dataset_id} is gone.")
    trainings = _trainings(uow, candidate)
    own = trainings[0] if trainings and trainings[0].dataset_id == dataset_id else None
    parameters = own.parameters if own else TrainingParameters()
    found = uow.datasets.examples(replace(dataset, version=dataset_version))
    dealt = splits.deal(
        found, parameters.train_split_ratio, parameters.seed, with_feedback=parameters.with_feedback, checked=False
    )
    learned = set[str]().union(*(_learned(uow, training) for training in (*trainings, *_trainings(uow, baseline))))
    new = [example for example in dealt.test if example.sha256 not in learned]
    if not new:
        raise errors.BadDataset(
            "There is no test picture that neither of the two versions has learned from; add new pictures to the "
            "dataset, in a folder `test`, and compare again, or name another dataset."
        )
    left = [example for example in new if example.label in candidate.labels or example.label in baseline.labels]
    if not left:
        raise errors.BadDataset(
            f"Neither of the two versions knows a label of the test pictures, such as {new[0].label!r}; name another "
            "dataset."
        )
    return left, len(dealt.test) - len(left)


def _trainings(uow: UnitOfWork, version: ModelVersion | None) -> list[Training]:
    """Return the training that made the version, then the training of its base, and so on.

    The version has learned from the pictures of all of them.
    """
    found: list[Training] = []
    while version and version.training_id and (training := uow.trainings.by_id(version.training_id)):
        found.append(training)
        version = uow.model_versions.get(training.base_id)
    return found


def _learned(uow: UnitOfWork, training: Training) -> set[str]:
    """Return the SHA-256 of the pictures that a training has trained or validated on; empty if its dataset is gone."""
    dataset = uow.datasets.get(training.tenant, training.dataset_id)
    if dataset is None:
        return set()
    found = uow.datasets.examples(replace(dataset, version=training.dataset_version))
    parameters = training.parameters
    dealt = splits.deal(found, parameters.train_split_ratio, parameters.seed, with_feedback=parameters.with_feedback)
    return {example.sha256 for example in (*dealt.training, *dealt.validation)}
