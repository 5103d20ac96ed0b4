"""Grouped calls: what many requests ask for at the same time is done once for all of them.

    request A ──await──> leads: runs [A]
    request B ──await──> pauses ─┐
    request C ──await──> pauses ─┴─> B leads: runs [B, C], while D, E, … gather

A group is whatever has gathered while the group before it ran. A single caller waits for nobody. Those that wait hold
no thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from shared.adapters.pauses import Pause

V = TypeVar("V")
R = TypeVar("R")

LARGEST = 256
"""Calls in one group; who leads a group would otherwise answer its own caller late."""


class _Call(Pause, Generic[V, R]):
    """The call of one request, and its wait for the group before."""

    __slots__ = ("_is_woken", "_lock", "_resume", "ended", "result", "value")

    def __init__(self, value: V) -> None:
        self.value = value
        self.ended = False
        self.result: R | BaseException | None = None
        self._lock = threading.Lock()
        self._is_woken = False
        self._resume: Callable[[], None] | None = None

    def start(self, resume: Callable[[], None]) -> None:
        with self._lock:
            is_woken = self._is_woken
            self._resume = None if is_woken else resume
        if is_woken:
            resume()

    def wake(self) -> None:
        """End the wait, or have it end at once when it begins; a leader, who has been woken before, hears nothing."""
        with self._lock:
            resume, self._resume, self._is_woken = self._resume, None, True
        if resume:
            resume()


class GroupedCalls(Generic[V, R]):
    """Calls of one function, grouped. A dedicated thread was rejected: a single caller would pay for two switches."""

    def __init__(self, run: Callable[[Sequence[V]], Sequence[R | Exception]]) -> None:
        """`run` receives the values of a group and returns a result or an exception for each, in order."""
        self._run = run
        self._lock = threading.Lock()
        self._waiting: list[_Call[V, R]] = []
        self._is_led = False

    async def __call__(self, value: V) -> R:
        """Return the result for `value`; raises its exception, or that of the whole group."""
        call: _Call[V, R] = _Call(value)
        with self._lock:
            self._waiting.append(call)
            leads, self._is_led = not self._is_led, True
        if not leads:
            await call
        if not call.ended:  # the first of its group
            self._lead()
        if isinstance(call.result, BaseException):
            raise call.result
        return call.result  # type: ignore[return-value]

    def _lead(self) -> None:
        """Run the calls that wait, resume their requests, and let the first of those that came meanwhile lead."""
        with self._lock:
            group, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        results: Sequence[R | BaseException]
        try:
            results = self._run([call.value for call in group])
            if len(results) != len(group):
                raise RuntimeError(f"{len(results)} results for {len(group)} calls")
        except BaseException as error:  # noqa: BLE001 - the other requests would wait for ever
            results = [error] * len(group)
        for call, result in zip(group, results, strict=True):
            call.result, call.ended = result, True
        with self._lock:
            self._is_led = bool(self._waiting)
            leader = self._waiting[0] if self._waiting else None
        if leader:
            leader.wake()
        for call in group:
            call.wake()
