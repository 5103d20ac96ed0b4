"""How often one tenant may ask: fixed windows, counted in Redis, so that all API processes share them."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import cache

from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import RedisStorage, Storage

from shared.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT = 1.0
"""Seconds that Redis has for an answer. It is asked before every request of a limited wire, so it gets few."""


@dataclass(frozen=True)
class RateWindow:
    """What one tenant has left, this request counted."""

    limit: int
    """Requests in one window."""
    seconds: int
    """Length of a window, which begins with its first request."""
    remaining: int
    """Requests that are left; 0 also for a request that was one too many."""
    reset_in: int
    """Seconds until the next window, rounded up: who waits so long is not too early."""
    allowed: bool


class RateLimits:
    """Counts requests against rules such as `100/minute`. Thread-safe."""

    def __init__(self, settings: Settings, storage: Storage | None = None) -> None:
        """`storage` is given by tests. Connects to nothing yet; raises ValueError naming a setting that is no rule."""
        check(settings)
        # No FixedWindowRateLimiter around it: its answer is a yes or no, and what is left would cost two questions
        # more, by the time of which others may have asked too. The counter says both at once.
        self._storage = storage or RedisStorage(
            settings.redis_url, key_prefix=f"{settings.prefix}rates", wrap_exceptions=True,
            socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT,
        )  # fmt: skip

    def hit(self, rule: str, *who: str) -> RateWindow | None:
        """Count one request of `who`; None when the rule is no limit, or nobody can tell because Redis is away.

        A service without Redis refuses by itself whatever needs it, and is of some use for the rest. Two questions to
        Redis where there is a limit, none where there is not.
        """
        item = read(rule)
        if item is None:
            return None
        key = item.key_for(*who)
        try:
            used = self._storage.incr(key, item.get_expiry())
            # Redis tells whole seconds, rounded to the nearest, hence the half.
            left = math.ceil(self._storage.get_expiry(key) - time.time() + 0.5)
        except StorageError as error:
            log.warning("requests are not counted, Redis does not answer: %s", error)
            return None
        return RateWindow(
            limit=item.amount,
            seconds=item.get_expiry(),
            remaining=max(0, item.amount - used),
            reset_in=max(1, min(left, item.get_expiry())),
            allowed=used <= item.amount,
        )


def check(settings: Settings) -> None:
    """Raises ValueError naming the first setting that should be a rule and is none."""
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
    """The rule, such as `100/minute` or `500 per 5 minutes`; None for no limit. Raises ValueError when it is none."""
    if rule.strip().lower() in ("", "off"):
        return None
    items = parse_many(rule)
    if len(items) != 1 or items[0].amount == 0:  # several at once do not fit the headers; 0 elsewhere is "no limit"
        raise ValueError(f"{rule!r} is not one rule")
    return items[0]
