"""Calibration makes scores match accuracy: a temperature that corrects them, and the error before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

COOLEST, HOTTEST = 0.05, 20.0
FEWEST = 10
"""Validation pictures below which no temperature is fitted, since it would depend on chance."""
BINS = 15
_USUAL = 0.4
"""Standard deviation of the prior on the logarithm of the temperature: most temperatures are between 2/3 and 1.5."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_CUTS = 60
_BEYOND_CHANCE = 2.71
"""Twice the gain of log-likelihood that chance alone exceeds in 5 % of cases, with one number fitted upwards or
downwards (the likelihood ratio test)."""


@dataclass(frozen=True)
class Bin:
    """The answers whose score is above `low` and not above `high`."""

    low: float
    high: float
    count: int
    confidence: float
    """Their mean score; 0.0 if the bin is empty."""
    accuracy: float
    """The share of right answers among them; 0.0 if the bin is empty."""


def temperature(logits: torch.Tensor, truths: torch.Tensor) -> float:
    """Return the divisor of logits (N, C) for which their softmax is most likely; from 0.05 to 20.

    `logits` and `truths` (N,) are of pictures that were not learned from. Returns 1.0 if there are fewer than FEWEST,
    or if chance alone may explain the gain: a temperature that few pictures ask for made test pictures worse
    calibrated. Uses golden-section search, because the loss has a single minimum. A prior favours temperatures near 1,
    with the weight of about ten pictures.
    """
    if len(truths) < FEWEST:
        return 1.0
    wide = logits.double()

    def loss(logarithm: float) -> float:
        summed = functional.cross_entropy(wide / math.exp(logarithm), truths, reduction="sum").item()
        return summed + logarithm**2 / (2 * _USUAL**2)

    low, high = math.log(COOLEST), math.log(HOTTEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_CUTS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    best = math.exp((low + high) / 2)
    gained = functional.cross_entropy(wide, truths, reduction="sum") - functional.cross_entropy(
        wide / best, truths, reduction="sum"
    )
    return best if 2 * gained.item() > _BEYOND_CHANCE else 1.0


def reliability(logits: torch.Tensor, truths: torch.Tensor, divisor: float = 1.0) -> list[Bin]:
    """Return BINS bins of equal width over the score of the likeliest label; logits (N, C) are divided by `divisor`
    first."""
    scores, answers = (logits.double() / divisor).softmax(dim=1).max(dim=1)
    right = (answers == truths).double()
    which = (scores * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.bincount(which, minlength=BINS).tolist()
    confident = torch.bincount(which, weights=scores, minlength=BINS).tolist()
    correct = torch.bincount(which, weights=right, minlength=BINS).tolist()
    return [
        Bin(number / BINS, (number + 1) / BINS, count, sure / max(count, 1), good / max(count, 1))
        for number, (count, sure, good) in enumerate(zip(counts, confident, correct, strict=True))
    ]


def error(bins: list[Bin]) -> float:
    """Return the expected calibration error (Guo et al. 2017): the mean distance of score and accuracy, 0 to 1."""
    total = sum(bin_.count for bin_ in bins)
    return sum(bin_.count * abs(bin_.confidence - bin_.accuracy) for bin_ in bins) / max(total, 1)
