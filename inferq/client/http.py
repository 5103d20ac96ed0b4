"""HTTP details of the client: form parts, names in paths, error responses, and times to retry."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from inferq.errors import InferqError, InferqHTTPError, Unreachable

Picture = str | os.PathLike[str] | bytes | tuple[str, bytes]
"""A path, bytes, or a name with bytes; an archive of pictures counts as a single picture."""


class Away(InferqHTTPError):
    """Status 503 with a time after which to retry."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float) -> None:
        super().__init__(status, code, detail)
        self.retry_after = retry_after


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Raise Unreachable in place of any error that prevents a request to the server at `url`."""
    try:
        yield
    except httpx.TimeoutException:  # from None: httpx's traceback is 50 lines that do not help
        raise Unreachable(f"the server at {url} does not answer in time") from None
    except httpx.TransportError as error:
        raise Unreachable(f"no server can be reached at {url} ({error}); start one with `inferq up`") from None


def host(url: str) -> str:
    """Return the host of a URL; raises Unreachable if it is not an HTTP URL."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # an unpaired bracket, or a port that is not a number
        pass
    raise Unreachable(f"{url!r} is not a URL of a server; it looks like http://127.0.0.1:8000")


def word(name: str) -> str:
    """Return a name quoted as a single segment of a path."""
    return quote(name, safe="")


def words(name: str) -> str:
    """Return a name that may contain slashes, quoted as several segments of a path."""
    return quote(name)


def problem(answer: httpx.Response) -> InferqHTTPError:
    """Return the error for an RFC 9457 problem, or for the response of a proxy."""
    try:
        body = answer.json()
        code, detail = str(body.get("code", "")), str(body.get("detail") or body.get("title") or "")
    except (ValueError, AttributeError):
        code, detail = "", f"{answer.status_code} {answer.reason_phrase}"
    if answer.status_code == 503 and "retry-after" in answer.headers:
        return Away(answer.status_code, code, detail, retry_after(answer, 1.0))
    return InferqHTTPError(answer.status_code, code, detail)


def retry_after(answer: httpx.Response, otherwise: float) -> float:
    """Return the seconds to wait, at most 30; `otherwise` for a date or an invalid value."""
    try:
        return min(max(float(answer.headers["retry-after"]), 0.0), 30.0)
    except (KeyError, ValueError):
        return otherwise


def prefer(wait: float) -> dict[str, str]:
    """Return the header that asks the server to wait `wait` seconds."""
    return {"Prefer": f"wait={max(1, round(wait))}"}


def part(number: int, picture: Picture) -> tuple[str, bytes]:
    """Return name and bytes of the picture number `number` of a request.

    Raises OSError if it cannot be read, InferqError if it is no Picture.
    """
    if isinstance(picture, tuple):
        return picture
    if not isinstance(picture, str | bytes | os.PathLike) or str(picture).startswith(("http://", "https://")):
        raise InferqError(f"picture {number} must be a path, bytes, or a tuple of name and bytes; not {picture!r:.80}")
    if isinstance(picture, bytes):
        return f"picture-{number}", picture
    return Path(picture).name, Path(picture).read_bytes()


def text(value: object) -> str:
    """Return a form field: JSON for structures and booleans, text otherwise."""
    return json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
