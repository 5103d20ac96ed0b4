"""The order in which tenants are served: round-robin, so that one tenant's backlog does not delay the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar


class Owned(Protocol):
    """A request of a tenant; ids sort by time."""

    @property
    def id(self) -> Any: ...
    @property
    def tenant(self) -> str: ...


Waiting = TypeVar("Waiting", bound=Owned)


def fair_order(waiting: Sequence[Waiting], served: Mapping[str, float]) -> list[Waiting]:
    """Return the order of service, round-robin over tenants: each tenant's n-th item comes before any tenant's
    (n+1)-th.

    `served` is the time at which each tenant was last served: within a round, the tenant that has waited longest comes
    first.
    """
    seen: dict[str, int] = {}
    rank: dict[Any, int] = {}
    by_time = sorted(waiting, key=lambda item: item.id)
    for item in by_time:
        rank[item.id] = seen[item.tenant] = seen.get(item.tenant, 0) + 1
    return sorted(by_time, key=lambda item: (rank[item.id], served.get(item.tenant, 0.0)))
