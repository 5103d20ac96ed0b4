"""How the client writes a request and reads an answer: form parts, names in paths, problems, times to try again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from inferq.errors import InferqHTTPError, Unreachable

Picture = str | os.PathLike[str] | bytes | tuple[str, bytes]
"""A path, bytes, or a name with bytes; an archive of pictures counts as one."""


class Away(InferqHTTPError):
    """503 with a time after which to try again."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float) -> None:
        super().__init__(status, code, detail)
        self.retry_after = retry_after


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Whatever keeps a request from the server at `url` is raised as Unreachable."""
    try:
        yield
    except httpx.TimeoutException:  # from None: what httpx went through is 50 lines that help nobody
        raise Unreachable(f"the server at {url} does not answer in time") from None
    except httpx.TransportError as error:
        raise Unreachable(f"no server can be reached at {url} ({error}); start one with `inferq up`") from None


def host(url: str) -> str:
    """The host that a URL names; raises Unreachable when it is not a URL of HTTP."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # half a bracket, a port that is no number
        pass
    raise Unreachable(f"{url!r} is not a URL of a server; it looks like http://127.0.0.1:8000")


def word(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def words(name: str) -> str:
    """A name that may have slashes, as so many parts of a path."""
    return quote(name)


def problem(answer: httpx.Response) -> InferqHTTPError:
    """The RFC 9457 problem, or whatever a proxy in between has to say."""
    try:
        body = answer.json()
        code, detail = str(body.get("code", "")), str(body.get("detail") or body.get("title") or "")
    except (ValueError, AttributeError):
        code, detail = "", f"{answer.status_code} {answer.reason_phrase}"
    if answer.status_code == 503 and "retry-after" in answer.headers:
        return Away(answer.status_code, code, detail, retry_after(answer, 1.0))
    return InferqHTTPError(answer.status_code, code, detail)


def retry_after(answer: httpx.Response, otherwise: float) -> float:
    """Seconds; the form with a date, and nonsense, count as `otherwise`. Never more than 30."""
    try:
        return min(max(float(answer.headers["retry-after"]), 0.0), 30.0)
    except (KeyError, ValueError):
        return otherwise


def prefer(wait: float) -> dict[str, str]:
    """The header that asks the server to wait `wait` seconds."""
    return {"Prefer": f"wait={max(1, round(wait))}"}


def part(number: int, picture: Picture) -> tuple[str, bytes]:
    """Name and bytes of the picture that is the `number`th of its request; raises OSError when it cannot be read."""
    if isinstance(picture, tuple):
        return picture
    if isinstance(picture, bytes):
        return f"picture-{number}", picture
    return Path(picture).name, Path(picture).read_bytes()


def text(value: object) -> str:
    """A form field: JSON for what has structure and for booleans, text for the rest."""
    return json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
