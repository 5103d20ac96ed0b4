"""The places of a deliverer: how many callbacks it sends at once, in all, for one tenant and to one receiver."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict

from shared.domain.webhooks import Receiver

PLACES = 64
"""Callbacks that a process sends at once; each has a thread, which mostly waits for its receiver."""
OF_TENANT = 48
"""Those of one tenant: one whose receivers are all silent leaves places to the others."""
OF_RECEIVER = 4
"""Those to one receiver: a silent one holds no more."""
SLOW = 2.0
"""Seconds of an attempt from which its receiver counts as slow, until it is quicker again. A slow receiver has one
place."""
REMEMBERED = 1000
"""Slow receivers that are remembered; of more, those that were slow last."""


class DeliveryPlaces:
    """The places that are taken and free; thread-safe."""

    def __init__(self, total: int = PLACES, of_tenant: int = OF_TENANT, of_receiver: int = OF_RECEIVER) -> None:
        self.total = total
        self._of_tenant, self._of_receiver = of_tenant, of_receiver
        self._taken: Counter[Receiver] = Counter()
        self._slow: OrderedDict[Receiver, None] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, receiver: Receiver) -> bool:
        """Take a place for a callback to the receiver; return False if it must wait."""
        with self._lock:
            full = self._taken.total() >= self.total or self._is_full(receiver)
            if full or self._taken_by(receiver.tenant) >= self._of_tenant:
                return False
            self._taken[receiver] += 1
            return True

    def release(self, receiver: Receiver, seconds: float | None = None) -> None:
        """Return a place; `seconds` is how long the attempt took, None if there was none."""
        with self._lock:
            self._taken[receiver] -= 1
            if not self._taken[receiver]:
                del self._taken[receiver]
            if seconds is None:
                return
            self._slow.pop(receiver, None)
            if seconds >= SLOW:
                self._slow[receiver] = None
            if len(self._slow) > REMEMBERED:
                self._slow.popitem(last=False)

    def count_taken(self) -> int:
        """Return how many places are taken."""
        with self._lock:
            return self._taken.total()

    def is_any_free(self) -> bool:
        """Return True if a callback of some tenant may be sent."""
        return self.count_taken() < self.total

    def full(self) -> tuple[list[str], list[Receiver]]:
        """Return the tenants and the receivers whose callbacks must wait."""
        with self._lock:
            tenants = {receiver.tenant for receiver in self._taken}
            return (
                [tenant for tenant in tenants if self._taken_by(tenant) >= self._of_tenant],
                [receiver for receiver in self._taken if self._is_full(receiver)],
            )

    def _is_full(self, receiver: Receiver) -> bool:
        return self._taken[receiver] >= (1 if receiver in self._slow else self._of_receiver)

    def _taken_by(self, tenant: str) -> int:
        return sum(count for receiver, count in self._taken.items() if receiver.tenant == tenant)
