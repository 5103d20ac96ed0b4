"""JPEGs: the scans of a picture are counted up to its end, and one that lacks only its end mark is completed."""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Iterator

from PIL import Image, ImageFile

_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
"""A marker with a length behind it, or the end. Others have none: 00 is data, 01 and D0 to D8 are markers by
themselves. Equal to what libjpeg searches for, behind a segment as well as within a scan."""

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_PROGRESSIVE = (0xC2, 0xCA)
_TABLES = (0xC4, 0xC8, 0xCC)
"""Markers between the frame headers C0 to CF that are none."""

_MAX_SEGMENTS = 100_000
"""Maximum segments that are walked; a photo has about twenty, and Pillow takes longer for them than the walk."""

_MAX_WORK = 200_000_000
"""Maximum pixels, times scans, of a picture that is completed: 20 times a usual photo. It is decoded several times."""

_PADDING = bytes(64)
"""Zeros as a file of an interrupted copy ends with; they decode as if they were pixels, so nothing can be shown."""

_NOISES = tuple(bytes(random.Random(seed).choices(range(1, 255), k=4096)) for seed in range(8))  # noqa: S311
"""Noise without marks, each longer than the largest block of pixels. Two of them are not enough to tell what is missing
from what does not show: of pictures of the best quality that lack their last ten bytes, one in 80 passed for whole, and
none with eight."""


def has_more_scans(data: bytes, most: int) -> bool:
    """Return True if the picture has more than `most` scans; what lies behind its end does not count.

    Phones append a video to a photo, cameras raw data, and both hold bytes that look like scans. The same is true of
    the small pictures in the metadata. Photos are not walked: they do not hold these two bytes so often.
    """
    if data.count(_SCAN) <= most:
        return False
    scans = 0
    for number, (marker, _, _) in enumerate(_segments(data)):
        scans += marker == _SCAN[1]
        if scans > most or number > _MAX_SEGMENTS:
            return True
    return False


def completed(data: bytes) -> ImageFile.ImageFile | None:
    """Decode a JPEG that ends without its end mark; None if a part of its pixels is missing too.

    It is decoded with the end mark behind it, and again with noise in between: where pixels are missing, the noise is
    taken for them, and they change. LOAD_TRUNCATED_IMAGES instead would give grey for what is missing.
    """
    body = data.rstrip(b"\xff")  # the first half of a mark
    if body.endswith(_PADDING) or not (scans := _complete_scans(body)):
        return None
    image = Image.open(io.BytesIO(body + _END), formats=("JPEG",))
    work = image.width * image.height * scans
    if work > _MAX_WORK:
        return None
    image.load()
    whole, restart = _digest(image), _next_restart(body)
    for noise in _NOISES[: max(2, 2 * _MAX_WORK // work)]:
        if _digest(_decoded(body + noise + restart + noise + _END)) != whole:
            return None
    return image


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, begin, end) of the content of each segment, up to the end of the picture."""
    at = 0
    while match := _MARKER.search(data, at):
        begin = match.end() + 2
        marker, length = data[begin - 3], int.from_bytes(data[begin - 2 : begin], "big")
        if marker == _END[1]:
            return
        at = max(begin, begin - 2 + length)
        yield marker, begin, at


def _complete_scans(data: bytes) -> int:
    """Return the number of scans; 0 unless they give the last bit of every coefficient. A progressive JPEG that is cut
    between two scans decodes without any sign of damage."""
    frame, components, scans = 0, b"", 0
    lowest: dict[tuple[int, int], int] = {}
    for number, (marker, begin, end) in enumerate(_segments(data)):
        if number > _MAX_SEGMENTS:
            return 0
        if 0xC0 <= marker <= 0xCF and marker not in _TABLES:
            frame, components = marker, data[begin:end][6::3]
        elif marker == _SCAN[1]:
            scans += 1
            lowest |= _bits(frame, data[begin:end])
    every = components and all(lowest.get((name, k)) == 0 for name in components for k in range(64))
    return scans if every else 0


def _bits(frame: int, scan: bytes) -> dict[tuple[int, int], int]:
    """Return the lowest bit that a scan gives of each (component, coefficient); empty for a damaged header."""
    count = scan[0] if scan else 0
    names, rest = scan[1 : 1 + 2 * count : 2], scan[1 + 2 * count :]
    if len(rest) < 3:
        return {}
    first, last, low = (rest[0], rest[1], rest[2] & 15) if frame in _PROGRESSIVE else (0, 63, 0)
    return {(name, k): low for name in names for k in range(first, min(last, 63) + 1)}


def _next_restart(data: bytes) -> bytes:
    """Return the restart mark that would come next: what is missing may begin with it, and is looked for by it."""
    place, number = max((data.rfind(bytes((0xFF, 0xD0 + number))), number) for number in range(8))
    following = (number + 1) % 8 if place > data.rfind(_SCAN) else 0
    return bytes((0xFF, 0xD0 + following))


def _decoded(data: bytes) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _digest(image: Image.Image) -> bytes:
    """Return a hash of the pixels, so that only one picture is in memory at a time."""
    digest = hashlib.blake2b()
    for top in range(0, image.height, 256):
        digest.update(image.crop((0, top, image.width, min(top + 256, image.height))).tobytes())
    return digest.digest()
