"""The folder archive: a folder of label folders as a zip in a temporary file, which is deleted after it was sent."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from inferq.errors import InferqError

_JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
"""Files and folders that operating systems create; the server would skip them as well."""


@contextmanager
def packed(folder: Path, files: Sequence[Path] | None = None) -> Iterator[IO[bytes]]:
    """Yield the folder's files as a zip, opened at its beginning, without hidden files and files of operating systems.

    With `files`, which lie below the folder, it holds only those. Stored, not compressed, because pictures do not get
    smaller. Raises InferqError if a file cannot be read or written, or there is nothing to pack.
    """
    with tempfile.TemporaryFile(prefix="inferq-", suffix=".zip") as file:
        try:
            if not _pack(folder, file, files_below(folder) if files is None else files):
                advice = (
                    ""
                    if files is not None
                    else "; put pictures into it as LABEL/picture.jpg, or with a table labels.csv"
                )
                raise InferqError(f"{folder} has no files{advice}")
        except OSError as error:
            raise InferqError(f"cannot pack {error.filename or folder}: {error.strerror}") from error
        file.seek(0)
        yield file


def _pack(folder: Path, file: IO[bytes], files: Iterable[Path]) -> int:
    """Write the zip and return the number of files."""
    count = 0
    # strict_timestamps=False: files older than 1980, which some archives contain, would be refused otherwise
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for path in files:
            # In a name that is not UTF-8, U+FFFD replaces the other bytes; the server reports such names.
            name = os.fsencode(path.relative_to(folder).as_posix()).decode(errors="replace")
            archive.write(path, name)
            count += 1
    return count


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield all files below a folder, sorted, without hidden files and files of operating systems.

    Follows links, as label folders are often links. `above` are its parents. Raises InferqError for a link that leads
    back, OSError for a folder that cannot be read.
    """
    real = folder.resolve()
    if real in above:
        raise InferqError(f"{folder} is a link that leads back to a folder around it; take it away")
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _JUNK:
            continue
        if path.is_dir():
            yield from files_below(path, (*above, real))
        elif path.is_file():
            yield path
