"""Storage keeps blobs behind an fsspec URL, a folder or an object store, whatever their contents.

A missing blob is believed only while the storage itself is there: a folder that was unmounted or renamed has none of
its blobs, and would make every picture look removed. So the storage of an installation holds a file, its marker, and
the database knows that there is one.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TypeVar

import fsspec

from shared import errors

T = TypeVar("T")

MARKER = "inferq-storage.txt"
"""The key of the marker. It has no dot in front, so that `cp blobs/*` copies it as well."""
_MARKER_TEXT = b"""\
inferq knows its storage by this file. While it is missing, inferq takes the storage to be away, and waits for it.
"""
_CLIENTS = ("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "s3fs")
"""Packages through which fsspec talks to object stores."""
_CONNECTING, _SILENCE, _ATTEMPTS = 5.0, 30.0, 2
"""Seconds that a request to S3 waits for a connection, and for the next byte; and how often s3fs tries it, and tries a
read that consists of requests."""
LISTED_AT_ONCE = 500
"""Keys of a page of a listing."""
_PIECE = 4 * 1024 * 1024
"""Bytes of a piece of a blob that is read bit by bit."""


@dataclass(frozen=True)
class MarkerRecord:
    """What is known outside the storage: whether it has been given its marker, and whether it should hold blobs."""

    is_set: Callable[[], bool]
    set: Callable[[], None]
    expects_blobs: Callable[[], bool] = lambda: False


class Writer:
    """An open blob to append to; it reports the offset of each part."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0

    @property
    def size(self) -> int:
        """The bytes that have been written."""
        return self._offset

    def write(self, data: bytes) -> int:
        """Append `data` and return the offset, in bytes, at which it begins."""
        start = self._offset
        self._file.write(data)
        self._offset += len(data)
        return start


