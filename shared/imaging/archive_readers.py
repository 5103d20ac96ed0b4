"""Archive readers open zip and tar archives as entries, one at a time; a hostile archive is refused before it costs
much.

    zip: central directory, of bounded size ──┐
    tar: a stream of limited length ──────────┴──> entries ──> archives.py: which are used, and by what name

Declared sizes are never trusted, and nothing is written to disk.
"""

from __future__ import annotations

import gzip
import io
import itertools
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, Self

from shared.domain.pictures import show_bytes
from shared.errors import BadArchive, TooManyFiles
from shared.imaging import archive_names
from shared.imaging.unpackers import Readable

_DIRECTORY_BYTES = 512
"""Bytes of a zip's central directory per allowed file; a usual entry has 80 to 150."""

_UNIX = 3
"""The value of a zip's `create_system` for Unix, where the attributes of a member begin with the kind of file."""

_IN_UTF8 = 0x800
"""The flag of a member whose name is in UTF-8."""
_UNICODE_PATH = 0x7075
_EXTRA = struct.Struct("<HH")
"""Kind and size of a field behind a member's name."""
_PATH_HEAD = struct.Struct("<BL")
"""Version of the field, and the CRC-32 of the name."""

_HEADROOM = 64 * 1024
"""Bytes of tar headers allowed between two members, read-ahead included."""

_LONG_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LONG_BYTES = 8 * 1024
"""Maximum bytes of a header that holds a long name or attributes. tarfile reads it whole, and before Python 3.11.10
searches it in quadratic time: 50 KB of digits take two seconds."""


@dataclass(frozen=True)
class ArchiveEntry:
    """A member of an archive: a file or a folder."""

    name: str
    """Bytes that are in no known code page are surrogates, as `archive_names.decode` returns them."""
    is_folder: bool
    is_link: bool
    """True for a link or a device in a zip; in a tar such a member raises an error at once."""
    passed: int
    """Bytes that are unpacked on the way to the next entry, read or not: all of a tar's member, none of a zip's."""
    read: Callable[[int], bytes]
    """Reads at most that many bytes of the unpacked content."""


def too_many(max_files: int) -> TooManyFiles:
    """Return the error for an archive of more than `max_files` pictures."""
    return TooManyFiles(f"The archive contains more than the allowed {max_files} pictures. Split it into several.")


def no_file(name: str) -> BadArchive:
    """Return the error for a member that is a link or a device."""
    return BadArchive(f"{show_bytes(name)!r} in the archive is a link or a device. Put the picture itself into it.")


@contextmanager
def damage() -> Iterator[None]:
    """Raise BadArchive in place of the readers' exceptions on damaged archives; the list was found by fuzzing."""
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
    """Limits zipfile's access to the upload: the central directory is read in one call, whose size the upload
    determines."""

    def __init__(self, stream: BinaryIO, max_files: int) -> None:
        self._stream = stream
        self._max_files = max_files
        self.opened = False

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset < 0 and whence == io.SEEK_SET:
            # ValueError, as BytesIO raises. A file on disk would raise OSError, as if the disk had failed.
            raise ValueError("a member begins before the archive")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if not self.opened and size > 1024 * 1024 + self._max_files * _DIRECTORY_BYTES:
            raise too_many(self._max_files)
        return self._stream.read(size)


