"""Suspects are the examples whose label the newest training of their dataset doubts, until a person has decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.domain.datasets import DatasetExample


@dataclass(frozen=True)
class Suspect:
    """An example with a label that is probably wrong."""

    example: DatasetExample
    label: str
    """The label that it has; empty if it probably lacks one in a multi-label dataset."""
    suggested: str
    """The label that is more probable; empty if it probably has one too many."""
    score: float
    """The probability that the picture is as it is marked, 0 to 1."""


@dataclass(frozen=True)
class Suspects:
    """The suspects of a dataset's version."""

    training_id: str
    """The newest training with evidence, which doubts them; empty if there is none."""
    suspects: Sequence[Suspect]
    """The most doubtful first."""
    kept: int
    """Examples that it doubts, and whose label a person has kept."""


def kept_name(dataset_id: int) -> str:
    """Return the name of the key-value pair that holds the ids of the examples whose labels were kept, as JSON."""
    return f"kept-labels:{dataset_id}"
