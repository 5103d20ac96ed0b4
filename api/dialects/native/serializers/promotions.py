"""Serializers of comparisons and canaries; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from api.context import link
from shared.domain.comparisons import Comparison
from shared.domain.models import ModelVersion
from shared.domain.promotions import Canary
from shared.schemas import promotions as schemas
from shared.schemas.common import moment, moment_at


def comparison(comparison: Comparison, names: Mapping[str, str]) -> schemas.Comparison:
    """Return the comparison of two versions; `names` maps version ids to version names, such as `2`."""
    return schemas.Comparison(
        id=comparison.id,
        status=comparison.status,
        terminal=comparison.status.terminal,
        name=comparison.name,
        candidate=names.get(comparison.candidate_id),
        baseline=names.get(comparison.baseline_id),
        dataset=schemas.ComparisonDataset(id=comparison.dataset_id, version=comparison.dataset_version),
        report=cast("schemas.ComparisonReport | None", comparison.report),  # as it is stored
        error=comparison.error or None,
        created_at=moment_at(comparison.created_at),
        finished_at=moment(comparison.finished_at),
        links=schemas.ComparisonLinks(
            self=link(f"/v1/comparisons/{comparison.id}"), model=link(f"/v1/models/{comparison.name}")
        ),
    )


def canary(canary: Canary, version: ModelVersion) -> schemas.Canary:
    """Return the canary version with its share, and how often it agreed with the default version."""
    return schemas.Canary(
        version=version.version,
        share=canary.share,
        compared=canary.compared,
        agreed=canary.agreed,
        agreement=canary.agreed / canary.compared if canary.compared else None,
        since=moment_at(canary.since),
    )
