"""Web pages of other origins may call the API from a browser if the setting `cors_origins` names them (CORS).

Credentials in the sense of browsers (cookies) are never allowed: callers send their key in a header.
"""

from __future__ import annotations

from flask import Response, request

from api.context import container

REMEMBERED = 600
"""Seconds for which a browser may remember the answer to a preflight."""


def answer_preflight() -> Response | None:
    """Return the answer to a browser that asks whether a page may send a request; runs before the key is looked at,
    as browsers send none with the question."""
    if request.method != "OPTIONS":
        return None
    asked = request.headers.get("Access-Control-Request-Method")
    if not asked or not _allowed():
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = asked
    response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "")
    response.headers["Access-Control-Max-Age"] = str(REMEMBERED)
    response.vary.update(("Access-Control-Request-Method", "Access-Control-Request-Headers"))
    return response


def add_headers(response: Response) -> Response:
    """Add to every response, errors too, that pages of an allowed origin may read it and its headers; runs last."""
    if container().settings.cors_origins:
        response.vary.add("Origin")
        if _allowed():
            exposed = ", ".join(dict.fromkeys(response.headers.keys()))  # `*` would not include all in every browser
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = exposed
    return response


def _allowed() -> bool:
    """Return whether the setting names the origin of the request."""
    origin = request.headers.get("Origin", "")
    named = container().settings.cors_origins.replace(",", " ").split()
    return bool(origin) and ("*" in named or origin.lower() in (name.lower().rstrip("/") for name in named))
