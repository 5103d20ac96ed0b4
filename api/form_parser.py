"""The form parser reads multipart bodies as clients write them: a part is a file by its name, its type or its bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Event, Field, File, MultipartDecoder, NeedData, State

from shared import errors
from shared.imaging import archives, formats

CHARSETS = frozenset(
    ("us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252", "koi8-r",
     "shift_jis", "euc-jp", "gbk", "gb18030", "gb2312", "big5", "euc-kr")
)  # fmt: skip
"""Charsets of texts beside UTF-8. Python knows others, but some of those take it very long."""
_CHUNK = 64 * 1024
_UNNAMED = 'form-data; name=""'


class FormParser(FormDataParser):
    """Parser of forms that also takes as files what Werkzeug takes as texts, or refuses without saying so.

    A part without a file name is a file if its Content-Type is that of a picture, or if its bytes are a picture or an
    archive. Parts may lack a Content-Disposition (`multipart/related`, `multipart/mixed`), be in base64, or hold
    several files as a `multipart/mixed` (RFC 2388), and their headers may be in Latin-1. A file input that was left
    empty is no part.
    """

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict[str, Any], MultiDict[str, Any]]:
        """Return (stream, fields, files). Raises BadRequest for a damaged body, RequestEntityTooLarge for too many or
        too large parts."""
        if not mimetype.startswith("multipart/"):
            return super().parse(stream, mimetype, content_length, options)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            for part in self._parts(stream, (options or {}).get("boundary", ""), content_length):
                if part.is_blank:
                    part.content.close()
                elif part.is_file:
                    files.append((part.name, FileStorage(part.content, part.filename, part.name, headers=part.headers)))
                else:
                    fields.append((part.name, part.text()))
                if self.max_form_parts is not None and len(fields) + len(files) > self.max_form_parts:
                    raise RequestEntityTooLarge
        except BaseException:
            for _, file in files:
                file.close()
            raise
        return stream, self.cls(fields), self.cls(files)

    def _parts(self, stream: IO[bytes], boundary: str, length: int | None, *, nested: bool = False) -> Iterator[_Part]:
        """Yield the parts; of a part that holds several, those in it, at one level."""
        part: _Part | None = None
        try:
            for event in _events(stream, boundary, self.max_form_memory_size, self.max_form_parts):
                if isinstance(event, (Field, File)):
                    part = self._new_part(event, length)
                elif isinstance(event, Data) and part is not None:
                    part.content.write(event.data)
                    if not part.has_name and part.content.tell() > (self.max_form_memory_size or part.content.tell()):
                        raise RequestEntityTooLarge
                    if not event.more_data:
                        whole, part = part, None
                        yield from self._whole(whole, length, nested=nested)
        finally:
            if part is not None:
                part.content.close()

    def _new_part(self, event: Field | File, length: int | None) -> _Part:
        kind, options = parse_options_header(event.headers.get("Content-Type"))
        if isinstance(event, File):
            content: IO[bytes] = self.stream_factory(length, kind, event.filename, None)
            return _Part(event.name or "", event.headers, content, kind, options, event.filename)
        return _Part(event.name or "", event.headers, io.BytesIO(), kind, options)

    def _whole(self, part: _Part, length: int | None, *, nested: bool) -> Iterator[_Part]:
        part.content.seek(0)
        if part.headers.get("Content-Transfer-Encoding", "").strip().lower() == "base64":
            part.decode(self.max_form_memory_size)
        if nested or part.has_name or part.kind != "multipart/mixed":
            yield part
            return
        with part.content:
            for inner in self._parts(part.content, part.options.get("boundary", ""), length, nested=True):
                inner.name = part.name
                yield inner


class FormRequest(Request):
    """A request whose forms are read by FormParser."""

    form_data_parser_class = FormParser


@dataclass
class _Part:
    """A part of a multipart body."""

    name: str
    headers: Headers
    content: IO[bytes]
    kind: str
    """The Content-Type without its options; empty if there is none."""
    options: Mapping[str, str]
    filename: str | None = None

    @property
    def has_name(self) -> bool:
        return self.filename is not None

    @property
    def is_blank(self) -> bool:
        """True for the file input of a web form that was left empty: browsers send it without a name and a byte."""
        if self.filename != "":
            return False
        empty = not self.content.read(1)
        self.content.seek(0)
        return empty

    @property
    def is_file(self) -> bool:
        if self.has_name or self.kind.startswith("image/"):
            return True
        head = self.content.read(archives.HEAD)
        self.content.seek(0)
        # Texts first, which nearly all are; some begin like a picture: `BMW` like a BMP, `P1` like a PPM.
        return not _is_text(head) and bool(formats.recognise(head) or archives.kind(head))

    def text(self) -> str:
        """Return the text of a field; bytes that are not in its charset become U+FFFD."""
        with self.content:
            data = self.content.read()
        charset = self.options.get("charset", "").lower()
        return data.decode(charset if charset in CHARSETS else "utf-8", "replace")

    def decode(self, most: int | None) -> None:
        """Decode the content from base64, in memory; raises BadBase64, or RequestEntityTooLarge above `most` bytes."""
        plain = io.BytesIO()
        try:
            with self.content:
                if most is not None and self.content.seek(0, io.SEEK_END) > most:
                    raise RequestEntityTooLarge
                self.content.seek(0)
                base64.decode(self.content, plain)
        except ValueError:
            raise errors.BadBase64(f"The part {self.name!r} is not in base64, as its header says.") from None
        plain.seek(0)
        self.content = plain


class _Decoder(MultipartDecoder):
    """Decoder that reads the headers of mails too: without a Content-Disposition, and in Latin-1."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        try:
            headers = super()._parse_headers(data)
        except UnicodeDecodeError:
            headers = super()._parse_headers(data.decode("latin-1").encode())
        headers.setdefault("Content-Disposition", _UNNAMED)
        return headers


def _events(stream: IO[bytes], boundary: str, most: int | None, parts: int | None) -> Iterator[Event]:
    """Yield the events of a multipart body, bytes as they arrive; raises BadRequest with what is wrong with it."""
    if not boundary:
        raise errors.BadRequest(
            "The Content-Type of a multipart body must name its boundary. Leave the header out: the client that "
            "writes the body sets it."
        )
    decoder = _Decoder(boundary.encode("latin-1", "replace"), most, max_parts=parts)
    more = True
    while more:
        more = bool(data := stream.read(_CHUNK))
        decoder.receive_data(data or None)
        try:
            while not isinstance(event := decoder.next_event(), NeedData) and decoder.state is not State.COMPLETE:
                yield event
        except ValueError:
            if decoder.state is State.PREAMBLE:
                reason = f"does not have the boundary {boundary!r} that its Content-Type names"
            else:
                reason = "ends before its last boundary, or has a damaged part"
            raise errors.BadRequest(f"The multipart body {reason}. Send it again.") from None


def _is_text(data: bytes) -> bool:
    """Return whether the beginning of a part is a text; its last character may be cut."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True
