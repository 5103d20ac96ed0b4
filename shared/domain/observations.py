"""An observation is what is counted of one answer: its label, its confidence, and how far the picture is from the
training."""

from __future__ import annotations

from typing import NamedTuple


class Observation(NamedTuple):
    """The part of an answer that says whether its picture is like those of the reference."""

    version_id: str
    label: int
    """The number of the best label, of a multi-label version the best of those that reach their thresholds; the number
    after the last one if none does."""
    confidence: float
    """The score of that label, or the best score if there is none, 0 to 1, whatever scores the caller asked for."""
    distance: float | None = None
    """The distance from the training features, 0 to 2; None if the version measures none."""
    bank: str = ""
    """The checksum of these features; distances from others cannot be compared. Empty without a distance."""
