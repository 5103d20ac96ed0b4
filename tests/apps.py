"""The app over a test's tools, without making it anew: to compile 190 routes takes longer than most tests."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask

from api import create_app
from api.context import Seats
from shared.settings import Settings
from shared.tools import Tools

_made: dict[Settings, Flask] = {}
"""By what routes depend on: the settings, but for where things are."""


def over(tools: Tools) -> Flask:
    """The app with these settings, over these tools from now on; there is no second one beside it."""
    key = replace(tools.settings, database_url="", storage_url="", redis_url="", data="", prefix="")
    if key not in _made:
        _made[key] = create_app(tools)
    _made[key].extensions |= {"inferq": tools, "inferq.seats": Seats(tools.settings.api_threads)}
    return _made[key]
