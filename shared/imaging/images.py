"""Pictures are recognised by their bytes and checked by their header, never by their name (rules, no I/O).

uploads ──> pictures ──> archive? its members ──┐
                    └──> picture ───────────────┴──> check: header only ──> Picture ──> blob ──> worker: decode
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from PIL import Image, ImageFile

from shared.domain.pictures import Limits, Picture, Upload
from shared.domain.sizes import exactly
from shared.errors import (
    ArchiveWithFiles,
    BadArchive,
    BadBase64,
    BadPicture,
    BrokenPicture,
    NoInput,
    NotAPicture,
    PictureTooLarge,
    TooManyFiles,
    WrongFormat,
)
from shared.imaging import archives, formats, jpeg, opening, pixels
from shared.imaging.formats import media_type as media_type  # noqa: PLC0414  # the callers need one module only

# Metadata of uploads must not fill the log, nor the registry of warnings, which keeps every new text for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Each picture lies in one block of memory, so that its pixels can be handed on without a copy, and the last two blocks
# are used again: getting 48 MB from the system for each photo of 12 megapixels takes as long as decoding it. Of the
# usual 16 MB blocks such a photo needs three. At most twice the largest picture is kept, until a smaller one comes.
_memory: Any = vars(Image)["core"]  # which Pillow's documentation names, and its types do not
_memory.set_block_size(1 << 30)
_memory.set_blocks_max(2)

_SLOW_CODECS = ("ppm", "ppm_plain", "bmp_rle")
"""Decoders that Pillow implements in Python only: 3 million pixels a second, or less."""
_SLOW_PIXELS = 1_000_000
_SLOW_BYTES = 4_000_000

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation. ImageOps.exif_transpose also rewrites the EXIF data, and fails
if that is malformed."""


def pictures(uploads: Iterable[Upload], limits: Limits) -> Iterator[Picture]:
    """Yield the checked pictures of a request in upload order, or those of its only archive; one is in memory at a
    time.

    Raises NoInput, TooManyFiles, ArchiveWithFiles, PictureTooLarge if the headers take longer than CHECKING in all, or
    what `check` and `archives.members` raise. As it is lazy, pictures may have been yielded before a later picture is
    refused.
    """
    uploads = iter(uploads)
    count = 0
    budget = _Budget(CHECKING)
    for upload in uploads:
        count += 1
        head = upload.stream.read(archives.HEAD)
        upload.stream.seek(0)
        if not head:
            raise NoInput(f"{upload.prefix}The part {upload.name!r} is empty. Send the bytes of a picture in it.")
        if not formats.recognise(head) and (sort := archives.kind(head)):
            if count > 1 or next(uploads, None):
                raise ArchiveWithFiles(
                    f"{upload.prefix}The archive {upload.name!r} must be the only file. Send it by itself."
                )
            yield from _unpacked(upload, sort, limits, budget)
            return
        if count > limits.max_files:
            raise TooManyFiles(f"At most {limits.max_files} pictures are taken in one job. Send the others in another.")
        yield _checked(upload, limits, budget)
    if not count:
        raise NoInput


CHECKING = 30.0
"""Seconds of CPU time for the headers of all pictures of one request; those of ten thousand photos take two."""


