"""Stored images: pictures that are stored under an id, so that later requests can refer to them."""

from __future__ import annotations

import math
import secrets
import string
from dataclasses import dataclass


@dataclass(frozen=True)
class StoredImage:
    """A stored picture."""

    id: str
    tenant: str
    stage: str
    """The stage of the key that uploaded it; it is visible to keys of this stage only."""
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


def image_created_at(image_id: str) -> float:
    """Return the Unix seconds encoded in an id; infinity for a text that is not an id."""
    try:
        return int(image_id.removeprefix("image_")[:9], 36) / 1000
    except ValueError:
        return math.inf


def id_of_blob(key: str) -> str:
    """Return the id of the image that a blob holds; empty if it holds no stored image."""
    return key.rsplit("/", 1)[1] if key.startswith("images/") else ""


def new_id(now: float) -> str:
    """Return `image_` and 24 lower-case letters and digits; the first nine encode the time, so that ids sort by
    time."""
    alphabet = string.digits + string.ascii_lowercase
    value, stamp = int(now * 1000), ""
    for _ in range(9):
        value, digit = divmod(value, 36)
        stamp = alphabet[digit] + stamp
    return f"image_{stamp}{''.join(secrets.choice(alphabet) for _ in range(15))}"
