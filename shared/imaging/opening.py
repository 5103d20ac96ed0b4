"""Pillow opens a picture by the format that its bytes have, and no other; what is harmless is mended on the way."""

from __future__ import annotations

import io

from PIL import Image, ImageFile

from shared.domain.pictures import ALL_FORMATS
from shared.imaging import formats, heif, jpeg, png

# Only accepted formats are loaded: other plugins take memory, and some do heavy work when a file is opened.
from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401  # isort: skip


def opened(data: bytes) -> ImageFile.ImageFile:
    """Open a picture: its header is read, and its pixels are not. Raises Pillow's exceptions, which may be any."""
    kind = formats.recognise(data)
    try:
        return _opened(data, kind)
    except ValueError:
        lean = png.without_large_texts(data) if kind == "PNG" else None
        if lean is None:
            raise
        return _opened(lean, kind)


def loaded(data: bytes, at_least: int = 0) -> ImageFile.ImageFile:
    """Open a picture and decode its pixels, of an animation those of the first frame; raises Pillow's exceptions.

    With `at_least`, a JPEG is decoded to a half, quarter or eighth of its size if both sides keep so many pixels.
    """
    image = opened(data)
    if at_least:
        image.draft(None, (at_least, at_least))
    try:
        image.load()
        return image
    except (OSError, ValueError) as error:
        if mended := _mended(data, formats.recognise(data), error):
            return mended
        raise


def _mended(data: bytes, kind: str, error: Exception) -> ImageFile.ImageFile | None:
    """Return the decoded picture if all its pixels are there in spite of the error; None if they are not."""
    if kind == "JPEG" and "truncated" in str(error):
        return jpeg.completed(data)
    # Texts may lie behind the pixels, where they are read only now.
    if kind == "PNG" and isinstance(error, ValueError) and (lean := png.without_large_texts(data)):
        image = _opened(lean, kind)
        image.load()
        return image
    return None


def _opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    if kind not in ALL_FORMATS:
        # Never handed to Pillow: it would load its other plugins, of which EPS runs Ghostscript on what was uploaded.
        raise ValueError(f"{kind or 'unknown'} is not opened")
    if kind == "HEIC":
        heif.register()
        heif.check_parts(data)
    return Image.open(io.BytesIO(data), formats=("HEIF" if kind == "HEIC" else kind,))
