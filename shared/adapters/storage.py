"""Blobs behind an fsspec URL: a folder, or an object store; nothing here knows what a blob means."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO

import fsspec

from shared import errors


class Writer:
    """Appends to a blob that is being written and says where each part begins."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0

    def write(self, data: bytes) -> int:
        """Append; the offset at which `data` begins, bytes."""
        start = self._offset
        self._file.write(data)
        self._offset += len(data)
        return start


class Storage:
    def __init__(self, url: str) -> None:
        """Raises Unavailable when the URL cannot be used, ValueError when its kind is unknown."""
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in _protocols(self._fs)
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    @staticmethod
    def dated(kind: str, name: str, now: float) -> str:
        """A key such as `jobs/2026-11-21/NAME`: with one folder per day, who looks for orphans lists two at most."""
        return f"{kind}/{datetime.fromtimestamp(now, UTC):%Y-%m-%d}/{name}"

    @contextmanager
    def writing(self, key: str) -> Iterator[Writer]:
        """A new blob; leaving by an error removes what was written."""
        path = self._path(key)
        try:
            with _answering():
                self._make_folder(path)
                file = self._fs.open(path, "wb")
            with file:
                yield Writer(file)
        except BaseException as error:
            self.delete(key)
            if isinstance(error, OSError):
                raise _away(error) from error
            raise

    def write(self, key: str, data: bytes) -> None:
        """A whole blob; one of that name is replaced by it, at once or not at all."""
        if not self._local:  # an object store shows an object when all of it is there
            with self.writing(key) as blob:
                blob.write(data)
            return
        part = f"{key}.{secrets.token_hex(4)}"
        with self.writing(part) as blob:
            blob.write(data)
        with _answering():
            os.replace(self._path(part), self._path(key))

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes `offset` to `offset + size`; raises FileNotFoundError, Unavailable."""
        with _answering():
            if self._local:  # a plain read: fsspec's own costs three times as much for a small picture
                with open(self._path(key), "rb") as file:
                    file.seek(offset)
                    return file.read(-1 if size is None else size)
            # By their names: after the path, S3's takes a version first.
            end = None if size is None else offset + size
            return bytes(self._fs.cat_file(self._path(key), start=offset, end=end))

    def fetch_to(self, key: str, path: str) -> None:
        """Copy a blob to a local file."""
        with _answering():
            self._fs.get_file(self._path(key), path)

    def put_from(self, path: str, key: str) -> None:
        """Copy a local file to a blob."""
        with _answering():
            self._make_folder(self._path(key))
            self._fs.put_file(path, self._path(key))

    def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is removed already."""
        with _answering(), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def list(self, folder: str) -> list[str]:
        """Keys right below a folder; none when there is no such folder."""
        with _answering():
            try:
                found = self._fs.ls(self._path(folder), detail=False, refresh=True)
            except FileNotFoundError:
                return []
        return [f"{folder}/{posixpath.basename(str(path).rstrip('/'))}" for path in found]

    def tree(self, folder: str) -> Iterator[tuple[str, int]]:
        """Key and bytes of all files below a folder, however deep, in order; none when there is no such folder.

        Local links are passed over, and a folder that is one has no files: they may lead outside.
        """
        left = [] if self._local and os.path.islink(self._path(folder)) else [folder]
        while left:
            here = left.pop()
            try:
                with _answering():
                    found = self._fs.ls(self._path(here), detail=True, refresh=True)
            except FileNotFoundError:
                continue
            named = {str(entry["name"]).rstrip("/"): entry for entry in found}
            named.pop(self._path(here), None)  # an object store may list the folder in itself
            keys = {f"{here}/{posixpath.basename(name)}": entry for name, entry in sorted(named.items())}
            yield from ((key, int(entry["size"])) for key, entry in keys.items() if entry["type"] == "file")
            left += [key for key, entry in reversed(keys.items()) if entry["type"] == "directory"]

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _make_folder(self, path: str) -> None:
        folder = posixpath.dirname(path)
        if folder not in self._folders:
            self._fs.makedirs(folder, exist_ok=True)
            with self._lock:
                self._folders.add(folder)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _away(error) from error


def _away(error: OSError) -> errors.Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.StorageFull()
    return errors.Unavailable(f"The storage of pictures does not answer ({error.strerror or error}); try again soon.")


def _protocols(filesystem: object) -> tuple[str, ...]:
    protocol = getattr(filesystem, "protocol", ())
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
