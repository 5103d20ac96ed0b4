"""Truths say what pictures show, as a tensor; these functions learn from them and judge by them.

    single-label   (N,) int64      the number of the one label of each picture      softmax, cross-entropy
    multi-label    (N, C) float32  1 for each label that a picture has, else 0      a sigmoid and a loss for each label

All other modules of a training pass them on as they are.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_SPREAD = 20.0
"""Maximum ratio between the weights of a picture of the rarest and of the commonest label, or of a picture that has a
label and one that lacks it."""


def is_multi_label(truths: torch.Tensor) -> bool:
    """Return True for truths of any number of labels."""
    return truths.ndim == 2


def balance(truths: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the weight (classes,) of each label, lower for frequent labels, within limits.

    Single-label: that of a picture of the label, 1 on average. Multi-label: that of a picture that has the label, where
    one that lacks it weighs 1; together, those that have it weigh as much as those that lack it.
    """
    if is_multi_label(truths):
        having = truths.cpu().sum(dim=0).double()  # exact, as counts below 2**24 are; `truths` may be large to copy
        return ((len(truths) - having) / having.clamp(min=1)).clamp(1 / _SPREAD, _SPREAD).float()
    counts = torch.bincount(truths.cpu(), minlength=classes).double()
    weights = counts.max() / counts.clamp(min=1)
    weights = torch.where(counts > 0, weights.clamp(max=_SPREAD), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def losses(logits: torch.Tensor, truths: torch.Tensor, counting: torch.Tensor | None = None) -> torch.Tensor:
    """Return the loss of each picture, (N,); in a multi-label training the sum over its labels.

    `counting` (C,) is the result of `balance`. Their sum over a batch is what is learned by: cross_entropy's weighted
    mean was rejected, as the weight of a batch with a single label cancels out in it.
    """
    if is_multi_label(truths):
        wide = truths.to(logits.dtype)
        each = functional.binary_cross_entropy_with_logits(logits, wide, pos_weight=counting, reduction="none")
        return each.sum(dim=1)
    return functional.cross_entropy(logits, truths, weight=counting, reduction="none")


def right(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Return how far each answer is right, (N,) float64: 0 or 1, or the share of labels that are on the right side of
    a score of 0.5."""
    if is_multi_label(truths):
        return ((logits > 0) == (truths > 0)).double().mean(dim=1)
    return (logits.argmax(dim=1) == truths).double()


def counted(truths: torch.Tensor) -> str:
    """Return what `right` counts, in a word for people."""
    return "labels" if is_multi_label(truths) else "pictures"


def strata(truths: torch.Tensor) -> torch.Tensor:
    """Return the label by which each picture is put into a fold, (N,) int64: its label, or the rarest one of those that
    it has; C for a picture without any."""
    if not is_multi_label(truths):
        return truths
    counts = truths.sum(dim=0)
    rarest = torch.where(truths > 0, counts, torch.inf).min(dim=1)
    return torch.where(rarest.values.isinf(), truths.shape[1], rarest.indices)
