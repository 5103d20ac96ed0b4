"""Exports of model versions: downloaded as a zip, and unpacked into a folder."""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from inferq.client import http
from inferq.client.connection import UPLOAD, Connection
from inferq.errors import BadAnswer, InferqError, InferqHTTPError

Progress = Callable[[int], object]
"""Called with the bytes that have arrived; 0 while the server converts the weights."""
_NOT_READY = "model_not_ready"
_PAUSE = 2.0
"""Seconds between two requests while the server converts the weights."""
_LONGEST = 1800.0
"""Seconds after which a conversion is no longer waited for."""


async def download(connection: Connection, path: str, folder: Path, progress: Progress) -> Path:
    """Write the export at `path` into a folder, which may exist if it is empty; returns the folder.

    Raises InferqError if it is not empty, OSError if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InferqError(f"{folder} exists and is not an empty folder; nothing was written")
    with tempfile.TemporaryFile() as file:  # unpacked only when it is complete
        await _fetch(connection, path, file, progress)
        try:
            await connection.runtime.call(lambda: _unpack(file, folder))
        except zipfile.BadZipFile as error:
            raise BadAnswer(f"the server's answer is not a complete zip ({error}); try again") from None
    return folder


async def _fetch(connection: Connection, path: str, file: BinaryIO, progress: Progress) -> None:
    """Write the zip into the file, as soon as the server has the weights in that format."""
    until = time.monotonic() + _LONGEST
    while True:
        try:
            async with connection.stream(path, timeout=UPLOAD) as response:
                async for part in connection.runtime.chunks(response, 1024 * 1024):
                    file.write(part)
                    progress(file.tell())
            return
        except InferqHTTPError as error:
            if error.code != _NOT_READY or time.monotonic() > until:
                raise
        progress(0)
        await connection.runtime.sleep(_PAUSE)


def _unpack(file: BinaryIO, folder: Path) -> None:
    """Write the files of the zip into the folder; names with a folder in them are refused."""
    with zipfile.ZipFile(file) as packed:
        names = packed.namelist()
        if any(Path(name).name != name for name in names):
            raise BadAnswer("the server's zip has folders, which an export has not")
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            packed.extract(name, folder)


def export_path(name: str, version: str, format: str) -> str:
    """Return the path of an export."""
    return f"/v1/models/{http.word(name)}/versions/{http.word(version)}/export?format={http.word(format)}"
