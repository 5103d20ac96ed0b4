"""The pictures of jobs: small ones are kept with their item, the others in one blob for each job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Protocol

from shared import errors
from shared.container import Container
from shared.domain import explanations as explanation_rules
from shared.domain.jobs import AnswerOptions, ImageReference, Item, Job, Submission
from shared.domain.pictures import Picture
from shared.domain.stored_images import id_of_blob
from shared.domain.stream_entry import StreamEntry
from shared.services import absences, explanations, kept_bytes

MOST_INLINE = 8 * 1024
"""Bytes of a picture that is kept with its item instead of in a blob of its own; a file costs more than as many bytes
in a row do."""


class Digest(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> None: ...


def store(container: Container, job: Job, submission: Submission, room: int | None) -> tuple[list[Item], str]:
    """Write all pictures, in the order of upload, into the job's single blob, unless there is only a small one; return
    (items, fingerprint).

    The fingerprint is the SHA-256 (hex) of all bytes and of the requested options. `room` is how many bytes the tenant
    may keep, None for no limit; a reference to a stored image costs none. Raises NoInput, QuotaExceeded, Unavailable,
    StorageFull, and what reading the pictures raises; no blob is left then.
    """
    asked = submission.pictures
    pictures = iter(asked) if submission.explain is None else explanation_rules.limited(asked)
    first = [*islice(pictures, 2)]
    if not first:
        raise errors.NoInput()
    digest = hashlib.sha256()
    if len(first) == 1 and isinstance(first[0], Picture) and len(first[0].data) <= MOST_INLINE:
        kept_bytes.fits(container, job.tenant, room, len(first[0].data))
        items = [_small_item(job, first[0], digest)]
    else:
        items = _store_blob(container, job, chain(first, pictures), digest, room)
    # What was requested, not the version and the function that were chosen: a canary, or a promotion meanwhile, may
    # have another version answer the same request.
    request = [
        digest.hexdigest(),
        submission.model,
        submission.version,
        _options_text(submission.options),
        job.priority,
        dict(job.metadata),
        *([dict(submission.search)] if submission.search is not None else []),
        *([] if submission.explain is None else [submission.explain]),  # none in those of earlier releases
    ]
    return items, hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()


def read(container: Container, picture: Item | StreamEntry) -> bytes:
    """Return the bytes of an item or an entry; raises FileNotFoundError, Unavailable."""
    if picture.picture is not None:
        return picture.picture
    if picture.blob:
        return container.storage.read(picture.blob, picture.offset, picture.size)
    with container.database.read() as uow:
        data = uow.jobs.picture(picture.job_id, picture.position)
    if data is None:
        raise FileNotFoundError(f"picture {picture.position} of job {picture.job_id}")
    return data


def find(container: Container, tenant: str, job_id: str, position: int) -> Item:
    """Return the item of a picture of the tenant's job; raises NotFound."""
    with container.database.read() as uow:
        job = uow.jobs.get(tenant, job_id)
        items = uow.jobs.items(job_id, start=position, limit=1) if position < job.total else []
    if not items:
        raise errors.NotFound(f"Job {job_id} has no picture {position}; it has {job.total}, the first is 0.")
    return items[0]


def show(container: Container, tenant: str, item: Item) -> bytes:
    """Return the bytes of a picture of the tenant's job as they were sent; raises NotFound if they are not kept any
    more, Unavailable."""
    name = f"picture {item.position} of job {item.job_id}"
    removed = errors.NotFound(f"{name.capitalize()} is not kept any more.")

    def look() -> None:
        find(container, tenant, item.job_id, item.position)
        image_id = id_of_blob(item.blob)
        with container.database.read() as uow:
            if image_id and not uow.stored_images.known([image_id]):
                raise removed

    if item.blob:
        return absences.read(container, item.blob, name, look, offset=item.offset, size=item.size)
    try:
        return read(container, item)
    except FileNotFoundError:
        raise removed from None


def list_page(
    container: Container, tenant: str, job_id: str, *, failed: bool, start: int, limit: int
) -> tuple[Job, list[Item]]:
    """Return the tenant's job and its items from position `start` on, in upload order, or only those that failed;
    raises NotFound."""
    with container.database.read() as uow:
        job = uow.jobs.get(tenant, job_id)
        found = uow.items.failed(job_id, start, limit) if failed else uow.jobs.items(job_id, start=start, limit=limit)
    return job, found


def first_of(container: Container, listed: Sequence[Job]) -> dict[str, Item]:
    """Return job id -> the first item, of those of the jobs whose answers are labels; the others may be long."""
    job_ids = [job.id for job in listed if job.options.task == "classify"]
    with container.database.read() as uow:
        return uow.items.first(job_ids) if job_ids else {}


def first_names(container: Container, listed: Sequence[Job]) -> dict[str, str]:
    """Return job id -> the name of the first picture."""
    with container.database.read() as uow:
        return uow.items.first_names([job.id for job in listed])


def is_kept(container: Container, item: Item) -> bool:
    """Return True if the picture of an item can be read; raises Unavailable."""
    try:
        read(container, replace(item, size=1) if item.blob else item)
    except FileNotFoundError:
        return False
    return True


def is_dropped(container: Container, entry: StreamEntry) -> bool:
    """Return True if the records say that the picture of an entry was removed: with its job, or as a stored image.

    The storage is not asked: a part of it that is away lacks pictures that nobody removed. Raises Unavailable.
    """
    with container.database.read() as uow:
        if not uow.jobs.live_among({entry.job_id}):
            return True
        image_id = id_of_blob(entry.blob)
        return not entry.blob or (image_id != "" and not uow.stored_images.known([image_id]))


def drop(container: Container, job: Job) -> None:
    """Remove the blob of a job, if it has one, and its explanations; raises Unavailable."""
    if job.blob:
        container.storage.delete(job.blob)
    if job.explain is not None:
        explanations.drop(container, job.id, job.total)


def _small_item(job: Job, picture: Picture, digest: Digest) -> Item:
    name = _storable(picture.name)
    _feed(digest, name, picture.data)
    return Item(job.id, 0, name, "", 0, len(picture.data), picture=picture.data)


def _store_blob(
    container: Container, job: Job, pictures: Iterable[Picture | ImageReference], digest: Digest, room: int | None
) -> list[Item]:
    items: list[Item] = []
    with container.storage.writing(job.blob) as blob:
        for position, picture in enumerate(pictures):
            name = _storable(picture.name)
            if isinstance(picture, ImageReference):
                digest.update(picture.id.encode())
                items.append(Item(job.id, position, name, picture.blob, 0, picture.size))
                continue
            _feed(digest, name, picture.data)
            items.append(Item(job.id, position, name, job.blob, blob.write(picture.data), len(picture.data)))
            kept_bytes.fits(container, job.tenant, room, blob.size)
    return items


def _feed(digest: Digest, name: str, data: bytes) -> None:
    digest.update(f"{name}\0{len(data)}\0".encode())
    digest.update(data)


def _options_text(options: AnswerOptions) -> str:
    """Return the options as their text in fingerprints has been since the first release.

    Stored fingerprints outlive upgrades: the text must change neither with the name of the class nor with a default.
    No function is written as softmax, which was the default once. A request for softmax is therefore the same as one
    for no function; the alternative, a text of its own, would make a conflict of such a request from before.
    """
    values = vars(options) | {"function_to_apply": options.function_to_apply or "softmax"}
    return f"Options({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def _storable(name: str) -> str:
    """Return a file name without the characters that databases refuse: NUL, and lone surrogates from old archives."""
    return name.encode("utf-8", "replace").decode().replace("\0", "")
