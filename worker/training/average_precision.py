"""The average precision of a label is the mean precision at each picture that has it, in the order of the scores.

Its mean over the labels (mAP) says how well a multi-label version ranks pictures, whatever its thresholds.
"""

from __future__ import annotations

import math

import torch

from shared.domain import chance

_RESAMPLES, _FEWEST_RESAMPLES = 1000, 100
_WORK = 5e8
"""Scores, times resamples, above which there are fewer of these: about ten seconds of one core."""
_DRAWN = 2e7
"""Pictures, times resamples, above which there are fewer of these: 80 MB."""
_PIECE = 50
"""The number of resamples that are measured at once: of 100,000 pictures, each tensor is then 40 MB."""
_SEED = 0


def average_precisions(scores: torch.Tensor, shown: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
    """Return the average precision of each label, (C,) float64; NaN for a label that no picture has.

    `scores` (N, C) may be logits, since only their order counts; pictures of the same score are one step, as in
    scikit-learn. With `counts` (B, N), how often each picture is in each of B samples, the result is (B, C).
    """
    samples = torch.ones(1, len(scores)) if counts is None else counts
    found = torch.full((len(samples), scores.shape[1]), torch.nan, dtype=torch.float64)
    for number in range(scores.shape[1]):
        order = scores[:, number].argsort(descending=True, stable=True)
        ranked, has = scores[order, number], shown[order, number].double()
        _, steps = torch.unique_consecutive(ranked, return_inverse=True)
        last = torch.cat([steps[1:] != steps[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
        for start in range(0, len(samples), _PIECE):
            weights = samples[start : start + _PIECE, order].double()
            right = (weights * has).cumsum(dim=1)
            precision = right / weights.cumsum(dim=1).clamp(min=1e-12)
            gained = (weights * has * precision[:, last[steps]]).sum(dim=1)
            share = torch.where(right[:, -1] > 0, gained / right[:, -1].clamp(min=1e-12), torch.nan)
            found[start : start + _PIECE, number] = share
    return found if counts is not None else found[0]


def mean(precisions: torch.Tensor) -> torch.Tensor:
    """Return the mean over the labels that occur, of (…, C); NaN if none does."""
    return precisions.nanmean(dim=-1)


def resamples(pictures: int, labels: int) -> torch.Tensor:
    """Return how often each picture is in each of some samples that are drawn with replacement, (B, N); always the
    same for the same numbers."""
    most = min(_RESAMPLES, _WORK / max(1, pictures * labels), _DRAWN / max(1, pictures))
    count = int(max(_FEWEST_RESAMPLES, most))
    drawn = torch.randint(pictures, (count, pictures), generator=torch.Generator().manual_seed(_SEED))
    return torch.zeros(count, pictures).scatter_add_(1, drawn, torch.ones(count, pictures))


def interval(scores: torch.Tensor, shown: torch.Tensor) -> tuple[float, float]:
    """Return the bounds of the mean average precision; (0, 1) without a picture that has a label.

    They are those of resampled pictures (the bootstrap), and at least as wide as Wilson's for a share of as many
    pictures: of six pictures that are all ranked rightly, no resample has another mean, and yet six show little.
    """
    found = float(mean(average_precisions(scores, shown))) if len(scores) else math.nan
    if math.isnan(found):
        return 0.0, 1.0
    drawn = mean(average_precisions(scores, shown, resamples(*scores.shape)))
    tail = (1 - chance.CONFIDENCE) / 2
    low, high = drawn[~drawn.isnan()].quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    least, most = chance.share_interval(found, len(scores))
    return min(low, least), max(high, most)
