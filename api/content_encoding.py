"""Bodies that are packed by gzip or deflate (`Content-Encoding`) are unpacked while they are read.

    server ──> packed body ──> PackedBody ──> Werkzeug's limit of the body ──> routes

The limit of a body counts what comes out, so that a small body cannot become a large one, and what goes in as well: it
may be packed so that nothing comes out.
"""

from __future__ import annotations

import io
import zlib
from typing import IO, Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from shared import errors

ENCODINGS = ("gzip", "deflate")
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_CHUNK = 64 * 1024
_UNPACKED = "inferq.unpacked"


def unpack() -> None:
    """Let the routes read the unpacked body; runs before every request. Raises UnsupportedEncoding."""
    # Read from the environment: nearly no request has the header, and `request.headers` costs more.
    encoding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity"):
        return
    if encoding.removeprefix("x-") not in ENCODINGS:
        raise errors.UnsupportedEncoding(
            f"The Content-Encoding {encoding!r} is not read here: send the body as it is, or packed by one of "
            f"{', '.join(ENCODINGS)}."
        )
    environ = request.environ
    environ["wsgi.input"] = io.BufferedReader(PackedBody(environ["wsgi.input"], _length(environ)), _CHUNK)
    environ["wsgi.input_terminated"] = True
    environ[_UNPACKED] = True
    environ.pop("CONTENT_LENGTH", None)


def is_unpacked() -> bool:
    """Return whether the body was packed: a packed body that is cut is noticed, whether it has a length or not."""
    return _UNPACKED in request.environ


def _length(environ: dict[str, Any]) -> int | None:
    """Return how many bytes to read at most; None if the server ends the body."""
    if "wsgi.input_terminated" in environ:
        return None
    length = environ.get("CONTENT_LENGTH", "")
    return int(length) if length.isdecimal() else 0


class PackedBody(io.RawIOBase):
    """The unpacked bytes of a body; raises BadRequest if it is damaged, or ends before its end, and
    RequestEntityTooLarge if there are more packed bytes than the limit of the request.

    Both kinds of deflate are read: with the header of zlib, as RFC 9110 says, and without, as some clients send it. The
    members of a gzip follow each other.
    """

    def __init__(self, stream: IO[bytes], length: int | None) -> None:
        self._stream = stream
        self._length = length
        self._arrived = 0
        self._packed = b""
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._packed = self._packed or self._more()
            if self._unpacker.eof:
                if not self._packed.strip(b"\0"):  # some writers fill the last block
                    return 0
                self._unpacker, self._begun = zlib.decompressobj(_GZIP_OR_ZLIB), False
            if not self._packed:
                if not self._begun:
                    return 0  # no body at all
                raise errors.BadRequest("The packed body ends before its end. Send it again.")
            data = self._unpacked(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _more(self) -> bytes:
        size = _CHUNK if self._length is None else min(_CHUNK, self._length)
        data = self._stream.read(size) if size else b""
        if self._length is not None:
            self._length -= len(data)
        self._arrived += len(data)
        most = request.max_content_length  # asked here, as a route may change it
        if most is not None and self._arrived > most:
            raise RequestEntityTooLarge
        return data

    def _unpacked(self, most: int) -> bytes:
        """Return at most so many unpacked bytes, none if more packed ones are needed."""
        try:
            data = self._unpacker.decompress(self._packed, most)
        except zlib.error as error:
            if self._begun or self._packed[:2] == b"\x1f\x8b":
                raise errors.BadRequest(f"The packed body is damaged ({error}). Send it again.") from None
            self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            self._begun = True
            return self._unpacked(most)
        self._begun = True
        self._packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        return data
