"""Room for the body of a request: one that its tenant may not keep is refused before it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from api.context import caller, container
from shared.services import kept_bytes

SMALL = 64 * 1024
"""Bytes of a body that is read in any case: its use-case counts what it keeps."""

Route = TypeVar("Route", bound=Callable[..., Any])


def keeps_nothing(route: Route) -> Route:
    """Mark a route of which no body is kept, so that a full tenant may use it."""
    route.__dict__["keeps_nothing"] = True
    return route


def check() -> None:
    """Raise QuotaExceeded for a body that holds more than its tenant may still keep, by its Content-Length.

    A quarter is left out, since pictures may be in base64. Repeats of an idempotency key, which keep nothing, are left
    to their use-case, as is a body of unknown length.
    """
    length = request.content_length or 0
    if "caller" in g and length > SMALL and "Idempotency-Key" not in request.headers and not _keeps_nothing():
        kept_bytes.check(container(), caller().tenant, length * 3 // 4)


def _keeps_nothing() -> bool:
    return getattr(current_app.view_functions.get(request.endpoint or ""), "keeps_nothing", False)
