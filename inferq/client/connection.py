"""The connection to a server: requests, forms, pages, long polls, and retries after an outage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from inferq.client import http
from inferq.errors import InferqHTTPError, Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
EVERY = 0.5
"""Minimum seconds between two requests of `_follow`, if the server does not hold the long poll."""
OUTAGE = 300.0
"""Seconds without an answer after which following is given up: an upgrade of the service takes less."""
UPLOAD = 600.0
"""Timeout in seconds for uploads of hundreds of megabytes."""
_PATIENCE = 3
"""Number of times that a GET is repeated when the service is temporarily unavailable."""
_LOOK = 1.0
"""Seconds of a long poll when following: it returns early only at the end, and progress should be visible."""


class Connection:
    """The connections to a server. Thread-safe; close it, or use it in a `with`.

    Every method raises InferqHTTPError if the server refuses, and Unreachable if it does not answer; the constructor
    raises Unreachable if the URL is invalid.
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, timeout: float = 30.0) -> None:
        """Without a URL or key, INFERQ_URL and INFERQ_KEY are used; `key=""` sends no key.

        `timeout` is the seconds that the server may take to answer, in addition to a requested wait.
        """
        self.url = (url or os.environ.get("INFERQ_URL") or DEFAULT_URL).rstrip("/")
        key = os.environ.get("INFERQ_KEY", "") if key is None else key
        self._timeout = timeout
        local = http.host(self.url) in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            trust_env=not local,  # a proxy cannot reach this machine's loopback
            verify=self.url.startswith("https:"),  # loading certificates takes 50 ms, which plain HTTP does not need
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _follow(self, path: str, ended: Callable[[Mapping[str, Any]], bool]) -> Iterator[dict[str, Any]]:
        """Yield the resource at `path` now, then each time it has changed, until it has ended.

        It is polled each second, not streamed as server-sent events: polling resumes after an outage with the next
        answer, and works with proxies that hold streams back. Only the first answer has no retry over an outage.
        """
        found: dict[str, Any] = dict(self._get(path).json())
        yield found
        heard = time.monotonic()
        while not ended(found):
            asked = time.monotonic()
            try:
                answer: dict[str, Any] = dict(self._poll(path, _LOOK).json())
            except (Unreachable, InferqHTTPError) as error:
                if not _passes(error) or time.monotonic() - heard > OUTAGE:
                    raise
                answer = found
            else:
                heard = time.monotonic()
            if answer != found:
                found = answer
                yield found
            if not ended(found):
                time.sleep(max(0.0, asked + EVERY - time.monotonic()))

    def _pages(self, path: str, kind: str, query: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` entries of a list, from as many pages as needed; `kind` is the list's name in
        a page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while len(found) < limit:
            asked = {**query, "cursor": cursor, "limit": min(limit - len(found), 100)}
            page = self._get(path, params={name: value for name, value in asked.items() if value}).json()
            found += page[kind]
            cursor = page.get("next") or ""
            if not cursor:
                break
        return found[:limit]

    def _poll(self, path: str, wait: float) -> httpx.Response:
        headers = http.prefer(wait) if wait > 0 else {}
        return self._get(path, headers=headers, timeout=self._timeout + wait)

    def _form(self, path: str, parts: list[tuple[str, Any]], timeout: float | None = None) -> dict[str, Any]:
        return dict(self._request("POST", path, files=parts, timeout=timeout or self._timeout).json())

    def _get(self, path: str, **rest: Any) -> httpx.Response:
        """Send a GET, repeated if the service answers that it is temporarily unavailable."""
        for _ in range(_PATIENCE):
            try:
                return self._request("GET", path, **rest)
            except http.Away as away:
                time.sleep(away.retry_after)
        return self._request("GET", path, **rest)

    def _request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        with http.reaching(self.url):
            answer = self._http.request(method, path, **rest)
        if answer.is_error:
            raise http.problem(answer)
        return answer


def _passes(error: Unreachable | InferqHTTPError) -> bool:
    """Return True if the error may be temporary: no connection, or an error of a gateway."""
    return isinstance(error, Unreachable) or error.status in (502, 503, 504)
