"""Comparisons: two versions of a model side by side on the same test pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import errors
from shared.domain import chance
from shared.domain.datasets import Dataset
from shared.domain.jobs import Status
from shared.domain.models import ModelVersion

VERDICTS = ("better", "worse", "open")
"""What a comparison can say of the candidate; `open` if chance alone may explain the difference."""


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
    """`pictures`, `left_out`, `agreement`, `only_right` (for `candidate` and `baseline`, the pictures that only this
    one answers rightly), `verdict`, `labels` (the number that each knows, and both), and for `candidate` and
    `baseline` each: `version`, `accuracy`, `accuracy_interval`, `macro_f1`, `per_label` ({label, precision, recall,
    f1, support}) and `milliseconds` per picture, measured one picture at a time. Of multi-label versions `accuracy`,
    `agreement` and `only_right` count pictures with exactly these labels, and `mean_average_precision` and the
    `mean_average_precision_change` with its `…_interval` decide."""
    finished_at: float | None = None


def check_kinds(candidate: ModelVersion, baseline: ModelVersion, dataset: Dataset) -> None:
    """Raise BadDataset unless both versions and the dataset have the same problem type."""
    kinds = {
        f"version {candidate.version}": candidate.problem_type,
        f"version {baseline.version}": baseline.problem_type,
        f"the dataset {dataset.name!r}": dataset.problem_type,
    }
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise errors.BadDataset(
            f"Only versions of one problem type can be compared, on a dataset of that type: {listed}."
        )


def verdict_of_change(interval: tuple[float, float], pictures: int) -> str:
    """Return one of VERDICTS from the bounds of the change of a measure; few pictures show nothing."""
    low, high = interval
    if pictures < chance.FEWEST or low <= 0 <= high:
        return "open"
    return "better" if low > 0 else "worse"


def verdict(candidate: int, baseline: int) -> str:
    """Return one of VERDICTS from the numbers of pictures that only the one or only the other answers rightly."""
    if chance.sign_test(candidate, baseline) < chance.SIGNIFICANCE:
        return "better"
    return "worse" if chance.sign_test(baseline, candidate) < chance.SIGNIFICANCE else "open"
