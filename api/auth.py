"""From credential to tenant and scopes; where a credential may hide is the same on every wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Request, current_app, g, request

from api.context import container
from shared import errors
from shared.domain.keys import Caller, is_loopback
from shared.services import keys

PROXIED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")
"""What proxies add: a caller behind one is not on this machine, however local the connection looks."""


View = TypeVar("View", bound=Callable[..., Any])


def public(view: View) -> View:
    """The view needs no credential: what it shows is of no tenant, or it looks for credentials of its own kind."""
    view.__dict__["public"] = True
    return view


def is_public(endpoint: str) -> bool:
    """Whether the view behind a Flask endpoint was marked so, or is a file that comes with a page."""
    return endpoint.endswith(".static") or bool(getattr(current_app.view_functions[endpoint], "public", False))


def authenticate() -> None:
    """Before every request: set `g.caller`, or raise Unauthorized."""
    if request.endpoint is not None and not is_public(request.endpoint):
        g.caller = admit(credentials(request))


def admit(secrets: Iterable[str]) -> Caller:
    """The caller behind the first credential that is valid; raises Unauthorized where none is."""
    refused = None
    for secret in list(secrets) or [""]:
        try:
            return keys.identify(container(), secret, from_loopback=from_loopback(request))
        except errors.Unauthorized as error:
            refused = error
    raise refused or errors.Unauthorized()


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


def from_loopback(request: Request) -> bool:
    """Whether a program on this machine asks, and not a proxy or a web page that happens to run on it."""
    settings = container().settings
    if not is_loopback(settings.host) or not is_loopback(request.remote_addr or ""):
        return False
    if any(header in request.headers for header in PROXIED):
        return False
    # A page elsewhere can make a browser here send requests, and with a name that it resolves to 127.0.0.1 even read
    # the answers. The Host then is that name; the Origin, where a browser sends one, is not ours.
    if not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        return False
    origin = request.headers.get("Origin")
    same = origin is None or origin == f"{request.scheme}://{request.host}"
    return same and request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
