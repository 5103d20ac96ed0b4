"""Comparisons run two versions of a model on the same test pictures; a promotion requires a comparison.

    QUEUED ──> DONE, with the report     FAILED, with the reason

A training that adds a version to an existing model creates a comparison by itself. The trainer's side is in
comparison_runs.py.
"""

from __future__ import annotations

from dataclasses import replace

import uuid6

from shared import errors
from shared.container import Container
from shared.domain.comparisons import Comparison, check_kinds
from shared.domain.datasets import DatasetState
from shared.domain.jobs import Status
from shared.domain.models import ModelState, pick


def request(container: Container, tenant: str, name: str, candidate: str, baseline: str = "",
            dataset_id: int | None = None) -> Comparison:  # fmt: skip
    """Queue a comparison of two versions for a trainer; `baseline` is the default version if none is named.

    If no dataset is named, the candidate's training dataset is used in its current version. Raises NotFound,
    BadOption, BadDataset (of another problem type), Forbidden (the catalogue), Conflict (a version or a dataset that is
    not READY).
    """
    container.queue.ping()
    with container.database.read() as uow:
        versions = uow.model_versions.named(tenant, name)
        if any(version.tenant != tenant for version in versions):
            raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and stays as it is.")
        chosen = pick(versions, name, candidate)
        other = pick(versions, name, baseline)
        trained = uow.trainings.find(tenant, chosen.training_id) if chosen.training_id else None
    if chosen.id == other.id:
        raise errors.BadOption(f"version {chosen.version} of {name!r} cannot be compared with itself")
    for version in (chosen, other):
        if version.state is not ModelState.READY:
            raise errors.Conflict(f"Version {version.version} of {name!r} is {version.state}, not ready.")
    if dataset_id is None:
        if trained is None:
            raise errors.BadOption(f"version {chosen.version} was not trained here: name a dataset to test it on")
        dataset_id = trained.dataset_id
    comparison = Comparison(
        str(uuid6.uuid7()), tenant, name, chosen.id, other.id, dataset_id, 0, Status.QUEUED, container.now()
    )
    with container.database.write() as uow:
        dataset = uow.datasets.get(tenant, dataset_id, lock=True)
        if dataset.state is not DatasetState.READY:
            raise errors.Conflict(f"The dataset {dataset.name!r} is {dataset.state.lower()}, not ready.")
        check_kinds(chosen, other, dataset)
        comparison = replace(comparison, dataset_version=dataset.version)
        if not dataset.sealed:
            uow.datasets.save(replace(dataset, sealed=True))
        uow.comparisons.add(comparison)
    container.queue.notifications.send_task("load")
    return comparison


def get(container: Container, tenant: str, comparison_id: str) -> Comparison:
    """Return the tenant's comparison; raises NotFound."""
    with container.database.read() as uow:
        return uow.comparisons.get(tenant, comparison_id)


async def wait(container: Container, tenant: str, comparison_id: str, seconds: float) -> Comparison:
    """Return the comparison when it has ended, or its current state after `seconds`."""
    return await container.waiters.until(
        comparison_id,
        lambda: get(container, tenant, comparison_id),
        lambda comparison: comparison.status.terminal,
        seconds,
    )


def list_of_model(container: Container, tenant: str, name: str) -> list[Comparison]:
    """Return the last comparisons of a model, newest first; raises NotFound when there is no such model."""
    with container.database.read() as uow:
        pick(uow.model_versions.named(tenant, name), name)
        return uow.comparisons.of(tenant, name)
