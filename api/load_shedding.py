"""Load shedding gives a refusal for overload again, for a moment, to requests that differ in nothing but their body.

    application ──refuses──> environ[HOLDS_FOR] = seconds ──> HTTP server ──> the next such request: refused at once

To refuse costs Flask about a millisecond, which the workers of the same machine lack: at three times the load that a
machine can bear they would have half of it left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from granian.rsgi import Scope

from api import request_ids

HOLDS_FOR = "inferq.holds_for"
"""Key of the WSGI environment under which the application says for how many seconds its answer holds for all requests
with the same method, address, client and headers, whatever their body."""
GIVEN_AGAIN = "inferq.given_again"
"""Key under which it says what to call whenever that answer is given again, so that it can count it."""
MOST = 1000
"""Refusals that are kept; each is for one kind of request of one client."""
_DIFFERS = frozenset(("content-length", "x-request-id", "x-amzn-trace-id", "traceparent", "tracestate"))
"""Headers in which requests may differ that are refused alike."""

Target: TypeAlias = tuple[str, str, str, str, frozenset[tuple[str, str]]]
Headers: TypeAlias = list[tuple[str, str]]


class Refusal(NamedTuple):
    """An answer that is given again."""

    status: int
    headers: Headers
    body: bytes


class LoadShedding:
    """The refusals of one process that still hold."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` returns monotonic seconds."""
        self._now = now
        self._kept: dict[Target, tuple[float, Refusal, Callable[[], None]]] = {}

    def find(self, scope: Scope) -> Refusal | None:
        """Return the refusal that holds for a request; None if it is to be looked at."""
        if not self._kept:  # nearly always, and then it costs nothing
            return None
        until, refusal, given_again = self._kept.get(_target(scope), (0.0, None, _nothing))
        if refusal is None or until <= self._now():
            return None
        given_again()
        return refusal._replace(headers=[*refusal.headers, (request_ids.HEADER, request_ids.find(scope.headers.get))])

    def keep(
        self, scope: Scope, refusal: Refusal, seconds: float, given_again: Callable[[], None] | None = None
    ) -> None:
        """Have a refusal hold for so many seconds; each request to which it is given has an id of its own, and
        `given_again` is called for it."""
        headers = [(name, value) for name, value in refusal.headers if name != request_ids.HEADER]
        refusal = refusal._replace(headers=headers)
        now = self._now()
        kept = {target: found for target, found in self._kept.items() if found[0] > now}
        if len(kept) < MOST:
            kept[_target(scope)] = (now + seconds, refusal, given_again or _nothing)
        self._kept = kept  # at once, since threads keep refusals while the event loop reads them


def _nothing() -> None:
    pass


def _target(scope: Scope) -> Target:
    host, _, _ = scope.client.rpartition(":")
    headers = frozenset((name, value) for name, value in scope.headers.items() if name not in _DIFFERS)
    return scope.method, scope.path, scope.query_string, host, headers
