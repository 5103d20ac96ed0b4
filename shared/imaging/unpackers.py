"""Unpackers read what is packed by gzip, bzip2 or xz, a bounded number of bytes and of memory at a time."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Protocol

from shared.errors import BadArchive

_CHUNK = 64 * 1024
_XZ_MEMORY = 160 * 1024 * 1024
"""Bytes that xz may use: `xz -9`, the highest preset, needs 65 MiB, and a file can ask for gigabytes."""


class Readable(Protocol):
    """A stream that is read forwards."""

    def read(self, size: int, /) -> bytes: ...


def unpacker(kind: str, stream: BinaryIO) -> Readable:
    """Return a reader of the unpacked bytes; `kind` is `gzip`, `bzip2` or `xz`. Its reads raise the exceptions that
    `archive_readers.damage` translates."""
    if kind == "gzip":
        return gzip.GzipFile(fileobj=stream, mode="rb")  # without a mode, it writes to a stream that can be written
    if kind == "bzip2":
        return _Unpacker(stream, bz2.BZ2Decompressor)
    return _Unpacker(stream, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))


class _Unpacker:
    """Reader of one packed stream after the other. The readers of the standard library have no limit of memory for xz,
    and raise the error of a disk for damaged bzip2."""

    def __init__(
        self, stream: BinaryIO, new: Callable[[], bz2.BZ2Decompressor] | Callable[[], lzma.LZMADecompressor]
    ) -> None:
        self._stream = stream
        self._new = new
        self._unpacker = new()

    def read(self, size: int) -> bytes:
        """Return at most so many unpacked bytes, none at the end."""
        while True:
            packed = b""
            if self._unpacker.eof:
                packed = self._unpacker.unused_data or self._stream.read(_CHUNK)
                if not packed.strip(b"\0"):  # the padding of xz
                    return b""
                self._unpacker = self._new()
            elif self._unpacker.needs_input and not (packed := self._stream.read(_CHUNK)):
                raise EOFError("it ends before its end")
            if data := self._unpack(packed, size):
                return data

    def _unpack(self, packed: bytes, size: int) -> bytes:
        try:
            return self._unpacker.decompress(packed, size)
        except (OSError, lzma.LZMAError) as error:
            raise BadArchive(f"The archive is damaged, or needs too much memory ({error}). Pack it again.") from error
