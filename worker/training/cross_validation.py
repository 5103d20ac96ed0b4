"""Cross-validation: a linear head for each fold, so that every picture gets an answer from a head that never saw it.

On few pictures one validation split is chance: ten pictures say 80 % of a head that is right on 60 % or on 95 %. All
folds together say it as precisely as the pictures allow, and they cost little on stored features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from worker.training import head, truths
from worker.training.gain import is_gain

FOLDS = 5
MOST = 20_000
"""Maximum pictures that are cross-validated; of more, the validation split alone says enough."""
STRENGTHS = (1.0, 0.1, 10.0, 100.0)
"""Strengths of the penalty that are tried; the first one stays unless another is better by more than chance."""
_WORK = 2e10
"""Numbers in features × labels above which only the first strength is tried: each takes minutes."""


@dataclass(frozen=True)
class CrossValidation:
    """What the heads of all folds answered on the pictures that they did not learn from."""

    rows: torch.Tensor
    """(M,) int64: the numbers of the pictures that were answered; those that are always learned from are not."""
    logits: torch.Tensor
    """(M, C) float32."""
    truths: torch.Tensor
    """(M,) int64, or (M, C) float32 of several labels; see truths.py."""
    strength: float
    """The strength of the penalty with which they were trained."""


def folds(labels: torch.Tensor, groups: torch.Tensor | None = None, count: int = FOLDS) -> torch.Tensor:
    """Return the fold of each picture, (N,) int64; -1 for a picture that is always learned from.

    `labels` (N,) are label numbers, and `groups` (N,), if given, numbers of pictures that look alike: a group stays in
    one fold, as its pictures would answer for each other. The pictures of each label, in their order, go to the folds
    in turn; there are `count` of them. A label whose pictures would all be in one fold, such as a single picture or a
    single group, is always learned from: a head that has never seen a label cannot answer it.
    """
    fold = torch.full_like(labels, -1)
    group_fold: dict[int, int] = {}
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0].tolist()
        turn = label  # not 0, or fold 0 would be larger by up to a picture for each label
        for number in own:
            group = number if groups is None else int(groups[number])
            if group not in group_fold:
                group_fold[group] = turn % count
                turn += 1
            fold[number] = group_fold[group]
        if len(fold[own].unique()) == 1:
            fold[own] = -1
    return fold


def cross_validate(
    features: torch.Tensor, labels: torch.Tensor, classes: int, *, biased: bool, groups: torch.Tensor | None = None,
    check: Callable[[], None] = lambda: None,
) -> CrossValidation | None:  # fmt: skip
    """Return the answers of the folds for features (N, D) and truths; None for more than MOST pictures, or if no
    label has two pictures that do not look alike.

    The strength of the penalty is chosen by them as well. `check` is called now and then, and may raise.
    """
    fold = folds(truths.strata(labels), groups)
    if len(labels) > MOST or not (fold >= 0).any():
        return None
    tried = STRENGTHS if features.numel() * classes <= _WORK else STRENGTHS[:1]
    best = _answers(features, labels, classes, fold, biased, tried[0], check)
    losses = _losses(best, classes)
    for strength in tried[1:]:
        other = _answers(features, labels, classes, fold, biased, strength, check)
        gained = losses - _losses(other, classes)
        if is_gain(gained):
            best, losses = other, _losses(other, classes)
    return best


def _answers(
    features: torch.Tensor, labels: torch.Tensor, classes: int, fold: torch.Tensor, biased: bool, strength: float,
    check: Callable[[], None],
) -> CrossValidation:  # fmt: skip
    logits = torch.zeros(len(labels), classes)
    for number in fold[fold >= 0].unique().tolist():
        learned, held = fold != number, fold == number
        weight, bias = head.fit(features[learned], labels[learned], classes, biased=biased, strength=strength,
                                check=check)  # fmt: skip
        logits[held] = features[held] @ weight.T + bias
    rows = (fold >= 0).nonzero()[:, 0]
    return CrossValidation(rows, logits[rows], labels[rows], strength)


def _losses(answers: CrossValidation, classes: int) -> torch.Tensor:
    """Return the loss of each answer, with equal weight for every label."""
    return truths.losses(answers.logits, answers.truths, truths.balance(answers.truths, classes))
