"""Pillow opens a picture by the format that its bytes have, and no other; what is harmless is mended on the way."""

from __future__ import annotations

import io

from PIL import Image, ImageFile

from shared.domain.pictures import ALL_FORMATS
from shared.imaging import formats, heif, jpeg, png, tiff

# Only accepted formats are loaded: other plugins take memory, and some do heavy work when a file is opened.
from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401  # isort: skip

_MAX_READS = 200_000
"""Maximum reads from one picture. What Pillow does in Python reads at least once for each part of a picture, be it a
chunk, a segment, a comment or a byte of padding: of these, a file of 30 MB can hold millions, and zipped it has 30 KB.
A PNG of 30 MB is usually read in 12,000 pieces."""
_HEADER_READS = 5_000
"""Maximum reads for the header, which the API reads, of up to thousands of pictures in one request. A photo takes a
hundred."""


class TooManyParts(Exception):
    """The picture consists of more parts than a picture needs, and would take seconds to read.

    It is neither a ValueError nor an OSError, so that it is not taken for damage that can be mended.
    """


class _CountedReads(io.BytesIO):
    """The bytes of a picture, which can be read a limited number of times."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._left = most

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise TooManyParts
        return super().read(size)


def opened(data: bytes) -> ImageFile.ImageFile:
    """Open a picture: its header is read, and its pixels are not.

    Raises TooManyParts, and Pillow's exceptions, which may be any.
    """
    return _opened_or_mended(data, _HEADER_READS)


def _opened_or_mended(data: bytes, reads: int) -> ImageFile.ImageFile:
    kind = formats.recognise(data)
    try:
        return _opened(data, kind, reads)
    except ValueError:
        lean = png.without_large_texts(data) if kind == "PNG" else None
        if lean is None:
            raise
        return _opened(lean, kind, reads)


def loaded(data: bytes, at_least: int = 0, *, mend: bool = True) -> ImageFile.ImageFile:
    """Open a picture and decode its pixels, of an animation those of the first frame; raises as `opened` does.

    With `at_least`, a JPEG is decoded to a half, quarter or eighth of its size if both sides keep so many pixels.
    Without `mend`, which decodes a picture several times, one that lacks only its end mark is damaged too.
    """
    image = _opened_or_mended(data, _MAX_READS)
    if at_least:
        image.draft(None, (at_least, at_least))
    try:
        image.load()
        return image
    except (OSError, ValueError) as error:
        if mend and (mended := _mended(data, formats.recognise(data), error)):
            return mended
        raise


def _mended(data: bytes, kind: str, error: Exception) -> ImageFile.ImageFile | None:
    """Return the decoded picture if all its pixels are there in spite of the error; None if they are not."""
    if kind == "JPEG" and "truncated" in str(error):
        return jpeg.completed(data)
    # Texts may lie behind the pixels, where they are read only now.
    if kind == "PNG" and isinstance(error, ValueError) and (lean := png.without_large_texts(data)):
        image = _opened(lean, kind, _MAX_READS)
        image.load()
        return image
    return None


def _opened(data: bytes, kind: str, reads: int) -> ImageFile.ImageFile:
    if kind not in ALL_FORMATS:
        # Never handed to Pillow: it would load its other plugins, of which EPS runs Ghostscript on what was uploaded.
        raise ValueError(f"{kind or 'unknown'} is not opened")
    if kind == "HEIC":
        heif.register()
        heif.check_parts(data)
    if kind == "TIFF" and tiff.has_many_values(data):
        raise TooManyParts
    return Image.open(_CountedReads(data, reads), formats=("HEIF" if kind == "HEIC" else kind,))
