"""Methods of the asynchronous client as methods of the blocking one: the same logic, run to its end by its thread."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from inferq.client.runtime import drive

B = TypeVar("B")
C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


class Blocking(Generic[C]):
    """An object whose methods are those of `calls`, which awaits a ThreadRuntime."""

    def __init__(self, calls: C) -> None:
        self._calls = calls


def blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """Return a method as one that returns when the coroutine has ended."""

    @functools.wraps(method)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return drive(method(calls_of(self), *args, **kwargs))

    return run


def iterating(method: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """Return a method that is an asynchronous generator as one that is a generator."""

    @functools.wraps(method)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return iterated(method(calls_of(self), *args, **kwargs))

    return _returning_blocking(run)


def making(method: Callable[Concatenate[Any, P], C], kind: Callable[[C], B]) -> Callable[Concatenate[Any, P], B]:
    """Return a method that makes an object as one that makes it as a `kind`, whose methods block."""

    @functools.wraps(method)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> B:
        return kind(method(calls_of(self), *args, **kwargs))

    return _returning_blocking(run)


def _returning_blocking(run: F) -> F:
    """Return the function with the type of the blocking client as its return annotation: Iterator and not
    AsyncIterator, Map and not AsyncMap."""
    signature = inspect.signature(run)
    returned = str(signature.return_annotation).removeprefix("Async")
    run.__dict__["__signature__"] = signature.replace(return_annotation=returned)
    return run


def iterated(source: AsyncIterator[T]) -> Iterator[T]:
    """Yield what an asynchronous generator yields that awaits a ThreadRuntime; it ends with this one."""
    try:
        while True:
            try:
                value = drive(_next(source))
            except StopAsyncIteration:
                return
            yield value
    finally:
        drive(_close(source))


def calls_of(blocked: Blocking[C]) -> C:
    """Return the object whose methods the blocking object has."""
    return blocked._calls  # noqa: SLF001 - of this module


async def _next(source: AsyncIterator[T]) -> T:
    return await source.__anext__()


async def _close(source: Any) -> None:
    if hasattr(source, "aclose"):
        await source.aclose()
