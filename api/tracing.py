"""The span of a request: it begins before the key is looked at, and ends with the answer, after its wait.

The query is left out, since links are signed there. Names are those of OpenTelemetry's conventions for HTTP servers.
"""

from __future__ import annotations

from flask import Flask, Response, g, request

from api.context import container

UNTRACED = ("/healthz", "/readyz", "/metrics")
"""Paths that are asked for all the time, by programs that watch the service."""


def register(app: Flask) -> None:
    """Have the requests of an app be traced."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    if request.path in UNTRACED:
        return
    route = request.url_rule.rule if request.url_rule else ""
    about = {
        "http.request.method": request.method,
        "url.path": request.path,
        "url.scheme": request.scheme,
        "server.address": request.host,
        "inferq.request": g.request_id,
    }
    if route:
        about["http.route"] = route
    headers = {name: request.headers[name] for name in ("traceparent", "tracestate") if name in request.headers}
    g.span = container().tracing.begin(f"{request.method} {route}".strip(), about, headers)


def _end(response: Response) -> Response:
    if span := g.get("span"):
        span.set({"http.response.status_code": response.status_code})
        if response.status_code >= 500:
            span.fail(response.status)
        span.end()
    return response
