"""Serializers of drift; these functions read only their arguments."""

from __future__ import annotations

from typing import Any

from shared.domain import drift as rules
from shared.domain.drift import Kind
from shared.schemas import drift as schemas
from shared.schemas.common import moment_at
from shared.services.drift import Report
from shared.services.drift_references import Measurement


def drift(report: Report, measurement: Measurement) -> schemas.Drift:
    """Return the drift of a version, and where the measurement of another reference stands."""
    reference = report.reference
    return schemas.Drift(
        name=report.version.name,
        version=report.version.version,
        verdict=report.verdict,
        message=rules.SENTENCES[report.verdict],
        advice=rules.ADVICE[report.verdict],
        recent=schemas.RecentPictures(since=report.recent.since, **_compared(report.recent)) if report.recent else None,
        days=[schemas.DriftDay(day=day.day, **_compared(day)) for day in report.days],
        reference=_reference(reference) if reference else None,
        measuring=measurement.is_running,
        error=measurement.failure or None,
        webhook=report.webhook.url if report.webhook else None,
    )


def _reference(reference: rules.Reference) -> schemas.DriftReference:
    return schemas.DriftReference(
        source=reference.source,
        dataset=reference.dataset or None,
        pictures=reference.profile.pictures,
        measured_at=moment_at(reference.measured_at),
    )


def _compared(compared: rules.Comparison) -> dict[str, Any]:
    return {"pictures": compared.pictures} | {kind.value: _shift(compared.shifts[kind]) for kind in Kind}


def _shift(shift: rules.Shift) -> schemas.Shift:
    return schemas.Shift(effect=shift.effect, p_value=shift.p_value, drifted=shift.is_drift, unknown=shift.unknown)
