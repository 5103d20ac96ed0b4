"""The sources of a map: how each is read, and which of them are sent together as one job."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inferq.client import pictures
from inferq.client.pictures import Picture
from inferq.errors import InferqError
from shared.schemas.jobs import PictureError

BATCH = 64
"""Most pictures of one job: enough for full batches of a worker, and few enough to see them end."""
BATCH_BYTES = 16 * 1024 * 1024
_BATCH_URLS = 16
"""Most URLs of one job, whose pictures the server fetches before it answers."""
_ARCHIVES = ((0, b"PK\x03\x04"), (0, b"\x1f\x8b"), (0, b"BZh"), (0, b"\xfd7zXZ\0"), (257, b"ustar"))
"""(offset, bytes) by which the archives are recognised that the server takes; each must be the only file of its job."""


@dataclass(frozen=True)
class Source:
    """A picture, or an archive, that is to be sent."""

    file: str
    """How the caller names it."""
    picture: Picture
    """Empty in an answer, unless it is a path or URL: its bytes are let go when they were sent."""
    name: str = ""
    """Its name in the job; by default the name of its file."""


@dataclass(frozen=True)
class File:
    """A source that was read; `data` is empty for a URL, and if there is an error."""

    source: Source
    index: int
    """Which of the sources; 0 is the first."""
    data: bytes = b""
    digest: str = ""
    error: PictureError | None = None

    @property
    def kind(self) -> str:
        """Files of one kind can be sent together; an archive only alone."""
        if self.error:
            return "unreadable"
        if pictures.is_url(self.source.picture):
            return "url"
        is_archive = any(self.data.startswith(sign, at) for at, sign in _ARCHIVES)
        return "archive" if is_archive else "picture"

    @property
    def picture(self) -> Picture:
        """As it is sent."""
        return self.source.picture if self.kind == "url" else (self.name, self.data)

    @property
    def name(self) -> str:
        """Its name in the job."""
        return self.source.name or Path(self.source.file).name

    def fits(self, batch: Sequence[File]) -> bool:
        """Return True if it can be sent in one job with the files of a batch."""
        if not batch:
            return True
        most = _BATCH_URLS if self.kind == "url" else BATCH
        size = sum(len(file.data) for file in batch) + len(self.data)
        return len(batch) < most and size <= BATCH_BYTES and self.kind == batch[-1].kind != "archive"


def source_of(given: Picture | Source, index: int) -> Source:
    """Return a picture as a source, with a name."""
    if isinstance(given, Source):
        return given
    name = pictures.name_of(given) or f"picture-{index + 1}"
    return Source(name, given, name if isinstance(given, tuple) else "")


def read(source: Source, index: int) -> File:
    """Return a source with its bytes, or with the reason why it cannot be read."""
    if pictures.is_url(source.picture):
        return File(source, index)
    try:
        _, data = pictures.part(index + 1, source.picture)
    except OSError as error:
        message = f"{source.file!r} cannot be read: {error.strerror or error}."
        return File(source, index, error=PictureError(code="unreadable", message=message))
    except InferqError as error:
        return File(source, index, error=PictureError(code="unreadable", message=f"{error}."))
    # An image or array, which may be much larger than its PNG, is let go.
    kept = source if isinstance(source.picture, str | os.PathLike) else replace(source, picture=b"")
    return File(kept, index, data, hashlib.sha256(data).hexdigest())
