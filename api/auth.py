"""From credential to tenant and scopes; where a credential may hide is the same on every wire."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Request, g, request

from api.context import tools
from shared import errors, tenants

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/favicon.ico"})
"""What anybody may see: it tells nothing of any tenant."""


def authenticate() -> None:
    """Before every request: set `g.caller`, or raise Unauthorized."""
    if request.endpoint is None or request.path in OPEN_PATHS or request.path.startswith("/static/"):
        return
    candidates = list(credentials(request)) or [""]
    for last, secret in ((secret is candidates[-1], secret) for secret in candidates):
        try:
            g.caller = tenants.identify(tools(), secret, from_loopback=_from_loopback(request))
            return
        except errors.Unauthorized:
            if last:
                raise


def credentials(request: Request) -> Iterator[str]:
    """Every credential the request carries: bearer, `x-api-key`, `APIKey` (header names know no case).

    Some clients send both, or put `Bearer …` into the key, or send the word `null` for none: a valid one wins.
    """
    for header in ("Authorization", "X-Api-Key", "APIKey"):
        value = request.headers.get(header, "").strip()
        scheme, _, rest = value.partition(" ")
        secret = rest.strip() if scheme.lower() in ("bearer", "bearer:") else value
        if secret and secret.lower() not in ("null", "undefined", "bearer"):
            yield secret


def _from_loopback(request: Request) -> bool:
    # A proxy on the same machine makes every caller look local; what it forwards is not.
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    settings = tools().settings
    return not forwarded and tenants.is_loopback(settings.host) and tenants.is_loopback(request.remote_addr or "")
