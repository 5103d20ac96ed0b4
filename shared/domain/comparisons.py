"""Comparisons: two versions of a model side by side on the same test pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.jobs import Status


@dataclass(frozen=True)
class Comparison:
    """A comparison of two versions of a model on the same test pictures; times are Unix seconds."""

    id: str
    tenant: str
    name: str
    """The name of the model."""
    candidate_id: str
    """The version id of the candidate; `baseline_id` is that of the baseline."""
    baseline_id: str
    dataset_id: int
    dataset_version: int
    status: Status
    created_at: float
    error: str = ""
    attempts: int = 0
    report: Mapping[str, Any] | None = None
    """`pictures`, `left_out`, `agreement`, `labels` (the number that each knows, and both), and for `candidate` and
    `baseline` each: `version`, `accuracy`, `macro_f1`, `per_label` ({label, precision, recall, f1, support}) and
    `milliseconds` per picture, measured one picture at a time."""
    finished_at: float | None = None
