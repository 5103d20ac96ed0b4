"""Trainings are another kind of job, which makes a model version from a dataset version (rules and use-cases).

A training has the states of a job: QUEUED ──> RUNNING ──> DONE, FAILED or CANCELLED. A trainer holds it by a lock that
expires if the trainer crashes; another trainer then resumes after the last stored epoch, while the state stays RUNNING.
The commit that ends the training also registers its version: there is never half a version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import splits
from shared.domain.datasets import DatasetState, check_name
from shared.domain.jobs import Status
from shared.domain.models import NAME_PATTERN, STANDARD, ModelState, ModelVersion
from shared.domain.trainings import (
    SCRATCH,
    Training,
    TrainingRequest,
    checkpoint_key,
)
from shared.services import default_models, kept_bytes, metrics, models


def submit(container: Container, tenant: str, request: TrainingRequest) -> Training:
    """Store a training and notify a trainer; its dataset version is sealed.

    Raises NotFound (dataset, base), BadOption, BadDataset, Conflict (dataset not READY, or in use where `exclusive` is
    set; name being trained; an alias), ModelNotReady or ModelRefused (base), QuotaExceeded (nothing more may be kept;
    how large the weights will be is not known yet).
    """
    if not NAME_PATTERN.fullmatch(request.name):
        raise errors.BadOption("the name of a model is made of letters, digits, '.', '_' and '-', 100 at most")
    kept_bytes.check(container, tenant, 1)
    container.queue.ping()  # an unreachable queue fails the request here, not after the commit at the notification
    base = choose_base(container, tenant, request.base, request.base_version)
    now = container.now()
    training = Training(
        id=str(uuid6.uuid7()),
        tenant=tenant,
        wire=request.wire,
        name=request.name,
        title=check_name(request.title or request.name, "training"),
        status=Status.QUEUED,
        dataset_id=request.dataset_id,
        dataset_version=0,
        base=f"{base.name} {base.version}" if base else SCRATCH,
        base_id=base.id if base else "",
        parameters=request.parameters,
        created_at=now,
        updated_at=now,
        promote=request.promote,
        requires_deployment=request.requires_deployment,
        message="waiting for a trainer",
        webhook=request.webhook,
        webhook_secret=request.webhook_secret,
        metadata=request.metadata,
    )
    with container.database.write() as uow:
        must_be_free(uow, tenant, request.name)
        if base and not uow.version_locks.keep([base.id]):
            raise errors.NotFound(f"The base {training.base} has just been removed; choose another one.")
        training = seal_dataset(uow, training, allow_unready_dataset=request.allow_unready_dataset)
        if request.exclusive and (busy := uow.trainings.live_on(request.dataset_id)):  # its row is locked by now
            raise errors.Conflict(f"The dataset is used by the training of {busy[0].name}; begin when that has ended.")
        uow.trainings.add(training)
    container.queue.notifications.send_task("train")
    return training


def must_be_free(uow: UnitOfWork, tenant: str, name: str) -> None:
    """Raise Conflict for the name of a model that is an alias, is of the catalogue, or is being trained.

    A name of the catalogue would from then on refer to the new model, also for requests that name no model.
    """
    if any(version.tenant != tenant for version in uow.model_versions.named(tenant, name)):
        raise errors.Conflict(f"{name!r} is a model of the catalogue; take another name for one of your own.")
    if uow.model_aliases.find(tenant, name):
        raise errors.Conflict(f"{name!r} is an alias; take another name, or remove the alias first.")
    if busy := uow.trainings.find_live_of(tenant, name):
        raise errors.Conflict(f"The model {name!r} is being trained already, by training {busy.id}.")


def seal_dataset(uow: UnitOfWork, training: Training, *, allow_unready_dataset: bool) -> Training:
    """Seal the dataset version that the training will use, and return the training with that version.

    With `allow_unready_dataset`, a training whose dataset is still loading stays without a version, and a training
    whose dataset cannot be trained on is FAILED. Raises NotFound, Conflict, BadDataset.
    """
    dataset = uow.datasets.find(training.tenant, training.dataset_id, lock=True)
    if dataset is None or dataset.state is DatasetState.DELETING:
        raise errors.NotFound(f"There is no dataset {training.dataset_id}.")
    if dataset.state is DatasetState.LOADING and allow_unready_dataset:
        return training
    try:
        if dataset.state is not DatasetState.READY:
            why = (
                "is still being loaded" if dataset.state is DatasetState.LOADING else f"is unusable: {dataset.message}"
            )
            raise errors.Conflict(f"The dataset {dataset.name!r} {why}.")
        # By counts: reading a hundred thousand examples takes a second, in which no other transaction could write.
        splits.check(
            uow.datasets.tallies(dataset),
            with_feedback=training.parameters.with_feedback,
            is_multi_label=dataset.is_multi_label,
        )
        if dataset.is_multi_label and training.parameters.reject_below_precision is not None:
            raise errors.BadDataset(
                f"The dataset {dataset.name!r} is multi-label, and thresholds say which labels of an answer are "
                "believed; a rejection rule is for single-label datasets. Leave out reject_below_precision."
            )
    except (errors.BadDataset, errors.Conflict) as error:
        if not allow_unready_dataset:
            raise
        return replace(training, status=Status.FAILED, error_code=error.code, error=error.message, message="",
                       started_at=training.updated_at, finished_at=training.updated_at)  # fmt: skip
    if not dataset.sealed:
        uow.datasets.save(replace(dataset, sealed=True))
    return replace(training, dataset_version=dataset.version)


def choose_base(container: Container, tenant: str, name: str, version: str = "") -> ModelVersion | None:
    """Return the READY version to start from, None for SCRATCH; raises NotFound, ModelNotReady, ModelRefused.

    An ONNX file is refused with BadOption: its layers are fixed, and ONNX Runtime only runs them.

    Without a name, the base is the first available of: the tenant's default model, if it is a general model; STANDARD;
    the newest general model. The features of `digits` or of a model of few labels help with little else, so the last
    resort is None. While STANDARD is being checked, just after the first start, the training is refused rather than
    begun without a base.
    """
    if name == SCRATCH:
        return None
    if name:
        # The default version itself: a canary may answer requests, but is not built on.
        named = models.get_version(container, tenant, name, version)
        if named.is_graph:
            raise errors.BadOption(
                f"{named.name} {named.version} is an ONNX file, which can be run but not trained. Choose another base, "
                "or import its weights as safetensors or PyTorch."
            )
        return models.get_ready_version(container, tenant, named.name, named.version)
    with container.database.read() as uow:
        default = default_models.resolve(container, uow, tenant).name
        visible = uow.model_versions.visible(tenant)
    general = [candidate for candidate in visible if candidate.state is ModelState.READY and _is_general(candidate)]
    rank = {STANDARD: 1, default: 2}
    general.sort(key=lambda candidate: (candidate.is_default * rank.get(candidate.name, 0), candidate.created_at))
    best = general[-1] if general else None
    checking = any(candidate.name == STANDARD and candidate.state is ModelState.CHECKING for candidate in visible)
    if checking and (best is None or best.name != default):
        return models.get_ready_version(container, tenant, STANDARD)
    return best


def _is_general(version: ModelVersion) -> bool:
    """Return True if the version has at least 1000 labels, as many as ImageNet, and was not trained here."""
    return (
        version.family in ("torchvision", "timm", "transformers")
        and len(version.labels) >= 1000
        and not version.training_id
    )


def get(container: Container, tenant: str, training_id: str) -> Training:
    """Return the tenant's training with its evidence; raises NotFound, with the same text for another tenant's."""
    with container.database.read() as uow:
        return uow.trainings.get(tenant, training_id)


def list_page(container: Container, tenant: str, *, wire: str = "", dataset_id: int | None = None, name: str = "",
              before: str = "", limit: int = 50) -> list[Training]:  # fmt: skip
    """Return the tenant's trainings, newest first, without evidence; `before` is the last id of the previous page."""
    with container.database.read() as uow:
        return uow.trainings.page(tenant, wire=wire, dataset_id=dataset_id, name=name, before=before, limit=limit)


