"""Stored images: pictures kept under an id, to be referred to by later requests (rules and use-cases)."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import errors
from shared.images import Picture

if TYPE_CHECKING:
    from shared.tools import Tools


@dataclass(frozen=True)
class Image:
    """One stored picture."""

    id: str
    tenant: str
    name: str
    blob: str
    format: str
    width: int
    """Pixels as stored, before the EXIF orientation is applied."""
    height: int
    size: int
    """Bytes."""
    created_at: float
    """Unix seconds."""


def store(tools: Tools, tenant: str, pictures: Iterable[Picture]) -> list[Image]:
    """Keep pictures, all or none; raises BadPicture kinds."""
    kept: list[Image] = []
    try:
        for picture in pictures:
            image_id = new_id(tools.now())
            blob = f"images/{image_id}"
            tools.storage.write(blob, picture.data)
            size = len(picture.data)
            image = Image(image_id, tenant, picture.name, blob, picture.format, picture.width, picture.height, size,
                          tools.now())  # fmt: skip
            kept.append(image)
        with tools.records.write() as r:
            for image in kept:
                r.images.add(image)
    except BaseException:
        for image in kept:
            tools.storage.delete(image.blob)
        raise
    return kept


def get(tools: Tools, tenant: str, image_id: str) -> Image:
    """Raises NotFound, for another tenant's in the same words as for none."""
    with tools.records.read() as r:
        image = r.images.get(tenant, image_id)
    if image is None:
        raise errors.NotFound(f"There is no image {image_id}.")
    return image


def delete(tools: Tools, tenant: str, image_id: str) -> None:
    """Remove the row, then the bytes; a job that still refers to it fails that picture with the reason."""
    image = get(tools, tenant, image_id)
    with tools.records.write() as r:
        r.images.delete(tenant, image_id)
    tools.storage.delete(image.blob)


def new_id(now: float) -> str:
    """`image_` and 24 lower-case letters and digits, the first nine telling the time, so that ids sort by it."""
    alphabet = string.digits + string.ascii_lowercase
    value, stamp = int(now * 1000), ""
    for _ in range(9):
        value, digit = divmod(value, 36)
        stamp = alphabet[digit] + stamp
    return f"image_{stamp}{''.join(secrets.choice(alphabet) for _ in range(15))}"
