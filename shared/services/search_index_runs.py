"""A trainer uses these use-cases to begin work on an index, get the pictures that it lacks, and end the work."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.container import Container
from shared.domain.models import ModelState, ModelVersion
from shared.domain.searches import SearchIndex, image_key
from shared.services import searches

log = logging.getLogger(__name__)


class IndexEnded(Exception):
    """The index is not wanted any more, or no trainer can complete it."""


@dataclass(frozen=True)
class IndexedPicture:
    """A picture whose features belong into an index; its bytes are `blob[offset:offset + size]`."""

    key: bytes
    blob: str
    offset: int
    size: int


def list_wanted(container: Container) -> Sequence[SearchIndex]:
    """Return every tenant's indexes on which a trainer is to work, in the order in which they were wanted."""
    with container.database.read() as uow:
        return uow.search_indexes.wanted()


def begin(container: Container, index: SearchIndex) -> tuple[SearchIndex, ModelVersion]:
    """Begin work on an index whose lock the trainer holds; return it with this attempt, and its version.

    Raises IndexEnded. An index that has used up its attempts is wanted no more, until a search misses pictures again.
    """
    with container.database.write() as uow:
        current = uow.search_indexes.find(index.collection, index.version_id)
        version = uow.model_versions.find(index.version_id)
        if current is None or current.wanted_at is None:
            raise IndexEnded
        if version is None or version.state is not ModelState.READY:
            uow.search_indexes.save(replace(current, wanted_at=None))  # `drop_orphans` removes it
            raise IndexEnded
        if current.attempts < container.settings.max_attempts:
            begun = replace(current, attempts=current.attempts + 1)
            uow.search_indexes.save(begun)
            return begun, version
    members = get_members(container, current)
    log.error("the index of %s by %s is given up after %d attempts", current.collection, version.name, current.attempts)
    finish(container, current, unreadable=len(members))
    raise IndexEnded


def get_members(container: Container, index: SearchIndex) -> Mapping[bytes, str | int]:
    """Return key -> id of all pictures that belong into the index at this moment."""
    with container.database.read() as uow:
        return searches.members_of(uow, index.collection)


def list_pictures(container: Container, index: SearchIndex, wanted: Collection[str | int]) -> list[IndexedPicture]:
    """Return where the pictures with these ids lie; those that were removed meanwhile are left out."""
    ids = set(wanted)
    with container.database.read() as uow:
        if not index.dataset_id:
            images = uow.stored_images.some([str(image_id) for image_id in ids])
            return [IndexedPicture(image_key(image.id), image.blob, 0, image.size) for image in images]
        dataset = uow.datasets.find(index.tenant, index.dataset_id)
        examples = uow.datasets.examples(dataset) if dataset else []
    return [
        IndexedPicture(bytes.fromhex(example.sha256), example.blob, example.offset, example.size)
        for example in examples
        if example.id in ids
    ]


def put_behind(container: Container, begun: SearchIndex) -> None:
    """Leave the rest of the work for later, behind the other indexes, without counting the attempt: neither an outage,
    nor a stop, nor a long collection is a crash."""
    with container.database.write() as uow:
        uow.search_indexes.save(replace(begun, wanted_at=container.now(), attempts=0))


def finish(container: Container, begun: SearchIndex, *, unreadable: int) -> None:
    """End the work on an index that lacks only the unreadable pictures; one that was wanted again stays wanted."""
    with container.database.write() as uow:
        current = uow.search_indexes.find(begun.collection, begun.version_id)
        if current is not None:
            wanted_at = current.wanted_at if current.wanted_at != begun.wanted_at else None
            uow.search_indexes.save(
                replace(current, wanted_at=wanted_at, indexed_at=container.now(), unreadable=unreadable, attempts=0)
            )


def drop_orphans(container: Container) -> None:
    """Remove the indexes whose version or dataset is gone; the features of a dataset go with its pictures."""
    with container.database.read() as uow:
        orphans = uow.search_indexes.orphans()
    for index in orphans:
        if not index.dataset_id:
            prefix = index.collection.features_prefix(index.checksum)
            for key in container.storage.list(index.collection.features_folder):
                if key.startswith(prefix):
                    container.storage.delete(key)
        with container.database.write() as uow:
            uow.search_indexes.delete(index)
