"""A trainer uses these use-cases to begin a comparison, get its material, and end it with any result.

Pictures that either version has learned from are left out: a picture seen in training is no evidence of a version's
accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import splits
from shared.domain.comparisons import Comparison, check_kinds
from shared.domain.datasets import DatasetExample
from shared.domain.fair_order import fair_order
from shared.domain.models import ModelState, ModelVersion
from shared.domain.trainings import Training, TrainingParameters


class ComparisonEnded(Exception):
    """The comparison is no longer QUEUED; there is nothing to run."""


def list_waiting(container: Container) -> list[Comparison]:
    """Return every tenant's QUEUED comparisons in the order of their turn."""
    with container.database.read() as uow:
        return fair_order(uow.comparisons.queued(), {})


def begin(container: Container, comparison: Comparison) -> Comparison:
    """Begin a comparison whose lock the trainer holds, and return it with this attempt; raises ComparisonEnded.

    A comparison that has used up its attempts fails here with the reason.
    """
    with container.database.write() as uow:
        current = uow.comparisons.find(comparison.tenant, comparison.id)
        if current is None or current.status.terminal:
            raise ComparisonEnded
        if current.attempts < container.settings.max_attempts:
            begun = replace(current, attempts=current.attempts + 1)
            uow.comparisons.set_attempts(begun.id, begun.attempts)
            return begun
    fail(container, current.id, f"{current.attempts} trainers crashed on it, or gave up.")
    raise ComparisonEnded


def put_back(container: Container, begun: Comparison) -> None:
    """Leave the comparison to the next trainer, without counting the attempt: an outage or a stop is not a crash."""
    with container.database.write() as uow:
        uow.comparisons.set_attempts(begun.id, begun.attempts - 1)


def fail(container: Container, comparison_id: str, reason: str) -> None:
    """End a comparison that cannot be made."""
    with container.database.write() as uow:
        uow.comparisons.end(comparison_id, container.now(), error=reason)
    container.queue.events.publish([comparison_id])


def finish(container: Container, comparison_id: str, report: Mapping[str, Any]) -> None:
    """End a comparison with its report."""
    with container.database.write() as uow:
        uow.comparisons.end(comparison_id, container.now(), report=report)
    container.queue.events.publish([comparison_id])


def get_material(
    container: Container, comparison: Comparison
) -> tuple[ModelVersion, ModelVersion, tuple[list[DatasetExample], int]]:
    """Return (candidate, baseline, the result of `pictures` for both), read together; raises NotFound, BadDataset."""
    with container.database.read() as uow:
        candidate = uow.model_versions.find(comparison.candidate_id)
        baseline = uow.model_versions.find(comparison.baseline_id)
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
        versions = uow.model_versions.named(training.tenant, training.name)
        own = [
            version for version in versions if version.tenant == training.tenant and version.state is ModelState.READY
        ]
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

    Pictures that either version has learned from, and pictures whose labels neither version has, are left out. The
    test split is the candidate's own if the candidate was trained on this dataset.
    """
    dataset = uow.datasets.find(tenant, dataset_id)
    if dataset is None:
        raise errors.NotFound(f"The dataset {dataset_id} is gone.")
    check_kinds(candidate, baseline, dataset)
    trainings = _trainings(uow, candidate)
    own = trainings[0] if trainings and trainings[0].dataset_id == dataset_id else None
    parameters = own.parameters if own else TrainingParameters()
    examples = uow.datasets.examples(replace(dataset, version=dataset_version))
    parts = splits.deal(
        examples,
        parameters.train_split_ratio,
        parameters.seed,
        with_feedback=parameters.with_feedback,
        checked=False,
        is_multi_label=dataset.is_multi_label,
    )
    learned = learned_pictures(uow, candidate) | learned_pictures(uow, baseline)
    new = [example for example in parts.test if example.sha256 not in learned]
    if not new:
        raise errors.BadDataset(
            "There is no test picture that neither of the two versions has learned from; add new pictures to the "
            "dataset, in a folder `test`, and compare again, or name another dataset."
        )
    known = {*candidate.labels, *baseline.labels}
    usable = [example for example in new if not example.all_labels or known & {*example.all_labels}]
    if not any(example.all_labels for example in usable):
        label = next((f", such as {example.all_labels[0]!r}" for example in new if example.all_labels), "")
        raise errors.BadDataset(
            f"Neither of the two versions knows a label of the test pictures{label}; name another dataset."
        )
    return usable, len(parts.test) - len(usable)


def learned_pictures(uow: UnitOfWork, version: ModelVersion) -> set[str]:
    """Return the SHA-256 of the pictures that a version has learned from, or its base, and so on."""
    return set[str]().union(*(_learned(uow, training) for training in _trainings(uow, version)))


def _trainings(uow: UnitOfWork, version: ModelVersion | None) -> list[Training]:
    """Return the training that made the version, then the training of its base, and so on.

    The version has learned from the pictures of all of them.
    """
    ancestors: list[Training] = []
    while version and version.training_id and (training := uow.trainings.find_by_id(version.training_id)):
        ancestors.append(training)
        version = uow.model_versions.find(training.base_id)
    return ancestors


def _learned(uow: UnitOfWork, training: Training) -> set[str]:
    """Return the SHA-256 of the pictures that a training has trained or validated on; empty if its dataset is gone."""
    dataset = uow.datasets.find(training.tenant, training.dataset_id)
    if dataset is None:
        return set()
    examples = uow.datasets.examples(replace(dataset, version=training.dataset_version))
    parameters = training.parameters
    parts = splits.deal(
        examples,
        parameters.train_split_ratio,
        parameters.seed,
        with_feedback=parameters.with_feedback,
        is_multi_label=dataset.is_multi_label,
    )
    return {example.sha256 for example in (*parts.training, *parts.validation)}
