"""Feedback adds a wrongly predicted picture, with its right labels, to the dataset that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from shared import errors
from shared.container import Container
from shared.domain.datasets import DatasetExample, Source
from shared.domain.models import ModelVersion
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.services import datasets, job_pictures, jobs, models


def correct_job(container: Container, tenant: str, job_id: str, position: int, labels: Sequence[str],
                dataset_id: int | None, limits: Limits) -> DatasetExample:  # fmt: skip
    """Store the correct labels of picture `position` of a job; 0 is the first picture.

    If no dataset is named, the picture is added to the dataset that the job's model was trained on. Raises NotFound,
    Conflict, BadOption, BadPicture.
    """
    job = jobs.get(container, tenant, job_id)
    with container.database.read() as uow:
        items = uow.jobs.items(job_id, start=position, limit=1) if 0 <= position < job.total else []
        version = uow.model_versions.find(job.version_id)
    if not items:
        raise errors.NotFound(f"The job {job_id} has no picture {position}; its {job.total} are counted from 0.")
    dataset_id = dataset_id if dataset_id is not None else dataset_of(container, tenant, version, job.model)
    item = items[0]
    try:
        data = job_pictures.show(container, tenant, item)
    except errors.NotFound:
        raise errors.Conflict(f"The picture of job {job_id} is not kept any more; send it as an example.") from None
    return add(container, tenant, dataset_id, labels, images.check(item.name or f"{job_id}-{position}", data, limits))


def correct_model(
    container: Container, tenant: str, name: str, labels: Sequence[str], picture: Picture
) -> DatasetExample:
    """Store the correct labels of a picture that a model predicted wrongly; raises NotFound, Conflict, BadOption."""
    version = models.get_version(container, tenant, name)
    return add(container, tenant, dataset_of(container, tenant, version, name), labels, picture)


def dataset_of(container: Container, tenant: str, version: ModelVersion | None, name: str) -> int:
    """Return the id of the dataset that a version of the model `name` was trained on; raises Conflict without one."""
    with container.database.read() as uow:
        training = uow.trainings.find(tenant, version.training_id) if version and version.training_id else None
    if training is None:
        raise errors.Conflict(f"The model {name!r} was not trained here: name the dataset that the picture is for.")
    return training.dataset_id


def add(container: Container, tenant: str, dataset_id: int, labels: Sequence[str], picture: Picture) -> DatasetExample:
    """Add a picture, from which trainings only learn, with labels that the dataset has; raises as `correct_job`."""
    label_ids = datasets.label_ids(container, tenant, dataset_id, labels)
    return datasets.add_example(container, tenant, dataset_id, label_ids, picture, source=Source.FEEDBACK)
