"""Suspects: examples whose label is probably wrong, by the answers of networks that had not learned from them.

Confident learning (Northcutt, Jiang and Chuang 2021) compares the probability of a picture's label with that which
pictures of this label usually get.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from worker.training.outcome import Unseen

_IMPROBABLE = 0.15
"""The share of the usual probability below which a label is doubted. Of labels that were changed on purpose (10 % of
200 photographs of flowers, 8 seeds), 75 % are then among as many first suspects, of 1.5 times as many in all; of labels
that nobody has changed, 5 % are doubted. The usual condition, that the other label is as probable as it usually is,
found 65 %: few pictures make a head cautious."""


class Suspect(NamedTuple):
    """A picture that probably belongs to another label."""

    row: int
    """The number of the answer."""
    suggested: int
    """The number of the more probable label."""
    score: float
    """The probability of its own label, 0 to 1."""


class SuspectLabel(NamedTuple):
    """One label of a picture of a multi-label dataset that is probably wrong."""

    row: int
    """The number of the answer."""
    label: int
    """The number of the label."""
    has: bool
    """True if the picture has the label and probably should not, False if it lacks it and should have it."""
    score: float
    """The probability that the picture is as it is marked, 0 to 1."""


def find_suspect_labels(answers: Unseen, lowest: Sequence[float]) -> list[SuspectLabel]:
    """Return the labels that are doubted, the least probable first, as `find_suspects` does for one label of each.

    `lowest` (C,) are the logits from which on a label is answered.
    """
    scores, has = answers.logits.double().sigmoid(), answers.truths > 0
    own = torch.where(has, scores, 1 - scores)
    differs = (answers.logits.double() >= torch.tensor(lowest, dtype=torch.float64)) != has
    usual = torch.zeros_like(own)
    for marked in (has, ~has):
        count = marked.sum(dim=0).clamp(min=1)
        usual += torch.where(marked, ((own * marked).sum(dim=0) / count), 0.0)
    rows, labels = (differs & (own < _IMPROBABLE * usual)).nonzero(as_tuple=True)
    order = own[rows, labels].sort(stable=True).indices
    return [
        SuspectLabel(row, label, bool(has[row, label]), float(own[row, label]))
        for row, label in zip(rows[order].tolist(), labels[order].tolist(), strict=True)
    ]


def find_suspects(answers: Unseen, temperature: float = 1.0) -> list[Suspect]:
    """Return the examples whose label is doubted: another label is the answer, and their own is far less probable than
    it usually is. The one whose label is the least probable comes first."""
    if not answers.examples:
        return []
    scores = (answers.logits.double() / temperature).softmax(dim=1)
    own = scores.gather(1, answers.truths[:, None])[:, 0]
    suggested = scores.argmax(dim=1)
    usual = torch.zeros(scores.shape[1], dtype=torch.double)
    for label in answers.truths.unique().tolist():
        usual[label] = own[answers.truths == label].mean()
    doubted = ((suggested != answers.truths) & (own < _IMPROBABLE * usual[answers.truths])).nonzero()[:, 0]
    ranked = doubted[own[doubted].sort(stable=True).indices]
    return [Suspect(row, int(suggested[row]), float(own[row])) for row in ranked.tolist()]
