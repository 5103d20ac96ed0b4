"""Stored images: pictures kept under an id, to be referred to by later requests (rules and use-cases)."""

from __future__ import annotations

from collections.abc import Sequence

from shared import errors
from shared.container import Container
from shared.domain.pictures import Picture
from shared.domain.stored_images import StoredImage, new_id


def store(container: Container, tenant: str, stage: str, picture: Picture) -> StoredImage:
    """Keep a picture; should somebody die between its bytes and its row, the sweep removes the bytes."""
    now = container.now()
    image_id = new_id(now)
    blob = container.storage.dated("images", image_id, now)
    image = StoredImage(image_id, tenant, stage, picture.name, blob, picture.format, picture.width, picture.height,
                  len(picture.data), now)  # fmt: skip
    container.storage.write(image.blob, picture.data)
    try:
        with container.database.write() as uow:
            uow.stored_images.add(image)
    except BaseException:
        container.storage.delete(image.blob)
        raise
    return image


def get(container: Container, tenant: str, stage: str, image_id: str) -> StoredImage:
    """Raises NotFound where there is none, Forbidden where it is another tenant's or belongs to the other stage.

    A wire that does not want to tell the two apart turns the second into the first; ids cannot be guessed.
    """
    with container.database.read() as uow:
        image = uow.stored_images.get(image_id)
    if image is None:
        raise errors.NotFound(f"There is no image {image_id}.")
    if (image.tenant, image.stage) != (tenant, stage):
        raise errors.Forbidden(f"The image {image_id} belongs to another key.")
    return image


def list_page(container: Container, tenant: str, stage: str, *, first: str,
              limit: int) -> tuple[list[StoredImage], list[StoredImage]]:  # fmt: skip
    """(a page and one image more, those right before it, nearest first), read together; newest first.

    The page begins with the id `first`, or with the newest image. Where it does not begin with `first`, because there
    is no such image, nothing before it is read.
    """
    with container.database.read() as uow:
        page = uow.stored_images.page(tenant, stage, first=first, limit=limit + 1)
        if not page or (first and page[0].id != first):
            return page, []
        return page, uow.stored_images.newer(tenant, stage, than=page[0].id, limit=limit)


def delete(container: Container, tenant: str, stage: str, image_id: str) -> None:
    """Remove an image; a job that still refers to it fails that picture with the reason. Raises as `get` does."""
    remove(container, [get(container, tenant, stage, image_id)])


def remove(container: Container, images: Sequence[StoredImage]) -> None:
    """Remove the bytes, then the rows: a crash in between leaves rows, by which the rest is found and removed again."""
    for image in images:
        container.storage.delete(image.blob)
    if images:
        with container.database.write() as uow:
            uow.stored_images.delete([image.id for image in images])
