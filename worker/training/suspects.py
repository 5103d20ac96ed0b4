"""Suspects: examples whose label is probably wrong, by the answers of networks that had not learned from them.

Confident learning (Northcutt, Jiang and Chuang 2021) compares the probability of a picture's label with that which
pictures of this label usually get.
"""

from __future__ import annotations

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
