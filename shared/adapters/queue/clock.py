"""The clock that all processes share is that of Redis, so that machines whose own clocks differ agree on the time."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import redis

log = logging.getLogger(__name__)

ASK_EVERY = 10.0
"""Seconds after which Redis is asked again; in between, the monotonic clock counts on."""
QUESTIONS = 3
"""Questions of which the fastest answer counts: a slow one leaves open when Redis has looked at its clock."""
STEP = 1.0
"""Seconds by which the machine's own clock may move against its monotonic clock before Redis is asked at once: after a
correction of the clock, or after a sleep of the machine, in which the monotonic clock stands still."""


class Clock:
    """The time of Redis, counted on between two questions; a correction of the machine's own clock does not move it.

    While Redis does not answer, the last answer is counted on. Before the first one it is the machine's own time.
    """

    def __init__(self, client: Any, brief: Any = None) -> None:
        """`brief` is a client that waits less long for an answer, for all questions after the first answer."""
        self._redis, self._brief = client, brief or client
        self._asking = threading.Lock()
        self._ahead: float | None = None
        """Seconds by which the shared time is ahead of the monotonic clock."""
        self._own_ahead = 0.0
        """The same of the machine's own clock, when Redis was asked last."""
        self._asked_at = -math.inf
        """Monotonic seconds."""

    def now(self) -> float:
        """Return the time in Unix seconds. Asks Redis every ASK_EVERY seconds; does not raise."""
        # One thread asks, and only before the first answer do the others wait for it.
        if self._is_due() and self._asking.acquire(blocking=self._ahead is None):
            try:
                if self._is_due():
                    self._ask()
            finally:
                self._asking.release()
        return time.monotonic() + (self._own() if self._ahead is None else self._ahead)

    def _is_due(self) -> bool:
        return time.monotonic() - self._asked_at >= ASK_EVERY or abs(self._own() - self._own_ahead) > STEP

    def _ask(self) -> None:
        try:
            uncertain, ahead = min(self._ask_once() for _ in range(QUESTIONS))
            if self._ahead is None or abs(ahead - self._ahead) > uncertain:  # a slow answer does not make it worse
                self._ahead = ahead
        except redis.RedisError as error:
            log.debug("Redis does not say what time it is: %s", error)
        self._asked_at, self._own_ahead = time.monotonic(), self._own()

    def _ask_once(self) -> tuple[float, float]:
        """Return (seconds by which the result may be wrong, seconds by which Redis is ahead of the monotonic clock)."""
        client = self._redis if self._ahead is None else self._brief
        before = time.monotonic()
        seconds, microseconds = client.time()
        # Redis has looked at its clock at some moment between question and answer.
        half = (time.monotonic() - before) / 2
        return half, seconds + microseconds / 1e6 - (before + half)

    @staticmethod
    def _own() -> float:
        return time.time() - time.monotonic()
