"""Pictures as they arrive: uploads, checked pictures, and the limits that a wire sets for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

ALL_FORMATS = frozenset({"JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF", "HEIC", "PPM"})
"""Pillow's format names, except for HEIC, which it calls by the name of its structure, HEIF. MPO, a JPEG of several
pictures from cameras, counts as JPEG; DIB, a BMP without file header, is not accepted."""


@dataclass(frozen=True)
class Limits:
    """The limits of one wire."""

    max_bytes: int
    """Bytes of one picture."""
    max_pixels: int
    """Pixels of one picture. Pillow's limit stays active as well and refuses more than 178 million: some formats
    allocate the whole canvas when only the header is read (GIF for its background)."""
    max_aspect: float
    """Longer side over shorter side."""
    max_files: int
    max_unpacked: int
    """Bytes of all members of an archive."""
    max_side: int = 0
    """Every side must stay under this many pixels; 0 is no limit."""
    formats: frozenset[str] = ALL_FORMATS
    archive_folders: bool = True
    """True if all pictures of an archive may lie in one folder, and attributes from macOS beside it; False where the
    contract of the wire refuses every folder."""


@dataclass(frozen=True)
class Upload:
    """A file as it arrived; it may be a picture or an archive."""

    name: str
    stream: BinaryIO
    place: str = ""
    """Which part of the request it is, as `files[1]`; empty if it is the only one."""

    @property
    def prefix(self) -> str:
        """The beginning of an error about this upload."""
        return f"{self.place}: " if self.place else ""


@dataclass(frozen=True)
class Picture:
    """A checked picture; its pixels have not been decoded."""

    name: str
    data: bytes
    format: str
    """One of ALL_FORMATS."""
    width: int
    """Pixels as stored, before the EXIF orientation is applied."""
    height: int


def show_bytes(name: str) -> str:
    """Return a name in which the bytes that could not be decoded, which are surrogates, are written as `%81`."""
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", name)


def name_in_url(url: str) -> str:
    """Return the name of a file behind a URL: the last part of its path, decoded; empty if the path has no name.

    The query and the fragment never belong to it: they hold signatures and tokens, and names are stored and shown.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    # Decoded before it is divided: an escaped slash divides folders too, as object stores write it.
    name = re.split(r"[/\\]", unquote(path).rstrip("/"))[-1]
    # Neither NUL nor unpaired surrogates can be stored, and line breaks would divide messages.
    return re.sub("[\0-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", name)
