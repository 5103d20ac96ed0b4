"""A fingerprint is 64 bits that hardly change when a picture is compressed, resized or brightened: its difference hash.

Each bit says whether the picture becomes brighter from one field of a grid to the field at its right. The method is
that of Neal Krawetz, "Kind of Like That" (hackerfactor.com, 2013), known as dHash; shared/domain/near_duplicates.py
compares fingerprints.
"""

from __future__ import annotations

from PIL import Image

from shared.domain.near_duplicates import PLAIN
from shared.errors import BadPicture
from shared.imaging import images

_SIDE = 8
"""Rows and columns of the grid of differences."""
_FLAT = 8
"""The least difference between the darkest and the brightest field, of 255; below it, noise decides over the bits."""


def of_picture(data: bytes) -> int | None:
    """Return the fingerprint of a picture file, as of one that came in an archive; None if its pixels are broken."""
    try:
        return fingerprint(images.decode(data, exif=False, mode="RGB"))
    except BadPicture:
        return None


def fingerprint(image: Image.Image) -> int:
    """Return the fingerprint as a signed integer of 64 bits, as databases store it; PLAIN if there is too little to
    see."""
    # With the mean of each field: other filters weigh few pixels, and copies of another size differ in more bits.
    grid = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX).tobytes()
    if max(grid) - min(grid) < _FLAT:
        return PLAIN
    bits = 0
    for place in range(len(grid)):
        if place % (_SIDE + 1) != _SIDE:
            bits = bits << 1 | (grid[place + 1] > grid[place])
    return bits - (1 << 64) if bits >> 63 else bits
