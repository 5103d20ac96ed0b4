"""A time limit for work that may never end, such as running a network that somebody has imported."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LOADING = 600.0
"""Seconds in which a network is built, optimised and run on its example. The largest that are known take one minute."""


@contextmanager
def time_limit(seconds: float, work: str) -> Iterator[None]:
    """End the whole process with status 70 if the block takes longer: a thread cannot be ended from outside.

    `work` names the work in the log. The supervisor starts the process again, and what it was doing counts an attempt.
    """
    timer = threading.Timer(seconds, _end, (seconds, work))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(seconds: float, work: str) -> None:
    log.critical("%s has taken more than %g s; this process ends itself", work, seconds)
    os._exit(70)
