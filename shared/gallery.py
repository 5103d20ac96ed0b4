"""Stored images: pictures kept under an id, to be referred to by later requests (rules and use-cases)."""

from __future__ import annotations

import math
import secrets
import string
from collections.abc import Sequence
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
    stage: str
    """Of the key it was uploaded with, and the only one that it can be seen with."""
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


def store(tools: Tools, tenant: str, stage: str, picture: Picture) -> Image:
    """Keep a picture; should somebody die between its bytes and its row, the sweep removes the bytes."""
    now = tools.now()
    image_id = new_id(now)
    blob = tools.storage.dated("images", image_id, now)
    image = Image(image_id, tenant, stage, picture.name, blob, picture.format, picture.width, picture.height,
                  len(picture.data), now)  # fmt: skip
    tools.storage.write(image.blob, picture.data)
    try:
        with tools.records.write() as r:
            r.images.add(image)
    except BaseException:
        tools.storage.delete(image.blob)
        raise
    return image


def get(tools: Tools, tenant: str, stage: str, image_id: str) -> Image:
    """Raises NotFound where there is none, Forbidden where it is another tenant's or belongs to the other stage.

    A wire that does not want to tell the two apart turns the second into the first; ids cannot be guessed.
    """
    with tools.records.read() as r:
        image = r.images.get(image_id)
    if image is None:
        raise errors.NotFound(f"There is no image {image_id}.")
    if (image.tenant, image.stage) != (tenant, stage):
        raise errors.Forbidden(f"The image {image_id} belongs to another key.")
    return image


def delete(tools: Tools, tenant: str, stage: str, image_id: str) -> None:
    """Remove an image; a job that still refers to it fails that picture with the reason. Raises as `get` does."""
    remove(tools, [get(tools, tenant, stage, image_id)])


def remove(tools: Tools, images: Sequence[Image]) -> None:
    """Remove the bytes, then the rows: a crash in between leaves rows, by which the rest is found and removed again."""
    for image in images:
        tools.storage.delete(image.blob)
    if images:
        with tools.records.write() as r:
            r.images.delete([image.id for image in images])


def made_at(image_id: str) -> float:
    """Unix seconds at which an id was made, as it tells; infinite for no id."""
    try:
        return int(image_id.removeprefix("image_")[:9], 36) / 1000
    except ValueError:
        return math.inf


def new_id(now: float) -> str:
    """`image_` and 24 lower-case letters and digits, the first nine telling the time, so that ids sort by it."""
    alphabet = string.digits + string.ascii_lowercase
    value, stamp = int(now * 1000), ""
    for _ in range(9):
        value, digit = divmod(value, 36)
        stamp = alphabet[digit] + stamp
    return f"image_{stamp}{''.join(secrets.choice(alphabet) for _ in range(15))}"
