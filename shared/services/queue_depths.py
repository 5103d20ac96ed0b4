"""Use-cases of queue depths say how many pictures wait and run, per model and priority, and per tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from shared.container import Container
from shared.domain.metrics import HIDDEN, Labels
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.services import models

Depths: TypeAlias = Mapping[tuple[str, ...], Mapping[str, float]]
"""(model, version, priority), and the tenant where it is told -> `waiting`, `running`, `oldest_seconds`."""


def by_model(container: Container, tenant: str = ALL_TENANTS) -> Depths:
    """Return the depths over the jobs of all tenants; models that the tenant may not see are added up."""
    return _depths(container, tenant, None, with_tenant=False)


def by_tenant(container: Container, tenant: str, *, of_all: bool) -> Depths:
    """Return the depths of the tenant's own jobs, or `of_all` tenants, each by itself."""
    return _depths(container, tenant, None if of_all else [tenant], with_tenant=True)


def _depths(container: Container, tenant: str, only: Sequence[str] | None, *, with_tenant: bool) -> Depths:
    depths = [depth for depth in container.queue.streams.depths() if only is None or depth.tenant in only]
    versions = models.find_versions_by_id(container, {depth.version_id for depth in depths})
    now, rows = container.now(), dict[tuple[str, ...], dict[str, float]]()
    for depth in depths:
        version = versions.get(depth.version_id)
        if version is None:
            continue
        key = (*_name(version, tenant), depth.priority, *([depth.tenant] if with_tenant else []))
        row = rows.setdefault(key, {"waiting": 0, "running": 0, "oldest_seconds": 0.0})
        row["waiting"] += depth.waiting
        row["running"] += depth.running
        if depth.oldest is not None:
            row["oldest_seconds"] = max(row["oldest_seconds"], round(now - depth.oldest, 3))
    return rows


def _name(version: ModelVersion, tenant: str) -> Labels:
    return (version.name, version.version) if version.tenant in (tenant, ALL_TENANTS) else HIDDEN
