"""Sizes in bytes as people read them."""

from __future__ import annotations


def in_units(size: int) -> str:
    """Return a number of bytes in the largest unit of which there is at least one: `840 bytes`, `1.5 MiB`, `20 GiB`.

    Digits beyond the first after the point are cut off, so that a size never reads as more than it is.
    """
    power = _power(size)
    if not power:
        return f"{size} byte{'' if size == 1 else 's'}"
    tenths = size * 10 // 1024**power
    return f"{tenths / 10:g} {'KMGT'[power - 1]}iB"


def exactly(size: int) -> str:
    """Return a limit in bytes as `in_units` does, followed by its bytes if that is not all: `32 MiB`,
    `1.9 KiB (2,000 bytes)`."""
    return in_units(size) if size * 10 % 1024 ** _power(size) == 0 else f"{in_units(size)} ({size:,} bytes)"


def _power(size: int) -> int:
    return min(4, max(0, size.bit_length() - 1) // 10)
