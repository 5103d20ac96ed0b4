"""Use-cases of metrics count what has happened to jobs, and read what all processes have counted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from shared import errors
from shared.container import Container
from shared.domain import metrics
from shared.domain.jobs import Status
from shared.domain.metrics import HIDDEN, Labels, Owner, Sums
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.services import models


def labels_of(version: ModelVersion | None) -> tuple[Labels, Owner | None]:
    """Return the labels of a version, and its owner if it is that of a single tenant; None is a version that was
    removed."""
    if version is None:
        return HIDDEN, None
    if version.tenant == ALL_TENANTS:
        return (version.name, version.version), None
    return HIDDEN, Owner(version.tenant, version.id)


def count_ended(container: Container, job_ids: Sequence[str]) -> None:
    """Count jobs that have ended just now without a batch, unless the database is away."""
    with suppress(errors.Unavailable):
        with container.database.read() as uow:
            ends = uow.jobs.ends_of(job_ids)
        now, versions = container.now(), models.find_versions_by_id(container, {end.version_id for end in ends})
        for end in ends:
            margin = None if end.deadline is None else end.deadline - now
            count_job(container, versions.get(end.version_id), Status(end.status), margin)


def count_job(container: Container, version: ModelVersion | None, status: Status, margin: float | None) -> None:
    """Count a job that has ended, `margin` seconds before its deadline; None if it had none."""
    labels, owner = labels_of(version)
    counts = container.queue.counts
    counts.add(metrics.JOBS, (*labels, status.lower()), owner=owner)
    if margin is not None:
        counts.observe(metrics.DEADLINE_MARGIN, max(0.0, margin), labels, owner)


def count_cached(container: Container, version: ModelVersion) -> None:
    """Count an answer that was found in the result cache."""
    labels, owner = labels_of(version)
    container.queue.counts.add(metrics.CACHED, labels, owner=owner)


def count_training(container: Container, training_id: str) -> None:
    """Count a training that has ended, unless it never began or the database is away."""
    training = None
    with suppress(errors.Unavailable), container.database.read() as uow:
        training = uow.trainings.find_by_id(training_id)
    if training and training.started_at is not None:
        seconds = max(0.0, container.now() - training.started_at)
        container.queue.counts.observe(metrics.TRAINING_SECONDS, seconds, (training.status.lower(),))


def read(container: Container, tenant: str = ALL_TENANTS) -> Sums:
    """Return what all processes have counted. The models of the tenant have their names, and those of other tenants are
    added up under HIDDEN. Raises Unavailable.

    The sums of the tenant's own models are taken from those of all, so that no number ever falls, whatever the tenant
    removes, and no look at the models of others is needed.
    """
    visible = [] if tenant == ALL_TENANTS else models.list_visible(container, tenant)
    own = {version.id: version for version in visible if version.tenant == tenant}
    sums, of_tenant, of_versions = container.queue.counts.read(tenant, list(own))
    for metric, labels, place, number in of_tenant:
        sums.add(metric, labels, place, -number)
    for version_id, of_version in of_versions.items():
        named = (own[version_id].name, own[version_id].version)
        for metric, labels, place, number in of_version:
            sums.add(metric, (*named, *labels[2:]), place, number)
    return sums
