"""Small genuine pictures in every format that Pillow writes, as generated tests damage them."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from PIL import Image

_SAVED: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "progressive JPEG": {"progressive": True},
    "PNG": {},
    "WEBP": {"quality": 60},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "packed TIFF": {"compression": "tiff_lzw"},
    "PPM": {},
}


@cache
def small() -> dict[str, bytes]:
    """Return name -> bytes of a picture of 24 x 16 pixels in each format."""
    picture = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    written = {}
    for name, options in _SAVED.items():
        with io.BytesIO() as file:
            picture.save(file, name.rpartition(" ")[2], **options)
            written[name] = file.getvalue()
    return written


def truncated_png() -> bytes:
    """Return a PNG with a valid header and truncated pixels: it is accepted, and fails in the worker."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()[:-900]
