"""The connection to a server: requests, forms, pages, long polls, and retries; how it waits is up to its Runtime."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from inferq.client import http
from inferq.client.runtime import Runtime
from inferq.errors import BadAnswer, InferqHTTPError, TimedOut, TooManyRequests, Unavailable, Unreachable
from shared.schemas import decoding
from shared.schemas.common import Answer

A = TypeVar("A", bound=Answer)
E = TypeVar("E")

DEFAULT_URL = "http://127.0.0.1:8000"
EVERY = 0.5
"""Minimum seconds between two requests of `changes`, if the server does not hold the long poll."""
OUTAGE = 300.0
"""Seconds without an answer after which a resource is given up: an upgrade of the service takes less."""
UPLOAD = 600.0
"""Timeout in seconds for uploads of hundreds of megabytes."""
LONGEST_PAGE = 100
RETRIES = 3
"""Number of times that a GET or a submit is repeated, by default."""
LONGEST_PAUSE = 30.0
"""Most seconds before a request is repeated; if the server asks for longer, its answer is raised."""
PAUSE = 0.5
"""Seconds before a request is repeated if the server does not say; twice as long before each further one."""
_LOOK = 1.0
"""Seconds of a long poll of `changes`: it returns early only at the end, and progress should be visible."""


class Connection:
    """The connections to one server, and how its answers are read; thread-safe with a ThreadRuntime."""

    def __init__(
        self,
        url: str | None,
        key: str | None,
        *,
        timeout: float,
        retries: int,
        runtime: Callable[..., Runtime],
    ) -> None:
        """Open no connection yet; raises Unreachable if the URL is invalid."""
        self.url = (url or os.environ.get("INFERQ_URL") or DEFAULT_URL).rstrip("/")
        key = os.environ.get("INFERQ_KEY", "") if key is None else key
        self.timeout = timeout
        self._retries = retries
        self._is_reached = False
        local = http.host(self.url) in ("127.0.0.1", "localhost", "::1")
        self.runtime = runtime(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            trust_env=not local,  # a proxy cannot reach this machine's loopback
            verify=_trusted(self.url),
        )

    async def request(self, method: str, path: str, *, accepted: Container[int] = (), **rest: Any) -> httpx.Response:
        """Send one request; raises InferqHTTPError unless the status is no error or `accepted`, Unreachable."""
        with http.reaching(self.url):
            response = await self.runtime.request(method, path, **self._timed(rest))
        self._is_reached = True
        if response.is_error and response.status_code not in accepted:
            raise http.problem(response)
        return response

    def _timed(self, rest: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a request with a time-out in seconds that begins once it has a connection.

        httpx opens 100 connections at most, and would have the same time-out for the wait until one is free: of
        thousands of requests at once, the last would fail without being sent. As many connections as requests are no
        way out, since a process may seldom open more than 1,024.
        """
        return rest | {"timeout": httpx.Timeout(rest.get("timeout", self.timeout), pool=None)}

    async def repeated(self, method: str, path: str, **rest: Any) -> httpx.Response:
        """Send a request that may be sent again: a GET, or a submit with an idempotency key.

        It is repeated if the server is busy or away and does not ask for a longer pause than LONGEST_PAUSE, and if the
        connection breaks off, but not after a time-out, whose time is over.
        """
        for attempt in range(self._retries):
            try:
                return await self.request(method, path, **rest)
            except (Unreachable, InferqHTTPError) as error:
                pause = self._pause(error, attempt)
                if pause is None:
                    raise
            await self.runtime.sleep(pause)
        return await self.request(method, path, **rest)

    def _pause(self, error: Unreachable | InferqHTTPError, attempt: int) -> float | None:
        """Return the seconds after which a request is repeated; None if it is not."""
        if isinstance(error, InferqHTTPError) and error.retry_after is not None:
            may_repeat = isinstance(error, TooManyRequests | Unavailable) and error.retry_after <= LONGEST_PAUSE
            return error.retry_after if may_repeat else None
        # A server that was never reached is likelier at another address than away: its caller is told at once.
        is_lost = isinstance(error, Unreachable) and not isinstance(error, TimedOut) and self._is_reached
        return PAUSE * 2**attempt if is_lost or isinstance(error, Unavailable) else None

    async def get(self, path: str, **rest: Any) -> httpx.Response:
        """Send a GET, repeated as `repeated` says."""
        return await self.repeated("GET", path, **rest)

    async def poll(self, path: str, wait: float) -> httpx.Response:
        """Send a GET that the server may hold for `wait` seconds."""
        headers = http.prefer(wait) if wait > 0 else {}
        return await self.get(path, headers=headers, timeout=self.timeout + wait)

    async def form(self, path: str, parts: list[tuple[str, Any]], timeout: float | None = None) -> httpx.Response:
        """Send a multipart form."""
        return await self.request("POST", path, files=parts, timeout=timeout or self.timeout)

    @asynccontextmanager
    async def stream(self, path: str, **rest: Any) -> AsyncIterator[httpx.Response]:
        """Yield the response to a GET whose body arrives while it is read, by the runtime."""
        with http.reaching(self.url):
            async with self.runtime.stream(path, **self._timed(rest)) as response:
                if response.is_error:
                    await self.runtime.read(response)
                    raise http.problem(response)
                yield response

    async def entries(
        self, path: str, kind: type[A], of: Callable[[A], Sequence[E]], query: Mapping[str, Any], limit: int
    ) -> list[E]:
        """Return at most `limit` entries of a list, from as many pages as needed.

        Each page is a `kind` with `next`, and `of` returns its entries, which may be fewer than were asked for.
        """
        found: list[E] = []
        cursor = ""
        while len(found) < limit:
            asked = {**query, "cursor": cursor, "limit": min(limit - len(found), LONGEST_PAGE)}
            page = read(kind, await self.get(path, params={name: value for name, value in asked.items() if value}))
            found += of(page)
            cursor = getattr(page, "next", None) or ""
            if not cursor:
                break
        return found[:limit]

    async def changes(self, path: str, kind: type[A], ended: Callable[[A], bool]) -> AsyncIterator[A]:
        """Yield the resource at `path` now, then each time it has changed, until it has ended.

        It is polled each second, not streamed as server-sent events: polling resumes after an outage with the next
        answer, and works with proxies that hold streams back. Only the first answer has no retry over an outage.
        """
        current = read(kind, await self.get(path))
        yield current
        answered = time.monotonic()
        while not ended(current):
            began = time.monotonic()
            try:
                latest = read(kind, await self.poll(path, _LOOK))
            except (Unreachable, InferqHTTPError) as error:
                if not may_pass(error) or time.monotonic() - answered > OUTAGE:
                    raise
                latest = current
            else:
                answered = time.monotonic()
            if latest != current:
                current = latest
                yield current
            if not ended(current):
                await self.runtime.sleep(max(0.0, began + EVERY - time.monotonic()))

    async def end(self, path: str, kind: type[A], ended: Callable[[A], bool]) -> A:
        """Return the resource at `path` when it has ended; it is waited for as `changes` does."""
        async for change in self.changes(path, kind, ended):
            last = change
        return last


def _trusted(url: str) -> bool | ssl.SSLContext:
    """Return what certificates are checked with: for plain HTTP, which has none, a context that trusts nobody.

    Loading those of the authorities takes 50 ms, which plain HTTP does not need; False, which checks nothing, would
    hand the key to anybody if the URL was HTTPS after all.
    """
    return urlsplit(url).scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def read(kind: type[A], response: httpx.Response) -> A:
    """Return the answer in a response; raises BadAnswer naming the field that does not fit."""
    return read_text(kind, response.content)


def read_text(kind: type[A], text: str | bytes) -> A:
    """Return the answer in a JSON text; raises BadAnswer as `read`."""
    try:
        return decoding.decode(kind, text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the server's answer is not that of this version of inferq: {error}") from None


def may_pass(error: Unreachable | InferqHTTPError) -> bool:
    """Return True if the error may be temporary: no connection, or an error of a gateway."""
    return isinstance(error, Unreachable | Unavailable)
