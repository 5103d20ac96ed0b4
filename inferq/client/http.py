"""HTTP details of the client: form fields, names in paths, error responses, and times to retry."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

import httpx

from inferq.errors import InferqHTTPError, TimedOut, Unreachable, http_error


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Raise Unreachable in place of any error that prevents a request to the server at `url`."""
    try:
        yield
    except httpx.TimeoutException:  # from None: httpx's traceback is 50 lines that do not help
        raise TimedOut(f"the server at {url} does not answer in time") from None
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
    return http_error(answer.status_code, code, detail, retry_after(answer))


def retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds after which the server wants to be asked again, 0 at least; None if it does not say.

    `Retry-After` is a number or a date, which is compared with the server's own `Date` if there is one, so that a wrong
    clock does not matter.
    """
    given = answer.headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, seconds) if math.isfinite(seconds := float(given)) else None
    if (then := _date(given)) is None:
        return None
    now = _date(answer.headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # -0000: UTC, from an unknown zone


def prefer(wait: float) -> dict[str, str]:
    """Return the header that asks the server to wait `wait` seconds."""
    return {"Prefer": f"wait={max(1, round(wait))}"}


def text(value: object) -> str:
    """Return a form field: JSON for structures and booleans, text otherwise."""
    return json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
