"""Rate limits per tenant: fixed windows counted in Redis, so that all API processes share them."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import RedisStorage, Storage

from shared.adapters.queue.circuit import Circuit, GuardedRetry
from shared.adapters.queue.connection import BRIEF
from shared.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RateWindow:
    """The state of one tenant's current window, after this request was counted."""

    limit: int
    """Requests allowed in one window."""
    seconds: int
    """Length of a window, which begins with its first request."""
    remaining: int
    """Requests left in the window; 0 also for a request that exceeds the limit."""
    reset_in: int
    """Seconds until the next window, rounded up, so that a client that waits this long does not come too early."""
    allowed: bool


class RateLimits:
    """Counts requests against rules such as `100/minute`. Thread-safe."""

    def __init__(self, settings: Settings, storage: Storage | None = None, circuit: Circuit | None = None) -> None:
        """Read the rules from the settings; nothing is connected yet. Redis has a brief time to answer, because every
        request of a rate-limited wire waits for it; `circuit` is the one that the queue has. `storage` is passed by
        tests only.

        Raises ValueError naming the first setting that is not a rule.
        """
        check(settings)
        circuit = circuit or Circuit(settings.redis_url)
        # Any, as the type of the options knows no objects.
        options: dict[str, Any] = {"retry": GuardedRetry(circuit, retries=0), "redis_connect_func": circuit.connect}
        # FixedWindowRateLimiter is not used: it only returns yes or no, and the remaining count would take two more
        # round trips, during which other requests may be counted. The counter itself gives both at once.
        self._storage = storage or RedisStorage(
            settings.redis_url, key_prefix=f"{settings.prefix}rates", wrap_exceptions=True,
            socket_timeout=BRIEF, socket_connect_timeout=BRIEF, **options,
        )  # fmt: skip

    def hit(self, rule: str, *who: str, count: int = 1) -> RateWindow | None:
        """Count one request for the key parts `who`; returns None when the rule sets no limit or Redis is unreachable.

        What counts more than once, and passes the limit, is not counted, so that less than it may still pass.
        Without Redis the request is allowed: a use-case that needs Redis refuses by itself, and the others still work.
        Makes two calls to Redis where there is a limit, none otherwise.
        """
        item = read(rule)
        if item is None:
            return None
        key = item.key_for(*who)
        try:
            used = self._storage.incr(key, item.get_expiry(), count)
            if count > 1 and used > item.amount:
                self._storage.incr(key, item.get_expiry(), -count)
            # Redis reports whole seconds, rounded to the nearest; adding 0.5 makes the result an upper bound.
            seconds_left = math.ceil(self._storage.get_expiry(key) - time.time() + 0.5)
        except StorageError as error:
            log.warning("requests are not counted, Redis does not answer: %s", error)
            return None
        return RateWindow(
            limit=item.amount,
            seconds=item.get_expiry(),
            remaining=max(0, item.amount - used),
            reset_in=max(1, min(seconds_left, item.get_expiry())),
            allowed=used <= item.amount,
        )


def check(settings: Settings) -> None:
    """Raise ValueError naming the first setting that should be a rule and is not."""
    for name, rule in settings:
        if name.endswith("_rate"):
            try:
                read(rule)
            except ValueError:
                raise ValueError(
                    f"INFERQ_{name.upper()} must be a rule such as 100/minute, or off, not {rule!r}"
                ) from None


@cache
def read(rule: str) -> RateLimitItem | None:
    """Parse a rule such as `100/minute` or `500 per 5 minutes`; returns None for no limit. Raises ValueError if it is
    not a rule."""
    if rule.strip().lower() in ("", "off"):
        return None
    items = parse_many(rule)
    if len(items) != 1 or items[0].amount == 0:  # the headers hold one rule; other settings use 0 for "no limit"
        raise ValueError(f"{rule!r} is not one rule")
    return items[0]
