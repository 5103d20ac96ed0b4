"""A clock of the service that tests move: it is given to a container in place of its `now`."""

from __future__ import annotations

import time


class Clock:
    """The time of the service (Unix seconds), which stands until a test moves it."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))  # a link is valid until a whole second

    def __call__(self) -> float:
        return self.now
