"""How far scores can be believed: a temperature that mends them, and the error before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

COOLEST, HOTTEST = 0.05, 20.0
FEWEST = 10
"""Validation pictures below which a temperature would be guessed from chance."""
BINS = 15
_USUAL = 0.4
"""How far the logarithm of a temperature usually lies from 0: most lie between two thirds and one and a half."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_CUTS = 60


@dataclass(frozen=True)
class Bin:
    """Answers whose score lies above `low` and not above `high`."""

    low: float
    high: float
    count: int
    confidence: float
    """Their mean score; 0.0 where there are none."""
    accuracy: float
    """The share of them that is right; 0.0 where there are none."""


def temperature(logits: torch.Tensor, truths: torch.Tensor) -> float:
    """What to divide logits (N, C) by so that their softmax is as likely as possible; from 0.05 to 20.

    From logits of validation pictures and their labels (N,); 1.0 where there are fewer than FEWEST. By golden section,
    because the loss has one valley. A temperature near 1 is believed beforehand, about as much as ten pictures are:
    without that, a few pictures moved it far, and the test pictures were worse off than before.
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
    return math.exp((low + high) / 2)


def reliability(logits: torch.Tensor, truths: torch.Tensor, divisor: float = 1.0) -> list[Bin]:
    """BINS bins of equal width over the score of the likeliest label; logits (N, C) are divided by `divisor` first."""
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
    """The expected calibration error (Guo et al. 2017): how far score and accuracy are apart on average, 0 to 1."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / max(total, 1)
