"""The runtime of AsyncClient: whatever waits leaves the event loop of asyncio to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import httpx

from inferq.client.runtime import Task, Tasks

T = TypeVar("T")


class LoopRuntime:
    """Suspends in every call that waits; tasks are those of asyncio, and files are read by its threads."""

    def __init__(self, **options: Any) -> None:
        self._http = httpx.AsyncClient(**options)

    async def request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        return await self._http.request(method, path, **rest)

    @asynccontextmanager
    async def stream(self, path: str, **rest: Any) -> AsyncIterator[httpx.Response]:
        async with self._http.stream("GET", path, **rest) as response:
            yield response

    async def read(self, response: httpx.Response) -> None:
        await response.aread()

    def lines(self, response: httpx.Response) -> AsyncIterator[str]:
        return response.aiter_lines()

    def chunks(self, response: httpx.Response, size: int) -> AsyncIterator[bytes]:
        return response.aiter_bytes(size)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function)

    def tasks(self, most: int) -> Tasks:
        return _LoopTasks(most)

    async def close(self) -> None:
        await self._http.aclose()


class _LoopTasks:
    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Task[T]:
        async def run() -> T:
            async with self._places:
                return await make()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return _LoopTask(task)

    def check(self) -> None:
        """Do nothing: `stop` cancels the tasks wherever they wait."""

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        running = [*self._tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # of tasks that fail alike one error is raised; asyncio would log each of the others


class _LoopTask(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self._task = task

    def done(self) -> bool:
        return self._task.done()

    async def result(self, timeout: float | None) -> T:
        done, _ = await asyncio.wait((self._task,), timeout=timeout)
        if not done:
            raise TimeoutError
        return self._task.result()