def zip_entries(stream: BinaryIO, name_of: Callable[[ArchiveEntry], str], max_files: int) -> Iterator[ArchiveEntry]:
    """Yield the entries of a zip, of which at most `max_files` may have a name by `name_of`.

    Raises TooManyFiles, BadArchive, the errors of `name_of`, and the exceptions that `damage` translates.
    """
    guarded = _Guarded(stream, max_files)
    with zipfile.ZipFile(guarded) as archive:
        guarded.opened = True
        infos = archive.infolist()
        entries = [_zip_entry(archive, *named) for named in zip(infos, _zip_names(infos), strict=True)]
        # All names first: the directory of a zip has them, so that nothing is unpacked for an archive that is refused.
        if sum(bool(name_of(entry)) for entry in entries) > max_files:
            raise too_many(max_files)
        _check_overlap(infos)
        yield from entries


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> ArchiveEntry:
    if info.flag_bits & 0x41:
        raise BadArchive(f"{show_bytes(name)!r} in the archive is encrypted. Pack it again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks bzip2 and LZMA without a bound: 64 KiB become a gigabyte in memory.
        raise BadArchive(f"{show_bytes(name)!r} in the archive is packed by an unusual method. Use deflate or none.")

    def read(size: int) -> bytes:
        with archive.open(info) as member:
            return member.read(size)

    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    is_link = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
    return ArchiveEntry(name, info.is_dir(), is_link, 0, read)


def _zip_names(infos: list[zipfile.ZipInfo]) -> list[str]:
    """Return the names of all members: each in UTF-8 if it says so, the others in one code page for all of them."""
    raw = [info.orig_filename.encode("cp437").partition(b"\0")[0] if _is_unmarked(info) else b"" for info in infos]
    marked = [_unicode_path(info) for info in infos]
    code = archive_names.code_page(name for name, own in zip(raw, marked, strict=True) if own is None)
    return [
        own if own is not None else archive_names.decode(name, code) if _is_unmarked(info) else info.filename
        for info, name, own in zip(infos, raw, marked, strict=True)
    ]


def _is_unmarked(info: zipfile.ZipInfo) -> bool:
    """Return True if the name is in an unknown code page, as which zipfile decodes cp437."""
    return not info.flag_bits & _IN_UTF8


def _unicode_path(info: zipfile.ZipInfo) -> str | None:
    """Return the name in the field that repeats it in UTF-8 where it is in the code page of some system; else None.

    Only Python 3.13 and newer read that field. It counts if it has the checksum of the name that it belongs to.
    """
    extra = info.extra
    while len(extra) >= _EXTRA.size:
        kind, size = _EXTRA.unpack_from(extra)
        field, extra = extra[_EXTRA.size : _EXTRA.size + size], extra[_EXTRA.size + size :]
        if kind == _UNICODE_PATH and len(field) >= _PATH_HEAD.size and _is_unmarked(info):
            _, checksum = _PATH_HEAD.unpack_from(field)
            if checksum == zlib.crc32(info.orig_filename.encode("cp437")):
                with suppress(UnicodeDecodeError):
                    return field[_PATH_HEAD.size :].decode()
    return None


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """Raise BadArchive if the same data is used by several members, as in a zip bomb; Python refuses it only since
    3.11.8."""
    spans = sorted((info.header_offset, info.compress_size) for info in infos)
    for (start, size), (following, _) in itertools.pairwise(spans):
        if start + size >= following:
            raise BadArchive("Members of the archive overlap, as in a zip bomb. Pack it again.")


# tar


class _Rations:
    """A stream that raises BadArchive when more is read than was granted; skipped members count too."""

    def __init__(self, stream: Readable) -> None:
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
    """A tar header that raises an error if it is damaged or missing, where tarfile would silently end the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises the error by which tarfile detects the end
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise BadArchive(f"The archive is no whole tar ({error}). Pack it again as zip or tar.") from error
        if info.type in _LONG_TYPES and info.size > _LONG_BYTES:
            raise _long_headers()
        return info


def tar_entries(stream: Readable) -> Iterator[ArchiveEntry]:
    """Yield the entries of a tar; the caller limits their `passed` bytes.

    Raises BadArchive, and the exceptions that `damage` translates.
    """
    rations = _Rations(stream)
    # `r|` never seeks, so that even a skipped member is counted by `_Rations`.
    with tarfile.open(fileobj=rations, mode="r|", tarinfo=_Header, encoding="utf-8") as archive:  # type: ignore[call-overload]
        while info := archive.next():
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise no_file(info.name)
            if info.size < 0:
                raise BadArchive(f"{show_bytes(info.name)!r} in the archive has a size below zero. Pack it again.")
            entry = _tar_entry(archive, info)
            rations.left = _HEADROOM + entry.passed
            yield entry
            archive.members.clear()  # tarfile keeps every header it has seen
    rations.left = 1024 * 1024
    while rations.read(_HEADROOM):
        pass  # the padding; gzip verifies its checksum only at the end


def decoded(entries: Iterator[ArchiveEntry], again: Callable[[], Iterator[ArchiveEntry]]) -> Iterator[ArchiveEntry]:
    """Yield the entries of a tar with their names in one code page.

    A tar is read forwards, and has its names in UTF-8 as a rule. Only if a name is in some other code page does `again`
    read all of them before the rest.
    """
    undecoded = re.compile("[\udc80-\udcff]")
    code: str | None = None
    is_chosen = False
    for entry in entries:
        if undecoded.search(entry.name):
            if not is_chosen:
                code = archive_names.code_page(_raw_name(other) for other in again())
                is_chosen = True
            yield replace(entry, name=archive_names.decode(_raw_name(entry), code))
        else:
            yield entry


def _raw_name(entry: ArchiveEntry) -> bytes:
    return entry.name.encode("utf-8", "surrogateescape")


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo) -> ArchiveEntry:
    def read(size: int) -> bytes:
        member = archive.extractfile(info)
        return member.read(size) if member else b""

    return ArchiveEntry(info.name, info.isdir(), False, info.size if info.isreg() else 0, read)
