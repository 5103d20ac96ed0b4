"""Use-cases of seen pictures: a worker keeps those that seem worth labelling, and they go with what they came from.

    worker: answers recorded ──> keep ──> blobs, then rows of choices and jobs that still exist
    job erased, choice taken back, version removed, days over ──> rows and blobs go

A tenant chooses to have them kept, and labels them, by suggestions.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.jobs import job_created_at
from shared.domain.seen_pictures import DAY, FOLDER, SeenChoice, SeenPicture, blob_key
from shared.services import kept_bytes

YOUNG = 3600.0
"""Seconds in which a blob without a row is left alone: its row may be about to be committed."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """A picture that a worker has just answered and that seems worth labelling; the fields are those of SeenPicture."""

    job_id: str
    position: int
    version_id: str
    data: bytes
    label: str
    score: float
    uncertainty: float
    is_unlike: bool
    fingerprint: int | None
    features: bytes
    """Of length one, in half precision."""
    image_id: str = ""

    def as_picture(self, choice: SeenChoice, sha256: str, now: float) -> SeenPicture:
        """Return the picture under a new id, without the name of its file."""
        return SeenPicture(
            str(uuid6.uuid7()), choice.id, sha256, self.version_id, self.job_id, "", self.label, self.score,
            self.uncertainty, self.is_unlike, len(self.data), now, self.fingerprint, image_id=self.image_id,
        )  # fmt: skip


def list_choices(container: Container, model: str) -> Mapping[str, SeenChoice]:
    """Return tenant -> its choice for models of that name."""
    with container.database.read() as uow:
        return {choice.tenant: choice for choice in uow.seen_pictures.choices_for(model)}


def keep(container: Container, choice: SeenChoice, sightings: Sequence[Sighting]) -> None:
    """Keep pictures, each once, and leave out those for which the tenant has no more room.

    Nothing is kept of a job that was erased, of a stored image that was deleted, or by a choice that was taken back,
    meanwhile. If there are more than the
    choice allows, those that are the least worth labelling go, of equal ones the oldest. Raises Unavailable.
    """
    now = container.now()
    by_sha256 = {hashlib.sha256(sighting.data).hexdigest(): sighting for sighting in sightings}
    with container.database.read() as uow:
        known = uow.seen_pictures.by_sha256(choice.id, by_sha256)
        is_full = uow.seen_pictures.count(choice.id) >= choice.most
        lowest = uow.seen_pictures.least_worth(choice.id, 1) if is_full else []
    fresh = [each.as_picture(choice, sha256, now) for sha256, each in by_sha256.items() if sha256 not in known]
    fresh = [picture for picture in fresh if not lowest or picture.worth >= lowest[0].worth]
    new = {picture.sha256: picture for picture in _within_room(container, choice.tenant, fresh)}
    dropped = list(new.values())  # until they are committed
    try:
        for sha256, picture in new.items():
            container.storage.write(blob_key(choice.id, picture.id), by_sha256[sha256].data)
        with container.database.write() as uow:
            dropped = _commit(uow, choice, by_sha256, new, now)
    except errors.StorageFull:
        raise
    except errors.Unavailable:
        dropped = []  # the commit may have succeeded and only its reply be lost; maintenance removes what has no row
        raise
    finally:
        _drop_blobs(container, dropped)


def _within_room(container: Container, tenant: str, pictures: Iterable[SeenPicture]) -> list[SeenPicture]:
    """Return the pictures for which the tenant has room, those that are the most worth labelling first."""
    room = kept_bytes.room(container, tenant)
    kept: list[SeenPicture] = []
    for picture in sorted(pictures, key=lambda picture: -picture.worth):
        if room is None or picture.size <= room:
            kept.append(picture)
            room = None if room is None else room - picture.size
    return kept


def _commit(
    uow: UnitOfWork,
    choice: SeenChoice,
    by_sha256: Mapping[str, Sighting],
    new: Mapping[str, SeenPicture],
    now: float,
) -> list[SeenPicture]:
    """Store the rows; return the pictures that are not kept, or not any more."""
    current = uow.seen_pictures.find_choice(choice.tenant, choice.model, lock=True)
    if current is None or current.id != choice.id:
        return list(new.values())
    names = uow.seen_pictures.names({(each.job_id, each.position) for each in by_sha256.values()})
    images = uow.stored_images.held({each.image_id for each in by_sha256.values() if each.image_id})
    known = uow.seen_pictures.by_sha256(choice.id, by_sha256)
    added: dict[SeenPicture, bytes] = {}
    for sha256, sighting in by_sha256.items():
        name = names.get((sighting.job_id, sighting.position))
        if name is None:
            continue  # its job was erased
        if sighting.image_id and sighting.image_id not in images:
            continue  # its stored image was deleted
        if sha256 not in known:
            if sha256 in new:
                added[replace(new[sha256], name=name)] = sighting.features
        elif not known[sha256].settled:
            seen = sighting.as_picture(choice, sha256, now)
            uow.seen_pictures.see_again(replace(seen, id=known[sha256].id, name=name), sighting.features)
    uow.seen_pictures.add(choice, added)
    excess = uow.seen_pictures.count(choice.id) - current.most
    beyond = uow.seen_pictures.least_worth(choice.id, excess) if excess > 0 else []
    uow.seen_pictures.delete(beyond)
    kept = {picture.id for picture in added}
    return [*(picture for picture in new.values() if picture.id not in kept), *beyond]


def drop_of_job(container: Container, uow: UnitOfWork, job_id: str) -> None:
    """Remove the pictures that a job was the last to send, in the transaction that erases it; raises Unavailable."""
    _drop(container, uow, uow.seen_pictures.of_job(job_id))


def drop_of_image(container: Container, uow: UnitOfWork, image_id: str) -> None:
    """Remove the pictures that are a stored image, in the transaction that deletes it; raises Unavailable."""
    _drop(container, uow, uow.seen_pictures.of_image(image_id))


def _drop(container: Container, uow: UnitOfWork, pictures: Sequence[SeenPicture]) -> None:
    for picture in pictures:  # the bytes first: if the commit fails, the rows are left, by which they are erased again
        container.storage.delete(blob_key(picture.choice_id, picture.id))
    uow.seen_pictures.delete(pictures)


def drop_beyond(container: Container, choice: SeenChoice) -> None:
    """Remove the pictures that are more than the choice allows, since it was changed."""
    with container.database.write() as uow:
        excess = uow.seen_pictures.count(choice.id) - choice.most
        beyond = uow.seen_pictures.least_worth(choice.id, excess) if excess > 0 else []
        uow.seen_pictures.delete(beyond)
    _drop_blobs(container, beyond)


def take_back(container: Container, tenant: str, model: str) -> None:
    """End a choice and remove all that it has kept; does nothing without a choice."""
    with container.database.write() as uow:
        choice = uow.seen_pictures.find_choice(tenant, model, lock=True)
        if choice is not None:
            uow.seen_pictures.delete_choice(choice)
    if choice is not None:
        with suppress(errors.Unavailable):  # maintenance removes what is left
            _drop_folder(container, choice.id)


def drop_removed(container: Container, tenant: str, model: str) -> None:
    """Remove the pictures whose version was removed, and the choice if there is no such model any more."""
    with container.database.read() as uow:
        left = uow.model_versions.named(tenant, model)
        choice = uow.seen_pictures.find_choice(tenant, model)
    if choice is None:
        return
    if not left:
        take_back(container, tenant, model)
        return
    existing = {version.id for version in left}
    with container.database.read() as uow:
        gone = [version_id for version_id in uow.seen_pictures.counts(choice.id) if version_id not in existing]
        pictures = [picture for picture in uow.seen_pictures.of_versions(gone) if picture.choice_id == choice.id]
    _remove(container, pictures)


def drop_old(container: Container) -> None:
    """Remove pictures that were seen too long ago, those of removed models and of deleted images, and blobs
    without a row."""
    with container.database.read() as uow:
        choices = uow.seen_pictures.all_choices()
    for choice in choices:
        drop_removed(container, choice.tenant, choice.model)
        with container.database.read() as uow:
            old = uow.seen_pictures.seen_before(choice.id, container.now() - choice.days * DAY)
            lost = uow.seen_pictures.of_deleted_images(choice.id)
        _remove(container, list({picture.id: picture for picture in (*old, *lost)}.values()))
    folders = [folder.rsplit("/", 1)[1] for folder in container.storage.list(FOLDER)]
    with container.database.read() as uow:  # after the folders: a choice has none before it is committed
        chosen = {choice.id for choice in uow.seen_pictures.all_choices()}
    for choice_id in folders:
        if choice_id in chosen:
            _drop_orphans(container, choice_id)
        else:
            _drop_folder(container, choice_id)


def _remove(container: Container, pictures: Sequence[SeenPicture]) -> None:
    if pictures:
        with container.database.write() as uow:
            uow.seen_pictures.delete(pictures)
        _drop_blobs(container, pictures)


def _drop_orphans(container: Container, choice_id: str) -> None:
    keys = container.storage.list(blob_key(choice_id))
    with container.database.read() as uow:
        ids = uow.seen_pictures.ids(choice_id)
    for key in keys:
        picture_id = key.rsplit("/", 1)[1]
        if picture_id not in ids and job_created_at(picture_id) < container.now() - YOUNG:
            log.info("removing %s, which has no row", key)
            container.storage.delete(key)


def _drop_folder(container: Container, choice_id: str) -> None:
    for key in container.storage.list(blob_key(choice_id)):
        container.storage.delete(key)


def _drop_blobs(container: Container, pictures: Iterable[SeenPicture]) -> None:
    """Remove bytes whose rows are gone; maintenance removes what the storage does not give up now."""
    with suppress(errors.Unavailable):
        for picture in pictures:
            container.storage.delete(blob_key(picture.choice_id, picture.id))
