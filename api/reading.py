"""Request parsing shared by every wire: uploads from any body, options from form, query or JSON."""

from __future__ import annotations

import io
import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any, BinaryIO, cast

from flask import Request, Response, after_this_request, request
from werkzeug.datastructures import FileStorage

from api import content_encoding
from api.form_parser import CHARSETS
from shared import errors
from shared.domain.pictures import Limits, Upload
from shared.domain.sizes import exactly
from shared.imaging import archives, formats
from shared.settings import Settings

SPOOL = 1024 * 1024
"""Bytes of a body that are kept in memory; more goes to a temporary file."""
MAX_VALUES = 200_000
"""Values in one JSON body."""
UNREAD = 8 * 1024 * 1024
"""Bytes of an unused body that are read and thrown away; see `discard`."""
SMALL = 256 * 1024
"""Most bytes of a JSON body that carries no picture."""


def limits(settings: Settings) -> Limits:
    """Return the limits of the service; a wire that accepts less narrows them with `dataclasses.replace`."""
    return Limits(
        max_bytes=settings.max_picture,
        max_pixels=settings.max_pixels,
        max_aspect=settings.max_aspect,
        max_files=settings.max_files,
        max_unpacked=settings.max_unpacked,
    )


def files(request: Request, field: str = "files") -> Iterator[Upload]:
    """Yield the file parts of a multipart body in order: those named `field`, or all if no part has that name."""
    every = [part for _, part in request.files.items(multi=True)]
    chosen = [part for part in every if part.name == field] or every
    for index, part in enumerate(chosen):
        place = f"{part.name or field}[{index}]" if len(chosen) > 1 else ""
        yield Upload(file_name(part), cast(BinaryIO, part.stream), place)


_QUOTED_NAME = re.compile(r'filename="(.{0,255}?)"\s{0,9}(?:;\s{0,9}[\w*]+=|$)')


def file_name(part: FileStorage) -> str:
    """Return the whole name of a file part, even with unescaped quotes in it, at which Werkzeug stops."""
    sent = _QUOTED_NAME.search(part.headers.get("Content-Disposition", ""))
    if sent and '"' in sent[1].replace('\\"', ""):
        return sent[1].replace('\\"', '"')
    return part.filename or "file"


def body(request: Request, name: str = "file") -> Upload | None:
    """Return the whole body as one file, whatever its Content-Type; None when the body is empty.

    Raises BadRequest (411) for an archive without a length. The server cannot tell whether a body in chunks is whole,
    and an archive that is cut between two pictures looks like a smaller one; a picture that is cut fails where it is
    decoded.
    """
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL))  # noqa: SIM115 - closed with the request

    @after_this_request
    def _close(response: Response) -> Response:
        spool.close()
        return response

    size = 0
    while chunk := request.stream.read(64 * 1024):
        size += len(chunk)
        spool.write(chunk)
    spool.seek(0)
    if request.content_length is None and not content_encoding.is_unpacked():
        head = spool.read(archives.HEAD)
        spool.seek(0)
        if archives.kind(head) and not formats.recognise(head):
            problem = errors.BadRequest("Send an archive with a Content-Length: without one, it may be cut.")
            problem.status = 411
            raise problem
    return Upload(name, spool) if size else None


