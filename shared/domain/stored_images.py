"""Stored images: pictures that are kept under an id, to be referred to by later requests."""

from __future__ import annotations

import math
import secrets
import string
from dataclasses import dataclass


@dataclass(frozen=True)
class StoredImage:
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


def image_created_at(image_id: str) -> float:
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
