"""Feedback adds a wrongly predicted picture, with its corrected label, to the dataset that the model was trained on."""

from __future__ import annotations

from shared import errors
from shared.container import Container
from shared.domain.datasets import DatasetExample, Source
from shared.domain.models import ModelVersion
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.services import datasets, job_pictures, jobs, models


def correct_job(container: Container, tenant: str, job_id: str, position: int, label: str, dataset_id: int | None,
                limits: Limits) -> DatasetExample:  # fmt: skip
    """Store the correct label of picture `position` of a job; 0 is the first picture.

    If no dataset is named, the picture is added to the dataset that the job's model was trained on. Raises NotFound,
    Conflict, BadOption, BadPicture.
    """
    job = jobs.get(container, tenant, job_id)
    with container.database.read() as uow:
        items = uow.jobs.items(job_id, start=position, limit=1) if 0 <= position < job.total else []
        version = uow.model_versions.find(job.version_id)
    if not items:
        raise errors.NotFound(f"The job {job_id} has no picture {position}; its {job.total} are counted from 0.")
    dataset_id = dataset_id if dataset_id is not None else _dataset_of(container, tenant, version, job.model)
    item = items[0]
    try:
        data = job_pictures.read(container, item)
    except FileNotFoundError:
        raise errors.Conflict(f"The picture of job {job_id} is not kept any more; send it as an example.") from None
    return _add(container, tenant, dataset_id, label, images.check(item.name or f"{job_id}-{position}", data, limits))


def correct_model(container: Container, tenant: str, name: str, label: str, picture: Picture) -> DatasetExample:
    """Store the correct label of a picture that a model predicted wrongly; raises NotFound, Conflict, BadOption."""
    version = models.get_version(container, tenant, name)
    return _add(container, tenant, _dataset_of(container, tenant, version, name), label, picture)


def _dataset_of(container: Container, tenant: str, version: ModelVersion | None, name: str) -> int:
    with container.database.read() as uow:
        training = uow.trainings.find(tenant, version.training_id) if version and version.training_id else None
    if training is None:
        raise errors.Conflict(f"The model {name!r} was not trained here: name the dataset that the picture is for.")
    return training.dataset_id


def _add(container: Container, tenant: str, dataset_id: int, label: str, picture: Picture) -> DatasetExample:
    dataset_label = datasets.label_named(container, tenant, dataset_id, label)
    return datasets.add_example(container, tenant, dataset_id, dataset_label.id, picture, source=Source.FEEDBACK)