def discard(response: Response) -> Response:
    """Read the rest of a body that no route read; runs after every request.

    Some clients send a body with GET and DELETE, or before they receive a 401. Left unread, it would precede the next
    request on the connection, and the server would have to close the connection. It does so after UNREAD bytes.
    """
    with suppress(Exception):  # too large, cut off or timed out: closing is then right
        for _ in range(UNREAD // SPOOL):
            if not request.stream.read(SPOOL):
                break
    return response


def is_multipart(request: Request) -> bool:
    """Return whether the Content-Type of the body is multipart."""
    return request.mimetype.startswith("multipart/")


def is_json(request: Request) -> bool:
    """Return whether the body is JSON: by its Content-Type, or by its beginning where that is no type of JSON.

    `curl -d` sends JSON as a web form, and others send it as text or without a type. No picture begins like JSON.
    """
    kind = request.mimetype
    if kind in ("application/json", "text/json") or kind.endswith("+json"):
        return True
    if kind.startswith(("image/", "multipart/")):
        return False
    return begins_like_json(_peek(request))


def has_body(request: Request) -> bool:
    """Return whether the request has a body that is not empty, of any type; the body can still be read."""
    return bool(_peek(request))


def _peek(request: Request) -> bytes:
    """Return the beginning of the body, which can still be read; it is empty only if the body is."""
    request.stream = stream = io.BufferedReader(cast(io.RawIOBase, request.stream))
    return stream.peek()


def refuse_form(head: bytes) -> None:
    """Raise BadRequest for a body that begins like a form, on a call that got it as something else."""
    if head.startswith(b"--") and b"content-disposition:" in head[:1000].lower():
        raise errors.BadRequest(
            "The body is a form, but its Content-Type does not say so. Leave the header out: the client that writes "
            "the body sets it, with the boundary."
        )


def begins_like_json(head: bytes) -> bool:
    """Return whether a body that begins so is an object or a list in JSON, after the mark of UTF-8 if it has one."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def json_object(request: Request, limit: int) -> dict[str, Any]:
    """Return the JSON body, an object of at most `limit` bytes. Raises TooLarge, and BadJson with the position."""
    body = _read(request.stream, limit + 1) if (request.content_length or 0) <= limit else None
    if body is None or len(body) > limit:
        raise errors.TooLarge(f"A JSON body may have {exactly(limit)}; send larger pictures as multipart or raw.")
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:  # `[[],[],…` grows thirtyfold in memory
        raise errors.BadJson(f"The JSON body holds more than {MAX_VALUES} values.")
    try:
        document = json.loads(_decoded(body, request.mimetype_params.get("charset", "")) or b"null")
    except (ValueError, RecursionError) as error:
        if kind := formats.recognise(body):
            raise errors.BadJson(
                f"The Content-Type says JSON, but the body is a {kind}; leave the header out."
            ) from None
        refuse_form(body)
        raise errors.BadJson(f"The body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise errors.BadJson("The JSON body must be an object.")
    return document


def _decoded(body: bytes, charset: str) -> bytes | str:
    """Return JSON as a text if it is in one of the CHARSETS; else its bytes, as UTF-8, UTF-16 and UTF-32 are known by
    them. Raises ValueError."""
    return body.decode(charset) if charset.lower() in CHARSETS else body


def _read(stream: IO[bytes], most: int) -> bytes:
    """Return at most so many bytes; one read may return fewer, and the limit of bodies is noticed by the next."""
    data = b""
    while len(data) < most and (more := stream.read(most - len(data))):
        data += more
    return data


def with_pictures(settings: Settings) -> int:
    """Return the most bytes of a JSON body that may carry pictures: the largest picture in base64, plus SMALL."""
    return settings.max_picture * 4 // 3 + SMALL


class Fields:
    """Fields holds options by name, from form, query or JSON alike; every getter raises BadOption naming the field."""

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = {}
        for source in reversed(sources):
            self._values.update({name: value for name, value in source.items() if value not in ("", None)})

    def has(self, name: str) -> bool:
        return name in self._values

    def raw(self, name: str) -> Any:
        return self._values.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name, default)
        if not isinstance(value, (str, int, float)):
            raise errors.BadOption(f"{name} must be a text")
        return str(value).strip()

    def whole(self, name: str, default: int) -> int:
        value = self._values.get(name, default)
        try:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError
            return int(value)
        except (TypeError, ValueError, OverflowError):
            raise errors.BadOption(f"{name} must be a whole number, not {value!r}") from None

    def number(self, name: str, default: float) -> float:
        value = self._values.get(name, default)
        try:
            if isinstance(value, bool):
                raise ValueError
            parsed = float(value)
        except (TypeError, ValueError, OverflowError):
            raise errors.BadOption(f"{name} must be a number, not {value!r}") from None
        if not math.isfinite(parsed):
            raise errors.BadOption(f"{name} must be a finite number, not {value!r}")
        return parsed

    def flag(self, name: str, default: bool) -> bool:
        value = self._values.get(name, default)
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "1", "yes"):
            return True
        if str(value).lower() in ("false", "0", "no"):
            return False
        raise errors.BadOption(f"{name} must be true or false, not {value!r}")

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object, given as such or as a text that holds it in JSON; raises BadOption."""
        value = self._values.get(name, {})
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise errors.BadOption(f"{name} must be a JSON object") from None
        if not isinstance(value, dict):
            raise errors.BadOption(f"{name} must be a JSON object")
        try:
            json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):  # Python reads NaN and 1e999, but clients could not parse the answer
            raise errors.BadOption(f"{name} must be a JSON object without NaN or infinite numbers") from None
        return value
