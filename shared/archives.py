"""Reads zip, tar and tar.gz archives of pictures one member at a time, within bounds that the archive cannot move.

    first bytes ──> zip: central directory, of bounded size ──┐
              └───> tar, tar.gz: a stream on rations ─────────┴──> flat? one level? small enough? ──> (name, bytes)

Declared sizes are never believed: what counts is what was unpacked. Nothing is written to disk.
"""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Self

from .errors import ArchiveNotFlat, BadArchive, NoInput, PictureTooLarge, TooManyFiles

HEAD = 512
"""Bytes that `kind` wants to see: one tar header."""

TAKEN = ("zip", "tar", "gzip")

_SIGNS = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)

_JUNK = ("thumbs.db", "desktop.ini")

_DIRECTORY_BYTES = 512
"""Bytes of a zip's central directory per allowed file; a usual entry has 80 to 150."""

_HEADROOM = 64 * 1024
"""Bytes of tar headers between two members, read ahead included."""

_LONG_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LONG_BYTES = 8 * 1024
"""Of one header that holds a long name or attributes. tarfile reads it whole, and before Python 3.11.10 searches it in
quadratic time: 50 KB of digits take two seconds."""


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    read: Callable[[int], bytes]
    """At most that many bytes of the content, unpacked."""


def kind(head: bytes) -> str:
    """The sort of archive that begins with these bytes (`zip`, `tar`, `gzip`, `7z`, ...), or an empty string."""
    for sign, name in _SIGNS:
        if head.startswith(sign):
            return name
    try:
        # By the checksum of the header, as `ustar` at 257 is missing from old tars.
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return ""
    return "tar"


