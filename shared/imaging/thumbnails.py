"""Thumbnails are small JPEGs of pictures of any format, for browsers that show many, or that lack the format."""

from __future__ import annotations

import io

from PIL import Image

from shared.errors import BrokenPicture, PictureTooLarge
from shared.imaging import images, opening

MOST_PIXELS = 50_000_000
"""Pixels that are decoded; of a JPEG they are a fraction of the picture's. Pillow cannot be stopped, so that time is
bounded before it begins: so many pixels take 1.8 s at most (docs/decisions/0033)."""
MOST_CONVERTED = 25_000_000
"""The same for pictures with a colour profile or transparency, whose pixels are converted once more, after decoding."""
MOST_MENDED = 8_000_000
"""Pixels of a picture that is mended if it lacks its end mark: it is decoded up to nine times in full size then."""
_PAPER = (255, 255, 255)
_QUALITY = 80


def draw(data: bytes, side: int) -> bytes:
    """Return a picture as a JPEG whose longer side has `side` pixels at most: upright, in sRGB, on white.

    Raises BrokenPicture, or PictureTooLarge for one of which more than MOST_PIXELS, or MOST_CONVERTED, would
    be decoded.
    """
    try:
        header = opening.opened(data)
        width, height = header.size
        header.draft(None, (side, side))  # to the fraction that is decoded
    except Exception as error:  # Pillow raises nearly everything on hostile headers
        raise BrokenPicture("The header of the picture cannot be read. Save it anew.") from error
    is_converted = "icc_profile" in header.info or header.has_transparency_data
    if header.width * header.height > (MOST_CONVERTED if is_converted else MOST_PIXELS):
        raise PictureTooLarge(f"Of {width} x {height} pixels no thumbnail is made. Fetch the picture itself.")
    try:
        mend = width * height <= MOST_MENDED
        small = images.decode(
            data, exif=True, mode="RGB", background=_PAPER, apply_profile=True, at_least=side, mend=mend
        )
        small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    finally:
        images.release_memory()
    with io.BytesIO() as file:
        small.save(file, "JPEG", quality=_QUALITY)
        return file.getvalue()
