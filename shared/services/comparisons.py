"""Comparisons: two versions of a model side by side on the same test pictures; promotion stands on them.

    QUEUED ──> DONE, with the report     FAILED, with the reason

A training that gives a name another version makes one by itself. Pictures that either of the two has learned from are
left out: what one has seen in training says nothing about it.
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
    """Have a trainer compare two versions; `baseline` is the default version where none is named.

    Without a dataset it is the one that the candidate was trained on, as it is now. Raises NotFound, BadOption,
    Forbidden (the catalogue), Conflict (a version that is not READY, a dataset that is not).
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
    """Raises NotFound."""
    with container.database.read() as uow:
        found = uow.comparisons.get(tenant, comparison_id)
    if found is None:
        raise errors.NotFound(f"There is no comparison {comparison_id}.")
    return found


def wait(container: Container, tenant: str, comparison_id: str, seconds: float) -> Comparison:
    """The comparison when it has ended, or as it is when the time is over."""
    return container.waiters.until(
        comparison_id, lambda: get(container, tenant, comparison_id), lambda found: found.status.terminal, seconds
    )


def list_queued(container: Container) -> list[Comparison]:
    """Every tenant's comparisons that wait for a trainer, oldest first."""
    with container.database.read() as uow:
        return uow.comparisons.queued()


def list_of_model(container: Container, tenant: str, name: str) -> list[Comparison]:
    """The last comparisons of a model, newest first; raises NotFound when there is no such model."""
    with container.database.read() as uow:
        pick(uow.model_versions.named(tenant, name), name)
        return uow.comparisons.of(tenant, name)


def update_attempts(container: Container, comparison_id: str, attempts: int) -> None:
    """Store how many trainers have begun a comparison without ending it."""
    with container.database.write() as uow:
        uow.comparisons.tried(comparison_id, attempts)


def finish(container: Container, comparison_id: str, *, report: Mapping[str, Any] | None, error: str) -> None:
    """End and announce a comparison: DONE with its report, or FAILED with the error where there is one."""
    with container.database.write() as uow:
        uow.comparisons.end(comparison_id, container.now(), report=report, error=error)
    container.queue.events.publish([comparison_id])


def get_material(
    container: Container, comparison: Comparison
) -> tuple[ModelVersion, ModelVersion, tuple[list[DatasetExample], int]]:
    """(candidate, baseline, what `pictures` returns of them), read together; raises NotFound, BadDataset."""
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
    """(the READY default version, the pictures to compare on), read together, for a training's candidate.

    None where there is no such version, or no picture that both can be shown. Raises NotFound (dataset).
    """
    with container.database.read() as uow:
        known = uow.model_versions.named(training.tenant, training.name)
        own = [one for one in known if one.tenant == training.tenant and one.state is ModelState.READY]
        default = next((one for one in own if one.is_default), None)
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
    """(the test pictures to compare on, how many were left out); raises NotFound, BadDataset.

    Left out is what either of the two has learned from, and what neither has a label for. The test split is the
    candidate's own where it was trained on this dataset.
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
    new = [one for one in dealt.test if one.sha256 not in learned]
    if not new:
        raise errors.BadDataset(
            "There is no test picture that neither of the two versions has learned from; add new pictures to the "
            "dataset, in a folder `test`, and compare again, or name another dataset."
        )
    left = [one for one in new if one.label in candidate.labels or one.label in baseline.labels]
    if not left:
        raise errors.BadDataset(
            f"Neither of the two versions knows a label of the test pictures, such as {new[0].label!r}; name another "
            "dataset."
        )
    return left, len(dealt.test) - len(left)


def _trainings(uow: UnitOfWork, version: ModelVersion | None) -> list[Training]:
    """What made the version, then what made its base, and so on: it knows what they have learned."""
    found: list[Training] = []
    while version and version.training_id and (training := uow.trainings.by_id(version.training_id)):
        found.append(training)
        version = uow.model_versions.get(training.base_id)
    return found


def _learned(uow: UnitOfWork, training: Training) -> set[str]:
    """SHA-256 of what a training has trained or validated on; nothing is known once its dataset is gone."""
    dataset = uow.datasets.get(training.tenant, training.dataset_id)
    if dataset is None:
        return set()
    found = uow.datasets.examples(replace(dataset, version=training.dataset_version))
    parameters = training.parameters
    dealt = splits.deal(found, parameters.train_split_ratio, parameters.seed, with_feedback=parameters.with_feedback)
    return {one.sha256 for one in (*dealt.training, *dealt.validation)}
