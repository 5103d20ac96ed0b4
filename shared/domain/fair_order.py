"""The order in which tenants are served: round-robin, so that one tenant's backlog does not delay the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar


class Owned(Protocol):
    """What a tenant asked for; ids sort by time."""

    @property
    def id(self) -> Any: ...
    @property
    def tenant(self) -> str: ...


Waiting = TypeVar("Waiting", bound=Owned)


def fair_order(waiting: Sequence[Waiting], served: Mapping[str, float]) -> list[Waiting]:
    """The order in which they are served: by time, but nobody's second before everybody's first.

    `served` tells when something of a tenant was served last: who was served just now has had his first.
    """
    seen: dict[str, int] = {}
    rank: dict[Any, int] = {}
    by_time = sorted(waiting, key=lambda one: one.id)
    for one in by_time:
        rank[one.id] = seen[one.tenant] = seen.get(one.tenant, 0) + 1
    return sorted(by_time, key=lambda one: (rank[one.id], served.get(one.tenant, 0.0)))
