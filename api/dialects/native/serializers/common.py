"""Responses of the native wire: answers as JSON, pages of lists, and dates in the format of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol, TypeVar

from flask import Response

from api.context import link
from shared.schemas.common import Answer


class _HasId(Protocol):
    @property
    def id(self) -> str | int: ...


Listed = TypeVar("Listed", bound=_HasId)


def respond(answer: Answer, status: int = 200, *, location: str = "", retry_after: int = 0) -> Response:
    """Return the answer as JSON; `retry_after` is in seconds, 0 leaves the header out."""
    response = Response(answer.encode(), status, mimetype="application/json")
    if location:
        response.headers["Location"] = link(location)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def cut(rows: Sequence[Listed], limit: int) -> tuple[Sequence[Listed], str | None]:
    """Return (the first `limit` rows, the cursor of the next page); the cursor is None if there are no more rows."""
    page = rows[:limit]
    return page, str(page[-1].id) if len(rows) > limit else None


def rfc1123(when: float | None) -> str | None:
    """Return Unix seconds in the date format of HTTP headers; None for None."""
    return format_datetime(datetime.fromtimestamp(when, UTC), usegmt=True) if when is not None else None
