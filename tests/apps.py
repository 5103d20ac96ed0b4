"""The app over a test's container, without making it anew: to compile 190 routes takes longer than most tests."""

from __future__ import annotations

from flask import Flask

from api.application import create_app
from api.context import request_places
from shared.container import Container
from shared.settings import Settings

_apps: dict[Settings, Flask] = {}
"""Apps by their settings, without those that only say where data is: no route depends on them."""


def over(container: Container) -> Flask:
    """Return the app of the container's settings, over this container instead of that of an earlier test."""
    key = container.settings.changed(database_url="", storage_url="", redis_url="", data="", prefix="")
    if key not in _apps:
        _apps[key] = create_app(container)
    _apps[key].extensions |= {"inferq": container} | request_places(container.settings)
    return _apps[key]
