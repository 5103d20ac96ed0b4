"""Pictures as they arrive: uploads, checked pictures, and the limits that a wire sets for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

ALL_FORMATS = frozenset({"JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF", "PPM"})
"""Pillow's names. MPO, the many-picture JPEG of cameras, counts as JPEG; DIB, a BMP without its head, is not taken."""


@dataclass(frozen=True)
class Limits:
    """What one wire takes."""

    max_bytes: int
    """Bytes of one picture."""
    max_pixels: int
    """Pillow's own guard stays on behind it and refuses what has more than 178 million: some formats allocate the
    whole canvas when only the header is asked for (a GIF its background)."""
    max_aspect: float
    """Longer side over shorter side."""
    max_files: int
    max_unpacked: int
    """Bytes of all members of an archive."""
    max_side: int = 0
    """Every side must stay under this many pixels; 0 is no limit."""
    formats: frozenset[str] = ALL_FORMATS


@dataclass(frozen=True)
class Upload:
    """One file as it arrived; whether it is a picture or an archive is not known yet."""

    name: str
    stream: BinaryIO


@dataclass(frozen=True)
class Picture:
    """One checked picture; its pixels have not been decoded."""

    name: str
    data: bytes
    format: str
    """One of ALL_FORMATS."""
    width: int
    """Pixels as stored, before the EXIF orientation is applied."""
    height: int
