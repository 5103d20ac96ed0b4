"""Thresholds say from which score on a label belongs to the answer of a multi-label version, and a correction makes
scores mean what they say; both are chosen on pictures that were not learned from.

    balanced logits ──> − shift of each label ──> ÷ temperature ──> sigmoid ──> at least the threshold of the label?
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from worker.training import truths
from worker.training.calibration import COOLEST, FEWEST, HOTTEST

_USUAL = 0.5
"""The threshold without pictures to choose it by."""
_SAME = 1e-12
"""The difference of two F1 that is rounding."""
_STEPS = 40
"""Steps of the search for the temperature; each leaves 62 % of the range."""
_DIGITS = 4
"""Decimals of a threshold."""


@dataclass(frozen=True)
class Correction:
    """What is done to the logits of a trained network, and put into its head."""

    shift: torch.Tensor
    """(C,) float32, subtracted from the logits."""
    temperature: float
    """The logits are then divided by it."""

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the corrected logits (N, C)."""
        return (logits - self.shift) / self.temperature

    def undone(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C) before the correction."""
        return logits * self.temperature + self.shift


def correct(logits: torch.Tensor, shown: torch.Tensor, counting: torch.Tensor, *, biased: bool) -> Correction:
    """Return the correction after which the mean loss of logits (N, C) on the truths (N, C) is the lowest.

    Training weighs a picture that has a label with `counting` (C,), which raises its logits by the logarithm of that;
    the shift takes that back, and needs a head with a bias. It is the only correction if there are fewer than FEWEST
    pictures. A shift or a temperature that would raise the loss is left out. The truths are smoothed as by Platt
    (1999): a label that n pictures have counts (n + 1) / (n + 2) for these, so that a few right answers do not make
    scores certain.
    """
    none, shift = torch.zeros_like(counting), counting.log()
    shifts = [none, shift] if biased else [none]
    if len(shown) < FEWEST:
        return Correction(shifts[-1], 1.0)
    smoothed = _smoothed(shown)
    tried = [
        Correction(each, temperature) for each in shifts for temperature in (1.0, _temperature(logits - each, smoothed))
    ]
    return min(tried, key=lambda correction: _loss(correction(logits), smoothed))


def _smoothed(shown: torch.Tensor) -> torch.Tensor:
    """Return the truths (N, C) as Platt's targets, neither 0 nor 1."""
    having = shown.double().sum(dim=0)
    return torch.where(shown > 0, (having + 1) / (having + 2), 1 / (len(shown) - having + 2))


def _loss(logits: torch.Tensor, shown: torch.Tensor) -> float:
    return float(truths.losses(logits.double(), shown).mean())


def _temperature(logits: torch.Tensor, shown: torch.Tensor) -> float:
    """Return the divisor with the lowest loss, from COOLEST to HOTTEST, by golden sections: there is one minimum."""
    low, high = math.log(COOLEST), math.log(HOTTEST)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(_STEPS):
        lower, upper = high - golden * (high - low), low + golden * (high - low)
        if _loss(logits / math.exp(lower), shown) < _loss(logits / math.exp(upper), shown):
            high = upper
        else:
            low = lower
    return math.exp((low + high) / 2)


def choose(logits: torch.Tensor, shown: torch.Tensor) -> tuple[float, ...]:
    """Return the threshold of each label, from 0 to 1, with the highest F1 of corrected logits (N, C) on the truths;
    0.5 for a label that no picture has."""
    scores = logits.double().sigmoid()
    return tuple(_best(scores[:, number], shown[:, number] > 0) for number in range(shown.shape[1]))


def _best(scores: torch.Tensor, has: torch.Tensor) -> float:
    """Return the threshold with the highest F1 for scores (N,) of pictures that have a label or not; of several, the
    one next to 0.5."""
    having = int(has.sum())
    if not having:
        return _USUAL
    order = scores.argsort(descending=True, stable=True)
    ranked, right = scores[order], has[order].double().cumsum(dim=0)
    answered = torch.arange(1, len(ranked) + 1, dtype=torch.float64)
    ends = torch.ones(len(ranked), dtype=torch.bool)  # a threshold cannot separate equal scores
    ends[:-1] = ranked[:-1] > ranked[1:]
    f1 = torch.where(ends, 2 * right / (answered + having), -1.0)
    following = torch.cat([ranked[1:], torch.zeros(1, dtype=torch.float64)])
    best = (f1 >= f1.max() - _SAME).nonzero()[:, 0].tolist()
    return min((_between(float(following[at]), float(ranked[at])) for at in best), key=lambda one: abs(one - _USUAL))


def _between(low: float, high: float) -> float:
    """Return a threshold above `low` and at most `high`: 0.5, the middle, or `high` if rounding leaves no other."""
    if low < _USUAL <= high:
        return _USUAL
    middle = round((low + high) / 2, _DIGITS)
    return middle if low < middle <= high else high