def list_makers(container: Container, tenant: str, name: str) -> list[Training | None]:
    """Return the training of each version of a model, read together; None for a version that was not trained here."""
    with container.database.read() as uow:
        made_by = [version.training_id for version in uow.model_versions.named(tenant, name)]
        return [uow.trainings.find(tenant, training_id) for training_id in made_by]


def find_last(container: Container, tenant: str, name: str) -> Training | None:
    """Return the newest training of a model of that name, with its evidence; None if there is no such training."""
    with container.database.read() as uow:
        return uow.trainings.find_last_of(tenant, name)


def find_live(container: Container, tenant: str, name: str) -> Training | None:
    """Return the training that makes a model of that name now; None if there is no such training."""
    with container.database.read() as uow:
        return uow.trainings.find_live_of(tenant, name)


def find_by_title(container: Container, tenant: str, wire: str, title: str) -> Training | None:
    """Return the newest training of that title that was submitted by `wire`; None if there is no such training."""
    with container.database.read() as uow:
        return uow.trainings.find_by_title(tenant, wire, title)


def get_summaries(container: Container, training_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return training id -> `accuracy`, `mean_average_precision` and `method`, for the trainings that have evidence."""
    with container.database.read() as uow:
        return uow.trainings.summaries(training_ids)


def check_free(container: Container, tenant: str, name: str) -> None:
    """Raise Conflict as `must_be_free` does, before anything is created for the training."""
    with container.database.read() as uow:
        must_be_free(uow, tenant, name)


async def wait(container: Container, tenant: str, training_id: str, seconds: float) -> Training:
    """Return the training when it has ended, or its current state after `seconds`."""
    return await container.waiters.until(
        training_id, lambda: get(container, tenant, training_id), lambda training: training.status.terminal, seconds
    )


def cancel(container: Container, tenant: str, training_id: str) -> Training:
    """Cancel a training; it stops between two epochs or batches of pictures. Raises NotFound, Conflict when ended."""
    with container.database.write() as uow:
        training = uow.trainings.get(tenant, training_id, lock=True)
        if training.status.terminal and training.status is not Status.CANCELLED:
            raise errors.Conflict(f"The training {training_id} has ended as {training.status} and cannot be cancelled.")
        uow.trainings.end(training_id, Status.CANCELLED, container.now())
    forget_checkpoint(container, training_id)
    models.drop_unregistered(container, training_id)
    container.queue.events.publish([training_id])
    if not training.status.terminal:
        metrics.count_training(container, training_id)
    return get(container, tenant, training_id)


def remove(container: Container, tenant: str, training_id: str) -> None:
    """Delete an ended training and its plots; raises NotFound, Conflict before it ends or while its version exists."""
    training = get(container, tenant, training_id)
    if not training.status.terminal:
        raise errors.Conflict(f"The training {training_id} is {training.status}; cancel it first.")
    with container.database.write() as uow:
        if training.version_id and uow.model_versions.find(training.version_id):
            raise errors.Conflict(f"The training {training_id} is the evidence of {training.name} {training.version}.")
        uow.trainings.delete([training_id])
    drop_plots(container, training_id)


def retitle(container: Container, training_id: str, title: str) -> None:
    """Change a training's title, which the caller chooses; the training and its version stay the same."""
    title = check_name(title, "training")
    with container.database.write() as uow:
        uow.trainings.retitle(training_id, title)


def position(container: Container, training: Training) -> int:
    """Return the training's position in the queue; 1 is the next to be served, 0 means that it is not waiting."""
    with container.database.read() as uow:
        waiting = uow.trainings.in_turn()
    return next((number for number, queued in enumerate(waiting, 1) if queued.id == training.id), 0)


def forget_checkpoint(container: Container, training_id: str) -> None:
    """Delete the checkpoint of a training that is never resumed."""
    container.storage.delete(checkpoint_key(training_id))


def drop_plots(container: Container, training_id: str) -> None:
    """Remove the plots of a training's evidence."""
    models.drop_plots(container, training_id)


@dataclass(frozen=True)
class Listing:
    """The listing holds a page of trainings, their places in the queue and their summaries, read together."""

    page: list[Training]
    """Newest first, without evidence."""
    places: Mapping[str, int]
    """Training id -> its place among the waiting trainings; 1 is the next."""
    summaries: Mapping[str, dict[str, Any]]
    """Training id -> `accuracy`, `mean_average_precision` and `method` of the trainings that are DONE."""


def list_with_places(container: Container, tenant: str, *, status: str, name: str, dataset_id: int | None,
                     before: str, limit: int) -> Listing:  # fmt: skip
    """Return a page of the tenant's trainings; empty filters match all, `before` is the previous page's last id."""
    with container.database.read() as uow:
        page = uow.trainings.page(tenant, status=status, name=name, dataset_id=dataset_id, before=before, limit=limit)
        waits = any(training.status is Status.QUEUED for training in page)
        waiting = uow.trainings.in_turn() if waits else []
        summaries = uow.trainings.summaries([training.id for training in page])
    return Listing(page, {training.id: place for place, training in enumerate(waiting, 1)}, summaries)


def find_measured(container: Container, tenant: str, name: str) -> Training | None:
    """Return the training of the default version, else of the newest version, that has evidence.

    Returns None if no training has evidence.
    """
    with container.database.read() as uow:
        versions = uow.model_versions.named(tenant, name)
        for version in sorted(versions, key=lambda known: (known.is_default, known.created_at), reverse=True):
            training = uow.trainings.find(tenant, version.training_id) if version.training_id else None
            if training and training.evidence:
                return training
    return None
