"""The figures of the quality of trainings, computed apart from the code whose quality they measure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Scores = np.ndarray
"""(N, C) float: the score of each label for each picture; a row adds up to 1."""
BINS = 15
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, with the interval in which the true mean lies with 95 % confidence."""

    mean: float
    low: float | None
    """None of a single seed, from which no interval follows."""
    high: float | None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.high is None else f"{self.mean:.3f} ± {self.high - self.mean:.3f}"


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of at least one value, with its interval by Student's t."""
    middle = float(np.mean(values))
    if len(values) < 2:
        return Mean(middle, None, None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1)) / math.sqrt(len(values))
    return Mean(middle, middle - half, middle + half)


def calibration_error(scores: Scores, truths: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error (Guo et al. 2017), 0 to 1: the mean distance of score and accuracy over
    bins of equal width, weighted by their pictures. A score on an edge belongs to the lower bin."""
    best, right = scores.max(axis=1), scores.argmax(axis=1) == truths
    which = np.digitize(best, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return float(
        sum(abs(float(np.sum(best[which == number] - right[which == number]))) for number in set(which)) / len(best)
    )


def softmax(logits: np.ndarray) -> Scores:
    """Return the softmax of each row."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def least_self_confident(out_of_fold: Scores, given: np.ndarray) -> list[int]:
    """Return the numbers of the pictures, the most suspect label first: the one whose score for its given label, by a
    model that has not learned from the picture, is the lowest.

    That is cleanlab's default order of label quality, `self_confidence` (Northcutt et al. 2021).
    """
    return np.argsort(out_of_fold[np.arange(len(given)), given], kind="stable").tolist()


def found_share(ranked: Sequence[str], flipped: Collection[str]) -> float:
    """Return the share of the flipped pictures that are among the first of the ranked ones, as many as were
    flipped."""
    return len(set(ranked[: len(flipped)]) & set(flipped)) / len(flipped)
