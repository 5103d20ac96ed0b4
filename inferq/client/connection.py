"""The connection to a server: requests, forms, pages, long polls, and retries after an outage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import msgspec

from inferq.client import http
from inferq.errors import BadAnswer, InferqHTTPError, Unreachable
from shared.schemas.common import Answer

A = TypeVar("A", bound=Answer)
E = TypeVar("E")

DEFAULT_URL = "http://127.0.0.1:8000"
EVERY = 0.5
"""Minimum seconds between two requests of `follow`, if the server does not hold the long poll."""
OUTAGE = 300.0
"""Seconds without an answer after which following is given up: an upgrade of the service takes less."""
UPLOAD = 600.0
"""Timeout in seconds for uploads of hundreds of megabytes."""
LONGEST_PAGE = 100
_PATIENCE = 3
"""Number of times that a GET is repeated when the service is temporarily unavailable."""
_LOOK = 1.0
"""Seconds of a long poll when following: it returns early only at the end, and progress should be visible."""


class Connection:
    """The connections to one server, thread-safe, and how its answers are read."""

    def __init__(self, url: str | None, key: str | None, *, timeout: float) -> None:
        """Open no connection yet; raises Unreachable if the URL is invalid."""
        self.url = (url or os.environ.get("INFERQ_URL") or DEFAULT_URL).rstrip("/")
        key = os.environ.get("INFERQ_KEY", "") if key is None else key
        self.timeout = timeout
        local = http.host(self.url) in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            trust_env=not local,  # a proxy cannot reach this machine's loopback
            verify=self.url.startswith("https:"),  # loading certificates takes 50 ms, which plain HTTP does not need
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        """Send one request; raises InferqHTTPError, Unreachable."""
        with http.reaching(self.url):
            response = self._http.request(method, path, **rest)
        if response.is_error:
            raise http.problem(response)
        return response

    def get(self, path: str, **rest: Any) -> httpx.Response:
        """Send a GET, repeated if the service answers that it is temporarily unavailable."""
        for _ in range(_PATIENCE):
            try:
                return self.request("GET", path, **rest)
            except http.Away as away:
                time.sleep(away.retry_after)
        return self.request("GET", path, **rest)

    def poll(self, path: str, wait: float) -> httpx.Response:
        """Send a GET that the server may hold for `wait` seconds."""
        headers = http.prefer(wait) if wait > 0 else {}
        return self.get(path, headers=headers, timeout=self.timeout + wait)

    def form(self, path: str, parts: list[tuple[str, Any]], timeout: float | None = None) -> httpx.Response:
        """Send a multipart form."""
        return self.request("POST", path, files=parts, timeout=timeout or self.timeout)

    @contextmanager
    def stream(self, path: str, **rest: Any) -> Iterator[httpx.Response]:
        """Yield the response to a GET whose body arrives while it is read."""
        with http.reaching(self.url), self._http.stream("GET", path, **rest) as response:
            if response.is_error:
                response.read()
                raise http.problem(response)
            yield response

    def entries(
        self, path: str, kind: type[A], of: Callable[[A], Sequence[E]], query: Mapping[str, Any], limit: int
    ) -> list[E]:
        """Return at most `limit` entries of a list, from as many pages as needed.

        Each page is a `kind` with `next`, and `of` returns its entries, which may be fewer than were asked for.
        """
        found: list[E] = []
        cursor = ""
        while len(found) < limit:
            asked = {**query, "cursor": cursor, "limit": min(limit - len(found), LONGEST_PAGE)}
            page = read(kind, self.get(path, params={name: value for name, value in asked.items() if value}))
            found += of(page)
            cursor = getattr(page, "next", None) or ""
            if not cursor:
                break
        return found[:limit]

    def follow(self, path: str, kind: type[A], ended: Callable[[A], bool]) -> Iterator[A]:
        """Yield the resource at `path` now, then each time it has changed, until it has ended.

        It is polled each second, not streamed as server-sent events: polling resumes after an outage with the next
        answer, and works with proxies that hold streams back. Only the first answer has no retry over an outage.
        """
        current = read(kind, self.get(path))
        yield current
        answered = time.monotonic()
        while not ended(current):
            began = time.monotonic()
            try:
                latest = read(kind, self.poll(path, _LOOK))
            except (Unreachable, InferqHTTPError) as error:
                if not _passes(error) or time.monotonic() - answered > OUTAGE:
                    raise
                latest = current
            else:
                answered = time.monotonic()
            if latest != current:
                current = latest
                yield current
            if not ended(current):
                time.sleep(max(0.0, began + EVERY - time.monotonic()))


def read(kind: type[A], response: httpx.Response) -> A:
    """Return the answer in a response; raises BadAnswer naming the field that does not fit."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the server's answer is not that of this version of inferq: {error}") from None


def _passes(error: Unreachable | InferqHTTPError) -> bool:
    """Return True if the error may be temporary: no connection, or an error of a gateway."""
    return isinstance(error, Unreachable) or error.status in (502, 503, 504)
