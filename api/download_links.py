"""Download links let a browser fetch a file by itself: each stands for a key, for one address and a few minutes.

A browser sends no header with a download, and a key in an address would end up in logs. So a page asks for a link with
its key, and the browser follows the link: however large the file is, the page holds nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from flask import current_app, request

from api.context import caller, container, link
from api.reading import Fields
from shared.domain.keys import Caller
from shared.schemas.common import DownloadLink, LinkedRequest, moment_at
from shared.services import signed_urls

SECONDS = 5 * 60
"""The lifetime of a link, within which the download must begin."""
_SCOPES = ("infer",)
"""The scopes of the holder of a link."""

Route = TypeVar("Route", bound=Callable[..., Any])


def downloadable(route: Route) -> Route:
    """Mark a route as one that links may lead to; its query is a LinkedRequest."""
    route.__dict__["downloadable"] = True
    return route


def make(path: str, **options: str) -> DownloadLink:
    """Return a link to a path of a downloadable route with these options, for the tenant of the caller."""
    expires = signed_urls.expiry(container(), caller(), SECONDS)
    query = {**options, "tenant": caller().tenant, "expires": str(expires)}
    (signature,) = signed_urls.sign(container(), [_signed(path, query)], expires)
    address = f"{quote(path)}?{urlencode({**query, 'signature': signature})}"
    return DownloadLink(url=link(address), expires_at=moment_at(expires))


def find_caller() -> Caller | None:
    """Return whom a request with a link stands for; None for a request without one, or to another route.

    Raises Forbidden if the link was not made here, was changed, or has expired, whatever key comes with it.
    """
    has_link = any(name in request.args for name in LinkedRequest.__struct_fields__)
    if not has_link or not hasattr(current_app.view_functions[request.endpoint or ""], "downloadable"):
        return None
    fields = Fields(request.args)
    query = {name: value for name, value in request.args.items() if name != "signature"}
    signed_urls.check(container(), _signed(request.path, query), fields.whole("expires", 0), fields.text("signature"))
    return Caller(fields.text("tenant"), _SCOPES)


def _signed(path: str, query: dict[str, str]) -> str:
    """Return what is signed: the path with all of the query, in one order."""
    return f"{path}?{urlencode(sorted(query.items()))}"