class Storage:
    """The blobs below one URL, addressed by keys such as `jobs/2026-11-21/NAME`."""

    def __init__(self, url: str, *, durability: str = "process", record: MarkerRecord | None = None) -> None:
        """Open the storage; `durability` is the setting of that name. Without a `record` it is a store that others
        fill, which has no marker.

        Raises Unavailable when the URL cannot be used, ValueError when its protocol is unknown.
        """
        self._record = record
        self._is_known = record is None
        """True once the marker was seen in its place."""
        self._fs, self._root = _open(url)
        self._local = "file" in _protocols(self._fs)
        self._syncs = self._local and durability == "power"
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    @staticmethod
    def dated(kind: str, name: str, now: float) -> str:
        """Return a key such as `jobs/2026-11-21/NAME`; with one folder per day, a search for orphans lists at most two
        folders."""
        return f"{kind}/{datetime.fromtimestamp(now, UTC):%Y-%m-%d}/{name}"

    def ping(self) -> None:
        """Raise Unavailable unless the storage is there; that of a new installation is made."""
        with _answering():
            self._know()
            self._must_be_there()

    def free(self) -> int | None:
        """Return how many bytes the disk of a folder has left; None for other storages. Raises Unavailable."""
        with _answering():
            self._must_be_there()
            return shutil.disk_usage(self._root).free if self._local else None

    @contextmanager
    def writing(self, key: str) -> Iterator[Writer]:
        """Open a new blob for writing; an exception inside the block removes it again. Raises Unavailable or
        StorageFull."""
        path = self._path(key)
        try:
            with _answering():
                self._make_folder(path)
                file = self._fs.open(path, "wb")
            with file:
                yield Writer(file)
                if self._syncs:
                    with _answering():
                        file.flush()
                        os.fsync(file.fileno())
            if self._syncs:
                _sync(posixpath.dirname(path))
        except BaseException as error:
            with contextlib.suppress(errors.Unavailable):  # maintenance removes what is left
                self.delete(key)
            if isinstance(error, OSError) or _is_of_a_client(error):
                raise _away(error) from error
            raise

    def write(self, key: str, data: bytes) -> None:
        """Write a whole blob atomically; an existing blob of that key is replaced."""
        if not self._local:  # an object store shows an object only when it is complete
            with self.writing(key) as blob:
                blob.write(data)
            return
        try:
            self._replace(key, data)
        except FileNotFoundError:  # who deletes all blobs of a folder at that moment has deleted the part as well
            with _writing():
                self._replace(key, data)

    def _replace(self, key: str, data: bytes) -> None:
        part = f"{key}.{secrets.token_hex(4)}"
        with self.writing(part) as blob:
            blob.write(data)
        with _answering():
            os.replace(self._path(part), self._path(key))
            if self._syncs:
                _sync(posixpath.dirname(self._path(key)))

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        """Return the bytes `offset` to `offset + size` of a blob; raises FileNotFoundError, Unavailable."""
        return self._look(lambda: self._read(key, offset, size))

    def _read(self, key: str, offset: int, size: int | None) -> bytes:
        if self._local:  # a plain read: fsspec's own takes three times as long for a small picture
            with open(self._path(key), "rb") as file:
                file.seek(offset)
                return file.read(-1 if size is None else size)
        # As keyword arguments: the second positional parameter of s3fs is a version id.
        end = None if size is None else offset + size
        return bytes(self._fs.cat_file(self._path(key), start=offset, end=end))

    def size(self, key: str) -> int:
        """Return the number of bytes of a blob; raises FileNotFoundError, Unavailable."""
        return int(self._look(lambda: self._fs.size(self._path(key))))

    def pieces(self, key: str) -> Iterator[bytes]:
        """Yield the bytes of a blob in pieces of a few megabytes; raises FileNotFoundError, Unavailable."""
        with self._look(lambda: self._fs.open(self._path(key), "rb")) as file, _answering():
            while piece := file.read(_PIECE):
                yield piece

    def fetch_to(self, key: str, path: str) -> None:
        """Copy a blob to a local file; raises FileNotFoundError, Unavailable."""
        self._look(lambda: self._fs.get_file(self._path(key), path))

    def put_from(self, path: str, key: str) -> None:
        """Copy a local file to a blob; raises Unavailable, StorageFull."""
        with _writing():
            self._make_folder(self._path(key))
            self._fs.put_file(path, self._path(key))
            if self._syncs:
                _sync(self._path(key))
                _sync(posixpath.dirname(self._path(key)))

    def delete(self, key: str) -> None:
        """Remove a blob; removing a blob that does not exist is not an error."""
        with contextlib.suppress(FileNotFoundError):
            self._look(lambda: self._fs.rm_file(self._path(key)))

    def pages(self, folder: str, size: int = LISTED_AT_ONCE) -> Generator[Sequence[str], None, None]:
        """Yield the keys directly below a folder, at most `size` at a time and in no order; nothing when there is no
        such folder. Of a local disk only these are in memory; an object store's client lists the whole folder."""
        with contextlib.ExitStack() as opened:
            try:
                names = self._look(lambda: self._names(self._path(folder), opened))
            except FileNotFoundError:
                return
            while names_of_page := self._next(names, size):
                yield [f"{folder}/{name}" for name in names_of_page]

    def _names(self, path: str, opened: contextlib.ExitStack) -> Iterator[str]:
        if self._local:  # fsspec's own would read all names first
            entries = opened.enter_context(os.scandir(path))
            return (entry.name for entry in entries)
        found = self._fs.ls(path, detail=False, refresh=True)
        return (posixpath.basename(str(name).rstrip("/")) for name in found)

    @staticmethod
    def _next(names: Iterator[str], size: int) -> Sequence[str]:
        with _answering():
            return tuple(islice(names, size))

    def list(self, folder: str) -> list[str]:
        """Return the keys directly below a folder; an empty list when there is no such folder."""
        return [key for page in self.pages(folder) for key in page]

    def tree(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield key and size in bytes of all files below a folder, at any depth, in order; nothing when there is no
        such folder.

        Symbolic links on a local disk are skipped, and a folder that is a link counts as empty: links may lead outside.
        """
        folders = [] if self._local and os.path.islink(self._path(folder)) else [folder]
        while folders:
            current = folders.pop()
            try:
                listing = self._look(partial(self._fs.ls, self._path(current), detail=True, refresh=True))
            except FileNotFoundError:
                continue
            named = {str(entry["name"]).rstrip("/"): entry for entry in listing}
            named.pop(self._path(current), None)  # an object store may list a folder as an entry of itself
            keys = {f"{current}/{posixpath.basename(name)}": entry for name, entry in sorted(named.items())}
            yield from ((key, int(entry["size"])) for key, entry in keys.items() if entry["type"] == "file")
            folders += [key for key, entry in reversed(keys.items()) if entry["type"] == "directory"]

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _look(self, step: Callable[[], T]) -> T:
        """Return the result of `step`; raises FileNotFoundError only if the storage is there and lacks the blob."""
        with _answering():
            self._know()
            try:
                return step()
            except FileNotFoundError:
                self._must_be_there()
                return step()  # it may have come back in between

    def _know(self) -> None:
        """Mark a new storage, before its first use by this process; raises Unavailable if one that was marked, or used
        by a release without markers, is away."""
        if self._is_known or self._record is None:
            return
        was_marked = self._record.is_set()
        if not was_marked and not self._has_marker():
            if self._is_empty() and self._record.expects_blobs():  # most likely the place of one that is not mounted
                raise errors.Unavailable(
                    f"The storage of pictures does not answer (it is empty, though the database knows of blobs: mount "
                    f"it; or, if they are lost, make the file {MARKER} in it); try again soon."
                )
            self._mark()
        self._must_be_there()
        if not was_marked:
            self._record.set()
        self._is_known = True

    def _must_be_there(self) -> None:
        """Raise Unavailable unless the storage is in its place."""
        if self._record is not None and not self._has_marker():
            raise errors.Unavailable(
                f"The storage of pictures does not answer (its file {MARKER} is missing: is it mounted?); try again "
                "soon."
            )
        if self._record is None and self._local and not os.path.isdir(self._root):
            raise errors.Unavailable("The storage of pictures does not answer (its folder is missing); try again soon.")

    def _has_marker(self) -> bool:
        try:
            self._fs.cat_file(self._path(MARKER))
        except FileNotFoundError:
            return False
        return True

    def _is_empty(self) -> bool:
        try:
            names = self._fs.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:
            return True
        return not [name for name in names if str(name).rstrip("/") != self._root]  # an object store may list the root

    def _mark(self) -> None:
        self._fs.makedirs(self._root, exist_ok=True)
        self._fs.pipe_file(self._path(MARKER), _MARKER_TEXT)
        if self._local:  # whatever the durability: after a power cut the database would know of a marker that is lost
            _sync(self._path(MARKER))
            _sync(self._root)

    def _folders_above(self, folder: str) -> Iterator[str]:
        """Yield the folders that hold the names on the way to this one, up to that of the root, if it may be read."""
        while len(folder) > len(self._root):
            folder = posixpath.dirname(folder)
            yield folder
        if os.access(posixpath.dirname(self._root), os.R_OK):
            yield posixpath.dirname(self._root)

    def _make_folder(self, path: str) -> None:
        folder = posixpath.dirname(path)
        if folder not in self._folders:
            self._know()
            if self._record is not None:  # else the root of a storage that is away would be made as well
                self._must_be_there()
            self._fs.makedirs(folder, exist_ok=True)
            # Each of them may be new, by this process or by another, which may not have synced it yet.
            for each in self._folders_above(folder) if self._syncs else ():
                _sync(each)
            with self._lock:
                self._folders.add(folder)


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    S3 counts as away after two minutes of silence, unless fsspec's own configuration has `config_kwargs`. By default
    botocore sends a request five times, of a minute each, and s3fs does all of that five times: a server that hangs
    would hold each thread for 25 minutes. s3fs alone repeats here, since it goes on with a download that was cut.
    """
    options: dict[str, Any] = {}
    if url.startswith(("s3://", "s3a://")) and "config_kwargs" not in fsspec.config.conf.get("s3", {}):
        retries = {"total_max_attempts": 1, "mode": "standard"}
        options["config_kwargs"] = {"connect_timeout": _CONNECTING, "read_timeout": _SILENCE, "retries": retries}
    filesystem, root = fsspec.core.url_to_fs(url, **options)
    if options:
        filesystem.retries = _ATTEMPTS
    return filesystem, root


def _sync(path: str) -> None:
    """Wait until the bytes of a local file, or the names in a local folder, are on the disk."""
    with _answering():
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def _answering() -> Iterator[None]:
    """Raise Unavailable or StorageFull in place of any OSError inside the block, except FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if isinstance(error, OSError) or _is_of_a_client(error):
            raise _away(error) from error
        raise


@contextmanager
def _writing() -> Iterator[None]:
    """As `_answering`; a folder that is missing where a blob is to be written is an error of the storage."""
    try:
        with _answering():
            yield
    except FileNotFoundError as error:
        raise _away(error) from error


def _is_of_a_client(error: BaseException) -> bool:
    """Return True for an error of an object store's client that is no OSError, such as botocore's for a server that
    cannot be reached."""
    return type(error).__module__.partition(".")[0] in _CLIENTS


def _away(error: BaseException) -> errors.Unavailable:
    """Return the error of the domain for one of the storage: StorageFull where there is no space, else Unavailable."""
    if errors.is_disk_full(error):
        return errors.StorageFull()
    reason = getattr(error, "strerror", None) or error
    return errors.Unavailable(f"The storage of pictures does not answer ({reason}); try again soon.")


def _protocols(filesystem: object) -> tuple[str, ...]:
    """Return the protocol names of an fsspec filesystem."""
    protocol = getattr(filesystem, "protocol", ())
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
