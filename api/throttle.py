"""Rate limits of each wire: how often a tenant may ask, and the headers with the rest of its allowance."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response, g, request

from api.context import caller, container
from api.dialects import Dialect, speaking
from shared import errors
from shared.adapters.rate_limits import RateWindow


def count(dialects: Sequence[Dialect]) -> None:
    """Count every request after its authentication; raises TooManyRequests when the tenant has asked too often.

    A public route has no caller, and is not counted. Each tenant, wire and stage has a window of its own.
    """
    if "caller" not in g:
        return
    dialect = speaking(dialects, request.path)
    allowance = getattr(dialect, "allowance", None)
    rule = allowance(container().settings, caller()) if allowance else ""
    name = dialect.__name__.rpartition(".")[2]
    window = g.window = container().rate_limits.hit(rule, name, caller().tenant, caller().stage)
    if window is not None and not window.allowed:
        raise errors.TooManyRequests(
            f"More than {window.limit} requests in {window.seconds} s; try again in {window.reset_in} s.",
            retry_after=window.reset_in,
        )


def add_headers(response: Response) -> Response:
    """Add the remaining requests to every response of a limited wire, in the RateLimit headers that clients read."""
    window: RateWindow | None = g.get("window")
    if window is not None:
        response.headers["RateLimit"] = f'"api";r={window.remaining};t={window.reset_in}'
        response.headers["RateLimit-Policy"] = f'"fixed window";"api";q={window.limit};w={window.seconds}'
    return response