class _Budget:
    """The CPU time that is left to one request for the headers of its pictures."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def check(self, name: str, data: bytes, limits: Limits) -> Picture:
        """Check a picture as `check` does; raises PictureTooLarge if no time is left."""
        if self._left <= 0:
            raise PictureTooLarge(
                f"The headers of the pictures before {name!r} take {CHECKING:g} s to read, which is all that one "
                "request gets. Save them anew, or send fewer at once."
            )
        began = time.thread_time()
        picture = check(name, data, limits)
        self._left -= time.thread_time() - began
        return picture


def _checked(upload: Upload, limits: Limits, budget: _Budget) -> Picture:
    """Return the picture of an upload; of several uploads, the error of one says which it is."""
    try:
        return budget.check(upload.name, upload.stream.read(limits.max_bytes + 1), limits)
    except BadPicture as error:
        if not upload.place:
            raise
        placed = type(error)(f"{upload.prefix}{error.message}")
        placed.place = upload.place
        raise placed from error


def _unpacked(upload: Upload, sort: str, limits: Limits, budget: _Budget) -> Iterator[Picture]:
    if sort not in archives.TAKEN:
        raise BadArchive(f"{upload.name!r} is a {sort} archive. Send {archives.TAKEN_NAMES}.")
    for name, data in archives.members(
        upload.stream,
        max_files=limits.max_files,
        max_unpacked=limits.max_unpacked,
        max_member=limits.max_bytes,
        folders=limits.archive_folders,
    ):
        try:
            yield budget.check(name, data, limits)
        except BadPicture as error:
            error.place = name
            raise


def check(name: str, data: bytes, limits: Limits) -> Picture:
    """Check a picture by its header and return it; its pixels are not decoded.

    Raises NotAPicture, WrongFormat, BrokenPicture (header cannot be read) or PictureTooLarge.
    """
    if not data:
        raise NotAPicture(f"{name!r} is empty. Send the bytes of a picture.")
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(f"{name!r} has more than the allowed {exactly(limits.max_bytes)}. Make it smaller.")
    accepted = ", ".join(sorted(limits.formats))
    kind = formats.recognise(data)
    if not kind:
        raise NotAPicture(f"{name!r} is not a picture in a known format. Send one of {accepted}.")
    if kind not in limits.formats:
        raise WrongFormat(f"{name!r} {formats.refusal(kind, limits.formats)}")
    try:
        image = opening.opened(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = next(iter(re.findall(r"\d+", str(error))), "too many")
        raise PictureTooLarge(_pixels(f"{name!r} has {count} pixels", limits)) from error
    except opening.TooManyParts:
        raise PictureTooLarge(f"{name!r} consists of too many small parts to be read quickly. Save it anew.") from None
    except Exception as error:  # Pillow raises nearly everything on hostile headers
        raise BrokenPicture(f"{name!r} begins like {kind}, but its header cannot be read{_reason(error)}.") from error
    _check_size(name, image, len(data), limits)
    if kind == "JPEG" and jpeg.has_more_scans(data, most := _max_scans(image.width * image.height)):
        size = f"{image.width} x {image.height} pixels"
        raise PictureTooLarge(f"{name!r} is a JPEG of {size} in more than {most} scans. Save it anew.")
    return Picture(name, data, kind, image.width, image.height)


_MAX_SCANNED = 1_200_000_000
"""Maximum pixels, times scans, of a JPEG; each scan is a pass over all pixels, and 92 bytes are enough for one."""
_USUAL_SCANS = 16
"""Scans that a JPEG of any size may have; a progressive JPEG has about ten."""
_MAX_SCANS = 100


def _max_scans(size: int) -> int:
    """Return the maximum scans of a JPEG of so many pixels; it then decodes in about a second."""
    return max(_USUAL_SCANS, min(_MAX_SCANS, _MAX_SCANNED // size))


def _check_size(name: str, image: ImageFile.ImageFile, size: int, limits: Limits) -> None:
    width, height = image.size
    shape = f"{name!r} is {width} x {height} pixels"
    if width * height > limits.max_pixels:
        raise PictureTooLarge(_pixels(f"{shape}, {width * height} in all", limits))
    if limits.max_side and max(width, height) >= limits.max_side:
        raise PictureTooLarge(f"{shape}; both sides must stay under {limits.max_side}. Shrink it.")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise PictureTooLarge(f"{shape}; one side may be at most {limits.max_aspect:g} times the other. Crop it.")
    slow = image.tile and image.tile[0].codec_name in _SLOW_CODECS
    if slow and (width * height > _SLOW_PIXELS or size > _SLOW_BYTES):
        raise PictureTooLarge(f"{shape}, in a variant of its format that is slow to decode. Save it as PNG.")


def _pixels(finding: str, limits: Limits) -> str:
    return f"{finding}; at most {limits.max_pixels} are allowed. Shrink it."


def _reason(error: Exception) -> str:
    """Return Pillow's reason as a part of a sentence; empty if it has none or contains the address of an object."""
    text = " ".join(str(error).split()).rstrip(".")
    return f" ({text})" if text and "0x" not in text and not isinstance(error, KeyError) else ""


def is_data_url(text: str) -> bool:
    """Return whether a text in place of a URL holds the picture itself: `data:image/png;base64,...`."""
    return text.lstrip()[:5].lower() == "data:"


def from_base64(text: str) -> bytes:
    """Decode standard or URL-safe base64, with or without a `data:` prefix, whitespace and padding.

    Raises BadBase64 on any other character, a length that base64 never has, or an empty text.
    """
    if is_data_url(text):
        prefix, _, text = text.partition(",")
        if not prefix.strip().lower().endswith(";base64"):
            raise BadBase64("The data URI is not in base64. Give one like `data:image/png;base64,...`.")
        text = unquote(text)  # as in every URL
    try:
        # Not the altchars of b64decode: with them, characters of the standard alphabet are silently dropped.
        plain = "".join(text.split()).replace("-", "+").replace("_", "/")
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadBase64(f"The text is not valid base64 ({error}). Encode the bytes of the picture again.") from None
    if not data:
        raise BadBase64("The base64 text is empty. Give the bytes of a picture.")
    return data


def decode(
    data: bytes,
    *,
    exif: bool,
    mode: str,
    background: pixels.Colour | None = None,
    apply_profile: bool = False,
    at_least: int = 0,
    mend: bool = True,
) -> Image.Image:
    """Decode the pixels of a picture in `mode` (`RGB` or `L`), 8 bits each; the first frame of an animation.

    No other function decodes pixels or applies the EXIF orientation (the orientation of TIFF and HEIC is part of the
    format: Pillow and libheif apply it in any case).

    Without a `background`, which is three values from 0 to 255, alpha is dropped, and what is transparent has whatever
    colour lies below. With `apply_profile`, colours are converted to sRGB by the embedded profile. Without both, equal
    to Pillow's `convert`, as in torchvision's reference, except for pixels of more than 8 bits, which `convert` would
    clip to white. With `at_least`, a large JPEG is decoded to a fraction of its size, with at least so many pixels a
    side: a photo of 12 megapixels in a third of the time, but with other pixels. Without `mend`, a picture that would
    have to be decoded several times, since it lacks its end mark, is broken. Raises BrokenPicture.
    """
    depth = data[_PNG_DEPTH] if data[:4] == b"\x89PNG" and len(data) > _PNG_DEPTH else 8
    try:
        image = opening.loaded(data, at_least, mend=mend)
        method = _UPRIGHT.get(_orientation(image)) if exif else None
        result = pixels.converted(image, mode, depth=depth, background=background, profile=apply_profile)
        return result.transpose(method) if method is not None else result
    except opening.TooManyParts:
        raise BrokenPicture("The picture consists of too many small parts to be read quickly. Save it anew.") from None
    except Exception as error:  # Pillow raises nearly everything on hostile files
        raise BrokenPicture(f"The picture is damaged and cannot be decoded{_reason(error)}. Save it anew.") from error


def release_memory() -> None:
    """Return the memory that is kept for the next picture, in processes that seldom decode one."""
    _memory.clear_cache()


_PNG_DEPTH = 24
"""Place of the bits of one sample in the header of a PNG."""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001  # unreadable metadata means no rotation, not an error
        return 1
