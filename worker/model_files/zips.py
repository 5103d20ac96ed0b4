"""Zips are opened with a limit on their directory, which is read whole and takes ten times its bytes in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import BadWeights

_MAX_DIRECTORY = 8 * 1024 * 1024
"""Bytes of the directory of a zip. A member takes about 100, and a checkpoint has one for each tensor."""


class _Guarded(io.BufferedReader):
    """A file from which a directory of more than _MAX_DIRECTORY bytes cannot be read."""

    is_open = False
    """True once the directory has been read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.is_open and size is not None and size > _MAX_DIRECTORY:
            raise BadWeights("The zip has far more members than a model. Pack only the files of one model.")
        return super().read(size)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading; raises BadWeights for too many members, and zipfile's errors if it is damaged."""
    with _Guarded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        file.is_open = True
        yield archive
