"""Searches find the stored images and examples that are most similar to a picture, by the features of a model.

    submit ──> a job with task `features` and a scope ──> worker: features ──> neighbours ──> its result
                                                            └── pictures without features ──> index wanted ──> trainer

The worker compares the pictures whose features are known, and the answer says how many of how many these are. It wants
an index of the others, on which a trainer works in the background; see search_index_runs.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.datasets import DatasetState
from shared.domain.jobs import ImageReference, Job, Submission
from shared.domain.models import ModelVersion
from shared.domain.pictures import Picture
from shared.domain.searches import Collection, Hit, SearchIndex, SearchScope, image_key
from shared.services import jobs

AGAIN = 600.0
"""Seconds after which pictures that could not be read are tried again, if they are searched."""


async def submit(
    container: Container, tenant: str, submission: Submission, scope: SearchScope, patience: float | None = None
) -> tuple[Job, bool]:
    """Submit a search for the neighbours of one picture; returns and raises as `jobs.submit`, and TooManyFiles."""
    options = replace(submission.options, task="features")
    pictures = _only_one(submission.pictures)
    return await jobs.submit(
        container, tenant, replace(submission, pictures=pictures, options=options, search=scope.to_json()), patience
    )


def _only_one(pictures: Iterable[Picture | ImageReference]) -> Iterator[Picture | ImageReference]:
    for number, picture in enumerate(pictures):
        if number:
            raise errors.TooManyFiles("A search takes one picture. Search for each of the others by itself.")
        yield picture


# the worker's part


@dataclass(frozen=True)
class Searched:
    """A collection as it is while it is searched."""

    collection: Collection
    members: Mapping[bytes, str | int]
    """Key of a picture in the index -> id of the stored image, or of the example."""


def find_scope(container: Container, tenant: str, job_id: str) -> SearchScope | None:
    """Return the scope of the search that is a job; None if the job was erased."""
    with container.database.read() as uow:
        job = uow.jobs.find(tenant, job_id)
    return SearchScope.from_json(job.search) if job and job.search is not None else None


def list_searched(container: Container, tenant: str, scope: SearchScope) -> Iterator[Searched]:
    """Yield the collections of a scope with all of their pictures; a dataset that is gone has none."""
    if scope.stage:
        collection = Collection(tenant, stage=scope.stage)
        with container.database.read() as uow:
            members = members_of(uow, collection)
        yield Searched(collection, members)
    with container.database.read() as uow:
        dataset_ids = uow.datasets.ids_of(tenant) if scope.datasets is None else scope.datasets
    for dataset_id in dataset_ids:
        collection = Collection(tenant, dataset_id=dataset_id)
        with container.database.read() as uow:
            members = members_of(uow, collection)
        yield Searched(collection, members)


def members_of(uow: UnitOfWork, collection: Collection) -> dict[bytes, str | int]:
    """Return the members of a collection, as in `Searched`, in the order of their ids."""
    if not collection.dataset_id:
        return {
            image_key(image_id): image_id for image_id in uow.stored_images.ids(collection.tenant, collection.stage)
        }
    dataset = uow.datasets.find(collection.tenant, collection.dataset_id)
    if dataset is None or dataset.state is DatasetState.DELETING:
        return {}
    return {bytes.fromhex(sha256): example_id for sha256, example_id in uow.datasets.keys(dataset)}


def describe(container: Container, neighbours: Sequence[tuple[float, Collection, str | int]]) -> list[Hit]:
    """Return (similarity, collection, id of a member) as hits, with names and labels; what was removed is left out."""
    with container.database.read() as uow:
        images = {
            image.id: image.name for image in uow.stored_images.some({str(member) for _, _, member in neighbours})
        }
        examples = {
            dataset_id: uow.datasets.names_and_labels(
                dataset_id, [int(member) for _, of, member in neighbours if of.dataset_id == dataset_id]
            )
            for dataset_id in {of.dataset_id for _, of, _ in neighbours if of.dataset_id}
        }
    hits: list[Hit] = []
    for similarity, of, member in neighbours:
        if not of.dataset_id:
            if (image_id := str(member)) in images:
                hits.append(Hit(similarity, images[image_id], image_id=image_id))
        elif (example_id := int(member)) in examples[of.dataset_id]:
            name, labels = examples[of.dataset_id][example_id]
            label = ", ".join(labels)
            hits.append(Hit(similarity, name, dataset_id=of.dataset_id, example_id=example_id, label=label))
    return hits


def want_index(container: Container, collection: Collection, version: ModelVersion, missing: int) -> None:
    """Have a trainer compute the features that a search has missed, unless it is about to, or has just failed to."""
    now = container.now()
    with container.database.read() as uow:
        index = uow.search_indexes.find(collection, version.id)
    index = index or SearchIndex(**vars(collection), version_id=version.id, checksum=version.features_checksum)
    is_tried = index.indexed_at is not None and missing <= index.unreadable and now < index.indexed_at + AGAIN
    if index.wanted_at is None and not is_tried:
        with container.database.write() as uow:
            uow.search_indexes.save(replace(index, wanted_at=now, attempts=0))
        with suppress(errors.Unavailable):  # maintenance sends it again
            container.queue.notifications.send_task("load")
