"""Grouped calls: what many threads ask for at the same time is done once for all of them.

    thread A ──call──> leads: runs [A]
    thread B ──call──> waits ─┐
    thread C ──call──> waits ─┴─> B leads: runs [B, C], while D, E, … gather

A group is whatever has gathered while the group before it ran, so that a single caller waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

V = TypeVar("V")
R = TypeVar("R")

LARGEST = 256
"""Calls in one group; the thread that leads a group would otherwise answer its own caller late."""


class _Call(Generic[V, R]):
    """One thread's call."""

    __slots__ = ("ended", "result", "value", "woken")

    def __init__(self, value: V) -> None:
        self.value = value
        # A queue, which waits in C: an Event is made of a Condition in Python, and every request waits here.
        self.woken: SimpleQueue[None] = SimpleQueue()
        self.ended = False
        self.result: R | BaseException | None = None


class GroupedCalls(Generic[V, R]):
    """Calls of one function, grouped. A dedicated thread was rejected: a single caller would pay for two switches."""

    def __init__(self, run: Callable[[Sequence[V]], Sequence[R | Exception]]) -> None:
        """`run` receives the values of a group and returns a result or an exception for each, in order."""
        self._run = run
        self._lock = threading.Lock()
        self._waiting: list[_Call[V, R]] = []
        self._is_led = False

    def __call__(self, value: V) -> R:
        """Return the result for `value`; raises its exception, or that of the whole group."""
        call: _Call[V, R] = _Call(value)
        with self._lock:
            self._waiting.append(call)
            leads, self._is_led = not self._is_led, True
        if not leads:
            call.woken.get()
        if not call.ended:  # the first of its group
            self._lead()
        if isinstance(call.result, BaseException):
            raise call.result
        return call.result  # type: ignore[return-value]

    def _lead(self) -> None:
        """Run the calls that wait, wake their threads, and let the first of those that came meanwhile lead."""
        with self._lock:
            group, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        results: Sequence[R | BaseException]
        try:
            results = self._run([call.value for call in group])
            if len(results) != len(group):
                raise RuntimeError(f"{len(results)} results for {len(group)} calls")
        except BaseException as error:  # noqa: BLE001 - the other threads would wait for ever
            results = [error] * len(group)
        for call, result in zip(group, results, strict=True):
            call.result, call.ended = result, True
        with self._lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].woken.put(None)
        for call in group:
            call.woken.put(None)
