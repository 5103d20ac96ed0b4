"""Several pictures are fetched from URLs at once, a few at a time and in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from shared.errors import BadUrl

AT_ONCE = 8
"""URLs that one request fetches at once, which is also how many pictures it keeps in memory."""


def fetch_many(urls: Sequence[str], fetch: Callable[[str, float], bytes], seconds: float) -> Iterator[bytes | BadUrl]:
    """Yield the picture behind each URL in order, or why there is none; `fetch` is called with the URL and the seconds
    that are left of `seconds` for all of them.

    At most AT_ONCE are fetched, or wait to be taken, at the same time. Those that were begun when the iterator is
    closed are finished and dropped.
    """
    end = time.monotonic() + seconds

    def one(url: str) -> bytes | BadUrl:
        left = end - time.monotonic()
        if left <= 0:
            return BadUrl(f"It was not fetched: one request fetches for {seconds:g} s, no longer.")
        try:
            return fetch(url, left)
        except BadUrl as error:
            return error

    if len(urls) == 1:  # without a thread of its own
        yield one(urls[0])
        return
    waiting: deque[Future[bytes | BadUrl]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")
    try:
        for url in urls:
            waiting.append(pool.submit(one, url))
            if len(waiting) == AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
