"""TIFFs: the numbers in the header are counted before Pillow makes a list of them."""

from __future__ import annotations

import struct

_MAX_VALUES = 20_000
"""Maximum numbers behind one tag. A picture of 64 million pixels has 8000 rows, and seldom a place for each; Pillow
makes an object for each place: for four million tiles of 2 x 2 pixels that takes 25 seconds."""

_BYTES = (1, 2, 6, 7)
"""Types of tags that are kept as bytes: no object is made for each of these."""


def has_many_values(data: bytes) -> bool:
    """Return True if a tag of the first picture has more than _MAX_VALUES numbers."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    head, entry = (f"{order}Q", f"{order}HHQ8x") if is_big else (f"{order}H", f"{order}HHI4x")
    try:
        (at,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", data, 8 if is_big else 4)
        (count,) = struct.unpack_from(head, data, at)
    except struct.error:  # Pillow says what is wrong with it
        return False
    begin = at + struct.calcsize(head)
    size = struct.calcsize(entry)
    last = min(count, (len(data) - begin) // size, _MAX_VALUES)
    return any(
        values > _MAX_VALUES and kind not in _BYTES
        for _, kind, values in (struct.unpack_from(entry, data, begin + number * size) for number in range(last))
    )
