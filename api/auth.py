"""Authentication turns a credential into a tenant and scopes; every wire looks for credentials in the same places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Request, current_app, g, request

from api import download_links
from api.context import container
from shared import errors
from shared.domain.keys import Caller, is_loopback
from shared.services import keys

_PROXIED = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_", "HTTP_X_REAL_IP", "HTTP_CF_CONNECTING_IP",
            "HTTP_TRUE_CLIENT_IP")  # fmt: skip
"""How the names of headers that proxies add begin in the environment of a request: a caller behind a proxy is not on
this machine, even if the connection is local."""


Route = TypeVar("Route", bound=Callable[..., Any])


def public(route: Route) -> Route:
    """Mark a route as public: it shows nothing of a tenant, or checks credentials of its own kind."""
    route.__dict__["public"] = True
    return route


def is_public(endpoint: str) -> bool:
    """Return whether the route of a Flask endpoint is marked public, or serves the static files of a page."""
    return endpoint.endswith(".static") or bool(getattr(current_app.view_functions[endpoint], "public", False))


def authenticate() -> None:
    """Set `g.caller` before every request to a route that is not public; raises Unauthorized."""
    if request.endpoint is not None and not is_public(request.endpoint):
        g.caller = download_links.find_caller() or admit(credentials(request))


def admit(secrets: Iterable[str]) -> Caller:
    """Return the caller of the first valid credential; raises Unauthorized where none is valid, KeyExpired if one of
    them was."""
    refused: errors.Unauthorized | None = None
    for secret in list(secrets) or [""]:
        try:
            return keys.identify(container(), secret, from_loopback=from_loopback(request))
        except errors.Unauthorized as error:
            refused = refused if isinstance(refused, errors.KeyExpired) else error
    raise refused or errors.Unauthorized()


def credentials(request: Request) -> Iterator[str]:
    """Yield every credential of the request: bearer, `x-api-key`, `APIKey` (header names are case-insensitive).

    Some clients send both, put `Bearer …` into the key, or send the word `null` instead of no key, so all are tried
    and a valid credential wins.
    """
    for header in ("Authorization", "X-Api-Key", "APIKey"):
        value = request.headers.get(header, "").strip()
        scheme, _, rest = value.partition(" ")
        secret = rest.strip() if scheme.lower() in ("bearer", "bearer:") else value
        if secret and secret.lower() not in ("null", "undefined", "bearer"):
            yield secret


def from_loopback(request: Request) -> bool:
    """Return whether a program on this machine sent the request, and not a proxy or a web page open on it."""
    settings = container().settings
    # Behind a proxy on this machine every request comes from this machine, and the proxy may add no header.
    if settings.trusted_proxies or not is_loopback(settings.host) or not is_loopback(request.remote_addr or ""):
        return False
    if any(name.startswith(_PROXIED) for name in request.environ):
        return False
    # A remote page can make a local browser send requests and, through a name that resolves to 127.0.0.1 (DNS
    # rebinding), even read the answers. The Host is then that name; the Origin, where sent, is not this service.
    if not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        return False
    origin = request.headers.get("Origin")
    same = origin is None or origin == f"{request.scheme}://{request.host}"
    return same and request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
