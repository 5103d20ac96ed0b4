"""Use-case of what tenants use: their keys, jobs, pictures and trainings, and what of theirs waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from shared.container import Container
from shared.domain import history
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.tenant_usage import TenantUsage

DAY = 24 * 60
"""Minutes in which pictures are counted; the history knows no more."""


def list_usage(container: Container, caller: str) -> Sequence[TenantUsage]:
    """Return what each tenant uses, by name; for other callers than `default`, only the caller's own use.

    Raises Unavailable.
    """
    only = None if caller == DEFAULT_TENANT else caller
    now = container.now()
    with container.database.read() as uow:
        counts: dict[str, dict[str, Any]] = uow.tenant_usage.counts(only, now=now, since=history.minute_of(now) - DAY)
    counts.setdefault(caller, {})  # it may have no row yet
    waiting: dict[str, Counter[str]] = {}
    for depth in container.queue.streams.depths():
        waiting.setdefault(depth.tenant, Counter())[depth.version_id] += depth.waiting + depth.running
    for tenant, versions in waiting.items():
        if only in (None, tenant):
            counts.setdefault(tenant, {}).update(waiting=versions.total(), fullest=max(versions.values()))
    return [TenantUsage(tenant, **counts[tenant]) for tenant in sorted(counts)]
