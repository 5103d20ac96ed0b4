"""PNGs: text and profiles that unpack to more than Pillow takes are left out, as they are no pixels."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL import PngImagePlugin

_HEADER = 8
_FRAME = 12
"""Bytes of a chunk around its content: length, kind, checksum."""

_MAX_TEXTS = 8 * 1024 * 1024
"""Maximum unpacked bytes of all texts that are kept. Some hold the orientation, which is among the first."""

_MAX_CHUNKS = 100_000
"""Maximum chunks of a PNG that is read again; it takes Pillow seconds to read millions, and would take them twice."""


def without_large_texts(data: bytes) -> bytes | None:
    """Return the PNG without the texts and the profile that Pillow refuses for their size; None if it has none.

    Raising Pillow's limits instead would hold all texts in memory, a thousand times the size of the file.
    """
    kept: list[bytes] = []
    kept_from, left = 0, _MAX_TEXTS
    for number, (kind, begin, end) in enumerate(_chunks(data)):
        if number > _MAX_CHUNKS:
            return None
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            size = _unpacked(kind, data[begin + 8 : end - 4]) if left > 0 else _MAX_TEXTS
            left -= size
            if size > PngImagePlugin.MAX_TEXT_CHUNK or left < 0:
                kept.append(data[kept_from:begin])
                kept_from = end
    return b"".join((*kept, data[kept_from:])) if kept else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, begin, end) of each whole chunk, up to the end of the picture."""
    at = _HEADER
    while at + _FRAME <= len(data):
        end = at + _FRAME + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind == b"IEND" or end > len(data):
            return
        yield kind, at, end
        at = end


def _unpacked(kind: bytes, content: bytes) -> int:
    """Return the unpacked bytes of a text or profile, counted up to just above Pillow's limit; 0 if it is damaged."""
    if kind == b"tEXt":
        return len(content)
    _, _, packed = content.partition(b"\0")
    if kind == b"iTXt":
        if packed[:1] == b"\0":
            return len(content)
        packed = packed[2:].split(b"\0", 2)[-1]  # behind flag, method, language and the translated name
    else:
        packed = packed[1:]  # behind the method
    try:
        return len(zlib.decompressobj().decompress(packed, PngImagePlugin.MAX_TEXT_CHUNK + 1))
    except zlib.error:
        return 0
