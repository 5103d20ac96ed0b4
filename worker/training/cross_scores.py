"""Scores of training pictures from heads that have not learnt them, where validation pictures are too few."""

from __future__ import annotations

import torch

from worker.training import calibration, epochs
from worker.training.logistic_regression import regression

FOLDS = 10
"""Heads that are fitted, each without another tenth of the pictures."""


def cross_scores(
    features: torch.Tensor, labels: torch.Tensor, *, biased: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the score (N,) float64 of the best label of each picture, and whether it is right (N,) bool.

    `features` (N, D) are those of a frozen base, `labels` (N,) int64 are numbered from 0. Each picture is answered by a
    linear head that is fitted on nine tenths of the pictures, the same share of each label, without it. The scores
    are calibrated by a temperature of their own, so that they compare with those of the head that serves.
    """
    classes = int(labels.max()) + 1
    folds = _folds(labels)
    logits = torch.zeros(len(labels), classes)
    for number in range(FOLDS):
        learnt, asked = folds != number, folds == number
        if asked.any():
            logits[asked] = _answers(features[learnt], labels[learnt], features[asked], classes, biased)
    temperature = calibration.temperature(logits, labels)
    scores, answers = (logits.double() / temperature).softmax(dim=1).max(dim=1)
    return scores, answers == labels


def _folds(labels: torch.Tensor) -> torch.Tensor:
    """Return the fold of each picture, (N,): in turn within each label, as pictures may lie in their order."""
    folds = torch.zeros_like(labels)
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        folds[own] = torch.arange(len(own)) % FOLDS
    return folds


def _answers(
    features: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor, classes: int, biased: bool
) -> torch.Tensor:
    """Return the logits of `asked` from a head that was fitted on features and labels; centred and scaled as in
    `HeadTraining`."""
    middle = features.mean(dim=0) if biased else torch.zeros_like(features[0])
    spread = float((features - middle).square().mean().sqrt()) or 1.0
    weight, bias = regression((features - middle) / spread, labels, epochs.balance(labels, classes), biased)
    return (asked - middle) / spread @ weight.T + bias
