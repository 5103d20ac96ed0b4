"""Serializers of models and aliases; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from api.context import link
from api.dialects.native.serializers import trainings
from shared.domain.engines import EngineReport
from shared.domain.models import ALL_TENANTS, ModelAlias, ModelVersion
from shared.domain.rejection import RejectionRule
from shared.domain.trainings import Training
from shared.schemas import decoding
from shared.schemas import models as schemas
from shared.schemas.common import moment_at
from shared.services.default_models import DefaultModel
from shared.services.rejection import Fit

Summaries = Mapping[str, Mapping[str, Any]]
"""Training id -> `accuracy`, `mean_average_precision` and `method` of the version that it made."""


def models(
    versions: Sequence[ModelVersion],
    default: str,
    aliases: Sequence[ModelAlias],
    summaries: Summaries,
    earlier: Mapping[str, str],
) -> schemas.ModelList:
    """Return versions, which must be sorted by name, grouped as models; `earlier` maps models to what a rollback leads
    back to."""
    grouped = [list(group) for _, group in groupby(versions, key=lambda version: version.name)]
    return schemas.ModelList(
        models=[
            schemas.Model(**_model_fields(_nearest(group), default, aliases, summaries, earlier)) for group in grouped
        ]
    )


def details(
    versions: Sequence[ModelVersion],
    default: str,
    aliases: Sequence[ModelAlias],
    summaries: Summaries,
    earlier: Mapping[str, str],
    *,
    label_names: Sequence[str],
    engine: str | None,
) -> schemas.ModelDetails:
    """Return one model with its versions, oldest first; `aliases` are all of the tenant's aliases."""
    fields = _model_fields(versions, default, aliases, summaries, earlier)
    return schemas.ModelDetails(**fields, label_names=list(label_names), engine=engine)


def version(version: ModelVersion, summaries: Summaries) -> schemas.Version:
    """Return one version of a model, without the names of its labels and without its full evidence."""
    return schemas.Version(**_version_fields(version, summaries))


def version_details(
    version: ModelVersion,
    summaries: Summaries,
    *,
    engine: str | None,
    training: Training | None,
    report: EngineReport | None = None,
) -> schemas.VersionDetails:
    """Return one version with its labels, and with the evidence of the training that made it."""
    links = schemas.VersionLinks(self=link(f"/v1/models/{version.name}/versions/{version.version}"))
    if training is not None:
        links.training = link(f"/v1/trainings/{training.id}")
        links.plots = trainings.plots(training)
    return schemas.VersionDetails(
        **_version_fields(version, summaries),
        label_names=list(version.labels),
        engine=engine,
        engine_report=_engine_report(report) if report else None,
        evidence=trainings.evidence(training) if training else None,
        links=links,
    )


def _engine_report(report: EngineReport) -> schemas.EngineReport:
    return decoding.convert(schemas.EngineReport, asdict(report) | {"measured_at": moment_at(report.measured_at)})


def alias(alias: ModelAlias) -> schemas.Alias:
    """Return an alias and the model that it stands for."""
    return schemas.Alias(alias=alias.alias, model=alias.name)


def default_model(default: DefaultModel) -> schemas.DefaultModel:
    """Return the default model and who chose it."""
    return schemas.DefaultModel(model=default.name, origin=default.origin)


def _model_fields(
    versions: Sequence[ModelVersion],
    default: str,
    aliases: Sequence[ModelAlias],
    summaries: Summaries,
    earlier: Mapping[str, str],
) -> dict[str, Any]:
    chosen = next((version for version in versions if version.is_default), versions[-1])
    return {
        "name": chosen.name,
        "default_version": chosen.version,
        "is_default": chosen.name == default,
        "rollback_to": "" if chosen.tenant == ALL_TENANTS else earlier.get(chosen.name, ""),
        "shared": chosen.tenant == ALL_TENANTS,
        "aliases": [alias.alias for alias in aliases if alias.name == chosen.name],
        "versions": [version(each, summaries) for each in versions],
    }


def _version_fields(version: ModelVersion, summaries: Summaries) -> dict[str, Any]:
    measured = summaries.get(version.training_id, {})
    preprocessing, preset = version.preprocessing, version.preset
    return {
        "name": version.name,
        "version": version.version,
        "state": version.state,
        "reason": version.reason,
        "family": version.family,
        "architecture": version.architecture,
        "labels": len(version.labels),
        "problem_type": version.problem_type,
        "thresholds": list(version.thresholds),
        "rejection": rejection(version.rejection),
        "checksum": version.checksum,
        "bytes": version.size,
        "preprocessing": decoding.convert(schemas.Preprocessing, asdict(preprocessing)) if preprocessing else None,
        "preset": decoding.convert(schemas.Preset, asdict(preset)) if preset else None,
        "created_at": moment_at(version.created_at),
        "metrics": dict(version.metrics),
        "training": version.training_id or None,
        "accuracy": measured.get("accuracy"),
        "method": measured.get("method"),
        "requires_deployment": version.requires_deployment,
        "canary": version.canary,
    }


def rejection(rule: RejectionRule | None) -> schemas.Rejection | None:
    """Return a rejection rule; None without one."""
    if rule is None:
        return None
    return schemas.Rejection(
        precision=rule.precision, min_score=rule.min_score, max_distance=rule.max_distance, unknown_label=rule.label
    )


def rejection_fit(fit: Fit) -> schemas.RejectionFit:
    """Return where the rejection rule of a version stands."""
    return schemas.RejectionFit(
        rejection=rejection(fit.version.rejection), fitting=fit.is_running, error=fit.failure or None
    )


def _nearest(group: Sequence[ModelVersion]) -> Sequence[ModelVersion]:
    """Return the tenant's own versions if there are any, as they hide a shared model of that name; else the shared."""
    return [version for version in group if version.tenant != ALL_TENANTS] or group
