"""The app over a test's container, without making it anew: to compile 190 routes takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask.testing import FlaskClient

from api.application import create_app
from api.context import request_places
from shared.container import Container
from shared.settings import Settings

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers


class Client(FlaskClient):
    """Requests without a socket, each of whose bodies is closed at the end of its request.

    Werkzeug writes a large form into a temporary file, and leaves it open: when it is collected, perhaps during
    another test, that test fails by the warning.
    """

    def run_wsgi_app(self, environ: dict[str, Any], buffered: bool = False) -> tuple[Iterable[bytes], str, Headers]:
        """Run the app with a request, and close the body of the request."""
        try:
            return super().run_wsgi_app(environ, buffered=buffered)
        finally:
            environ["wsgi.input"].close()


_apps: dict[Settings, Flask] = {}
"""Apps by their settings, without those that only say where data is: no route depends on them."""


def over(container: Container) -> Flask:
    """Return the app of the container's settings, over this container instead of that of an earlier test."""
    key = container.settings.changed(database_url="", storage_url="", redis_url="", data="", prefix="")
    if key not in _apps:
        _apps[key] = create_app(container)
        _apps[key].test_client_class = Client
    _apps[key].extensions |= {"inferq": container} | request_places(container.settings)
    return _apps[key]