def members(stream: BinaryIO, *, max_files: int, max_unpacked: int, max_member: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each member of a flat archive, in the archive's order; one is in memory at a time.

    `stream` must be seekable. `max_unpacked` and `max_member` are bytes. Hidden files and what Windows leaves
    behind (`.DS_Store`, `Thumbs.db`) are skipped. Raises BadArchive (damaged, encrypted, nested, unpacks to too
    much), ArchiveNotFlat, TooManyFiles, PictureTooLarge, or NoInput when there is nothing in it.
    """
    count = total = 0
    with _damage():
        for seen, entry in enumerate(_entries(stream, max_files, max_member)):
            name = _flat_name(entry)
            count += bool(name)
            # What is skipped is bounded too: a small tar.gz holds hidden files by the million.
            if count > max_files or seen > 2 * max_files + 16:
                raise _too_many(max_files)
            data = entry.read(max_member + 1)
            total += len(data)
            if total > max_unpacked:
                raise BadArchive(f"The archive unpacks to more than {max_unpacked} bytes. Split it into several.")
            if name:
                _check_content(name, data, max_member)
                yield name, data
    if not count:
        raise NoInput("The archive is empty. Put at least one picture into it.")


def _entries(stream: BinaryIO, max_files: int, max_member: int) -> Iterator[_Entry]:
    stream.seek(0)
    sort = kind(stream.read(HEAD))
    stream.seek(0)
    if sort == "zip":
        return _zip_entries(stream, max_files)
    if sort == "tar":
        return _tar_entries(stream, max_member)
    if sort == "gzip":
        return _tar_entries(gzip.GzipFile(fileobj=stream), max_member)
    found = f"A {sort} archive" if sort else "A file of this kind"
    raise BadArchive(f"{found} is not taken as an archive. Send zip, tar or tar.gz.")


def _flat_name(entry: _Entry) -> str:
    """The name without `./`; empty for what is to be skipped. Raises ArchiveNotFlat."""
    name = entry.name.removeprefix("./")
    if name in ("", "."):
        return ""  # `tar -C folder .` writes the folder itself as `./`, which is no level of its own
    if entry.is_folder or "/" in name or "\\" in name:
        folder = name.rstrip("/\\") if entry.is_folder else name.replace("\\", "/").rpartition("/")[0] or "/"
        raise ArchiveNotFlat(
            f"The archive contains the folder {folder!r}; only flat archives are taken. "
            "Put the pictures at the top of the archive."
        )
    return "" if name.startswith(".") or name.lower() in _JUNK else name


def _check_content(name: str, data: bytes, max_member: int) -> None:
    if len(data) > max_member:
        raise PictureTooLarge(f"{name!r} in the archive has more than the allowed {max_member} bytes. Make it smaller.")
    if nested := kind(data[:HEAD]):
        raise BadArchive(f"{name!r} in the archive is itself a {nested} archive. Unpack it first; one level is taken.")


def _too_many(max_files: int) -> TooManyFiles:
    return TooManyFiles(f"The archive contains more than the allowed {max_files} pictures. Split it into several.")


@contextmanager
def _damage() -> Iterator[None]:
    """What the readers raise on damaged archives, as BadArchive; found by feeding them damaged ones."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        struct.error,
        EOFError,
        IndexError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        raise BadArchive(f"The archive is damaged or not of a usual kind ({error}). Pack it again.") from error


# zip


class _Guarded(io.RawIOBase):
    """Stands between zipfile and the upload: the central directory is read at once, in a size that the upload says."""

    def __init__(self, stream: BinaryIO, max_files: int) -> None:
        self._stream = stream
        self._max_files = max_files
        self.opened = False

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if not self.opened and size > 1024 * 1024 + self._max_files * _DIRECTORY_BYTES:
            raise _too_many(self._max_files)
        return self._stream.read(size)


def _zip_entries(stream: BinaryIO, max_files: int) -> Iterator[_Entry]:
    guarded = _Guarded(stream, max_files)
    with zipfile.ZipFile(guarded) as archive:
        guarded.opened = True
        infos = archive.infolist()
        entries = [_zip_entry(archive, info) for info in infos]
        # All names first: a zip has them at hand, so that nothing is unpacked in vain.
        if sum(bool(_flat_name(entry)) for entry in entries) > max_files:
            raise _too_many(max_files)
        _check_overlap(infos)
        yield from entries


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    if info.flag_bits & 0x41:
        raise BadArchive(f"{info.filename!r} in the archive is encrypted. Pack it again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks bzip2 and LZMA without a bound: 64 KiB become a gigabyte in memory.
        raise BadArchive(f"{info.filename!r} in the archive is packed by an unusual method. Use deflate or none.")

    def read(size: int) -> bytes:
        with archive.open(info) as member:
            return member.read(size)

    return _Entry(info.filename, info.is_dir(), read)


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """One piece of data behind many names is a bomb; Python refuses it only since 3.11.8."""
    spans = sorted((info.header_offset, info.compress_size) for info in infos)
    for (start, size), (following, _) in itertools.pairwise(spans):
        if start + size >= following:
            raise BadArchive("Members of the archive overlap, as in a zip bomb. Pack it again.")


# tar


class _Rations:
    """A stream that refuses to give more than has been granted; it counts skipped members too."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile) -> None:
        self._stream = stream
        self.left = _HEADROOM

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _long_headers()
        return data


def _long_headers() -> BadArchive:
    return BadArchive("The headers in the archive are unreasonably long. Pack it again.")


class _Header(tarfile.TarInfo):
    """A header that is damaged or missing is an error, where tarfile would silently call it the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises what tarfile takes for the end
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise BadArchive(f"The archive is no whole tar ({error}). Pack it again as zip, tar or tar.gz.") from error
        if info.type in _LONG_TYPES and info.size > _LONG_BYTES:
            raise _long_headers()
        return info


def _tar_entries(stream: BinaryIO | gzip.GzipFile, max_member: int) -> Iterator[_Entry]:
    rations = _Rations(stream)
    # `r|` never seeks, so that even a skipped member passes through the rations.
    with tarfile.open(fileobj=rations, mode="r|", tarinfo=_Header) as archive:  # type: ignore[call-overload]
        while info := archive.next():
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise BadArchive(f"{info.name!r} in the archive is a link or a device. Put the picture itself into it.")
            if not 0 <= info.size <= max_member:
                raise PictureTooLarge(
                    f"{info.name!r} in the archive has {info.size} bytes; at most {max_member} are allowed."
                )
            rations.left = _HEADROOM + info.size
            yield _tar_entry(archive, info)
            archive.members.clear()  # tarfile keeps every header it has seen
    rations.left = 1024 * 1024
    while rations.read(_HEADROOM):
        pass  # the padding; gzip checks its sum only when it has been read


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Entry:
    def read(size: int) -> bytes:
        member = archive.extractfile(info)
        return member.read(size) if member else b""

    return _Entry(info.name, info.isdir(), read)
