"""A gain is only believed if chance alone would hardly show it."""

from __future__ import annotations

import torch

from shared.domain import chance
from worker.training import truths


def is_gain(differences: torch.Tensor) -> bool:
    """Return True if differences (N,), one per picture, are above zero by more than chance."""
    wide = differences.double()
    deviation = float(wide.std()) if len(wide) > 1 else 0.0
    return chance.is_above_zero(float(wide.mean()) if len(wide) else 0.0, deviation, len(wide))


def is_better(before: torch.Tensor, after: torch.Tensor, shown: torch.Tensor) -> bool:
    """Return True if the logits `after` (N, C) are better than those `before` by more than chance; `shown` are the
    truths.

    Their losses must be lower by more than chance, and no fewer answers right. Right answers alone were rejected as
    the measure: of thirty pictures, only five or more that change for the better would show anything.
    """
    losses = [truths.losses(logits.double(), shown) for logits in (before, after)]
    right = [float(truths.right(logits, shown).sum()) for logits in (before, after)]
    return right[1] >= right[0] and is_gain(losses[0] - losses[1])
