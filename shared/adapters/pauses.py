"""Pauses are what a coroutine awaits here: it holds no thread until it is resumed, by any thread.

coroutine ──await pause──> yields it to who runs it ──start(resume)──> its thread is free
    ▲                                                                      │
    └──────────────────────── resume, once ────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

T = TypeVar("T")


class Pause:
    """What a coroutine awaits, and yields to who runs it."""

    def __await__(self) -> Generator[Pause, None, None]:
        yield self

    def start(self, resume: Callable[[], None]) -> None:
        """Have `resume` called once, in any thread, when the coroutine is to go on."""
        raise NotImplementedError

    def give_up(self) -> None:
        """Hear that the caller has gone; by default, the pause ends as if it had not."""


Waiting: TypeAlias = Coroutine[Pause, None, T]
"""A coroutine that awaits nothing but pauses."""


def run(waiting: Waiting[T]) -> T:
    """Return the result of the coroutine; the calling thread waits in its pauses."""
    resumed: SimpleQueue[None] = SimpleQueue()  # it waits in C, a threading.Event in Python
    try:
        while True:
            waiting.send(None).start(lambda: resumed.put(None))
            resumed.get()
    except StopIteration as end:
        result: T = end.value
        return result
