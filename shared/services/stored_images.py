"""Stored images keep pictures under an id, by which later requests refer to them (rules and use-cases)."""

from __future__ import annotations

from collections.abc import Sequence

from shared import errors
from shared.container import Container
from shared.domain.pictures import Picture
from shared.domain.searches import Collection
from shared.domain.stored_images import StoredImage, new_id
from shared.services import kept_bytes, seen_pictures


def store(container: Container, tenant: str, stage: str, picture: Picture) -> StoredImage:
    """Store a picture; after a crash between the write of its bytes and of its row, maintenance removes the bytes.

    Raises QuotaExceeded, Unavailable, StorageFull.
    """
    kept_bytes.check(container, tenant, len(picture.data))
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
    """Return the image; raises NotFound if it does not exist, Forbidden if it belongs to another tenant or stage.

    A wire that must not distinguish the two errors turns Forbidden into NotFound; ids cannot be guessed.
    """
    with container.database.read() as uow:
        image = uow.stored_images.find(image_id)
    if image is None:
        raise errors.NotFound(f"There is no image {image_id}.")
    if (image.tenant, image.stage) != (tenant, stage):
        raise errors.Forbidden(f"The image {image_id} belongs to another key.")
    return image


def list_page(container: Container, tenant: str, stage: str, *, first: str,
              limit: int) -> tuple[list[StoredImage], list[StoredImage]]:  # fmt: skip
    """Return (a page plus 1 image, the images right before it), read together.

    The page is ordered newest first; the images before it, at most `limit`, are ordered nearest first. The page
    begins with the id `first`, or with the newest image. If it does not begin with `first`, because there is no such
    image, the images before it are not read.
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
    """Remove the bytes, then the rows; a trainer removes their features from the indexes.

    A crash in between leaves rows, by which a later call finds the rest; the reverse order would leave unknown bytes.
    """
    for image in images:
        container.storage.delete(image.blob)
    if images:
        with container.database.write() as uow:
            uow.stored_images.delete([image.id for image in images])
            # After the rows of the images, for which a worker that keeps one as a seen picture makes this one wait.
            for image in images:
                seen_pictures.drop_of_image(container, uow, image.id)
            for tenant, stage in sorted({(image.tenant, image.stage) for image in images}):
                uow.search_indexes.want_again(Collection(tenant, stage), container.now())
