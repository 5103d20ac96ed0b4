"""The runtime: what the coroutines of the client await; this one blocks its thread, loop_runtime.py has the other."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import httpx

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stopped(Exception):
    """The iteration that a task works for has ended before the task."""


class Task(Protocol[T_co]):
    """A coroutine that runs beside others."""

    def done(self) -> bool: ...
    async def result(self, timeout: float | None) -> T_co:
        """Return what the coroutine returned, or raise its error; raises TimeoutError after `timeout` seconds."""


class Tasks(Protocol):
    """Coroutines that run at the same time, at most so many."""

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Task[T]:
        """Run the coroutine that `make` returns as soon as there is a place for it."""

    def check(self) -> None:
        """Raise Stopped, in a task, if it is no longer wanted."""

    async def pause(self, seconds: float) -> None:
        """Wait, in a task; raises Stopped as soon as it is no longer wanted."""

    async def stop(self) -> None:
        """End the tasks: those that wait at once, those in a request after it."""


class Runtime(Protocol):
    """What the logic of the client awaits; only this differs between Client and AsyncClient."""

    async def request(self, method: str, path: str, **rest: Any) -> httpx.Response: ...
    def stream(self, path: str, **rest: Any) -> AbstractAsyncContextManager[httpx.Response]:
        """Open the response to a GET whose body is not read yet."""

    async def read(self, response: httpx.Response) -> None: ...
    def lines(self, response: httpx.Response) -> AsyncIterator[str]: ...
    def chunks(self, response: httpx.Response, size: int) -> AsyncIterator[bytes]: ...
    async def sleep(self, seconds: float) -> None: ...
    async def call(self, function: Callable[[], T]) -> T:
        """Return what a function returns that reads files or computes."""

    def tasks(self, most: int) -> Tasks: ...
    async def close(self) -> None: ...


class ThreadRuntime:
    """Blocks in every call, so that a coroutine never suspends, and needs no event loop; tasks are threads."""

    def __init__(self, **options: Any) -> None:
        self._http = httpx.Client(**options)

    async def request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        return self._http.request(method, path, **rest)

    @asynccontextmanager
    async def stream(self, path: str, **rest: Any) -> AsyncIterator[httpx.Response]:
        with self._http.stream("GET", path, **rest) as response:
            yield response

    async def read(self, response: httpx.Response) -> None:
        response.read()

    async def lines(self, response: httpx.Response) -> AsyncIterator[str]:
        for line in response.iter_lines():
            yield line

    async def chunks(self, response: httpx.Response, size: int) -> AsyncIterator[bytes]:
        for chunk in response.iter_bytes(size):
            yield chunk

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def call(self, function: Callable[[], T]) -> T:
        return function()

    def tasks(self, most: int) -> Tasks:
        return _Threads(most)

    async def close(self) -> None:
        self._http.close()


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that awaits only a ThreadRuntime; no event loop is needed, and none is in the
    way where one runs already, as in a notebook."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        value: T = returned.value
        return value
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking client has waited for an event loop")


class _Threads:
    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="map")  # a thread begins with the first task
        self._stop = threading.Event()

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Task[T]:
        return _ThreadTask(self._pool.submit(lambda: drive(make())))

    def check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    async def pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    async def stop(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)  # a thread ends with its request, a second later at most


class _ThreadTask(Generic[T]):
    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def done(self) -> bool:
        return self._future.done()

    async def result(self, timeout: float | None) -> T:
        return self._future.result(timeout)
