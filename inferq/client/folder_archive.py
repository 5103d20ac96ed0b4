"""A folder of label folders as one archive, in a file that is gone when it has been sent."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from inferq.errors import InferqError

_JUNK = ("thumbs.db", "desktop.ini", "__macosx")
"""What systems leave behind in folders; the server would skip it as well."""


@contextmanager
def packed(folder: Path) -> Iterator[IO[bytes]]:
    """The folder's files as a zip, opened at its beginning; hidden files and what systems leave behind stay out.

    Stored, not compressed: pictures do not get smaller. Raises InferqError when something cannot be read or written,
    and when there is nothing to pack.
    """
    with tempfile.TemporaryFile(prefix="inferq-", suffix=".zip") as file:
        try:
            if not _pack(folder, file):
                raise InferqError(f"{folder} has no files; put pictures into it as LABEL/picture.jpg")
        except OSError as error:
            raise InferqError(f"cannot pack {error.filename or folder}: {error.strerror}") from error
        file.seek(0)
        yield file


def _pack(folder: Path, file: IO[bytes]) -> int:
    """How many files it has written."""
    count = 0
    # strict_timestamps: what is older than 1980, as files from some archives are, would be refused
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for path in _files(folder, ()):
            # A name that is not UTF-8 travels with U+FFFD, and the server says what it thinks of it.
            name = os.fsencode(path.relative_to(folder).as_posix()).decode(errors="replace")
            archive.write(path, name)
            count += 1
    return count


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """All files below it, sorted, links to folders followed: label folders are often links; `above` are its parents."""
    real = folder.resolve()
    if real in above:
        raise InferqError(f"{folder} is a link that leads back to a folder around it; take it away")
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _JUNK:
            continue
        if path.is_dir():
            yield from _files(path, (*above, real))
        elif path.is_file():
            yield path
