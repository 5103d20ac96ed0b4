"""The app over a test's container, without making it anew: to compile 190 routes takes longer than most tests."""

from __future__ import annotations

from flask import Flask

from api import create_app
from api.context import WaitLimiter
from shared.container import Container
from shared.settings import Settings

_made: dict[Settings, Flask] = {}
"""By what routes depend on: the settings, but for where things are."""


def over(container: Container) -> Flask:
    """The app with these settings, over these container from now on; there is no second one beside it."""
    key = container.settings.changed(database_url="", storage_url="", redis_url="", data="", prefix="")
    if key not in _made:
        _made[key] = create_app(container)
    _made[key].extensions |= {"inferq": container, "inferq.wait_limiter": WaitLimiter(container.settings.api_threads)}
    return _made[key]
