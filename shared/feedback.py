"""Feedback: a wrong prediction, corrected, becomes an example of the dataset it was trained on (use-cases)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import datasets, errors, images, jobs, models
from shared.datasets import Example, Source
from shared.images import Picture

if TYPE_CHECKING:
    from shared.models import Version
    from shared.tools import Tools


def correct_job(tools: Tools, tenant: str, job_id: str, position: int, label: str, dataset_id: int | None,
                limits: images.Limits) -> Example:  # fmt: skip
    """What picture `position` of a job (0 is the first) really shows; raises NotFound, Conflict, BadOption, BadPicture.

    Without a dataset it is the one that the job's model was trained on.
    """
    job = jobs.get(tools, tenant, job_id)
    with tools.records.read() as r:
        found = r.jobs.items(job_id, start=position, limit=1) if 0 <= position < job.total else []
        version = r.versions.get(job.version_id)
    if not found:
        raise errors.NotFound(f"The job {job_id} has no picture {position}; its {job.total} are counted from 0.")
    dataset_id = dataset_id if dataset_id is not None else _dataset_of(tools, tenant, version, job.model)
    item = found[0]
    try:
        data = tools.storage.read(item.blob, item.offset, item.size)
    except FileNotFoundError:
        raise errors.Conflict(f"The picture of job {job_id} is not kept any more; send it as an example.") from None
    return _add(tools, tenant, dataset_id, label, images.check(item.name or f"{job_id}-{position}", data, limits))


def correct_model(tools: Tools, tenant: str, name: str, label: str, picture: Picture) -> Example:
    """What a picture, that a model got wrong, really shows; raises NotFound, Conflict, BadOption."""
    version = models.find(tools, tenant, name)
    return _add(tools, tenant, _dataset_of(tools, tenant, version, name), label, picture)


def _dataset_of(tools: Tools, tenant: str, version: Version | None, name: str) -> int:
    with tools.records.read() as r:
        training = r.trainings.get(tenant, version.training_id) if version and version.training_id else None
    if training is None:
        raise errors.Conflict(f"The model {name!r} was not trained here: name the dataset that the picture is for.")
    return training.dataset_id


def _add(tools: Tools, tenant: str, dataset_id: int, label: str, picture: Picture) -> Example:
    wanted = datasets.label_named(tools, tenant, dataset_id, label)
    return datasets.add_example(tools, tenant, dataset_id, wanted.id, picture, source=Source.FEEDBACK)
