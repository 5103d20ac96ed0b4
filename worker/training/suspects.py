"""Suspects: examples whose label is probably wrong, by the answers of networks that had not learned from them.

Confident learning (Northcutt, Jiang and Chuang 2021): a label is doubted if another one is as probable for the picture
as it usually is for pictures that bear it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from worker.training.outcome import Unseen


class Suspect(NamedTuple):
    """A picture that probably belongs to another label."""

    row: int
    """The number of the answer."""
    suggested: int
    """The number of the more probable label."""
    score: float
    """The probability of its own label, 0 to 1."""


def find_suspects(answers: Unseen, temperature: float = 1.0) -> list[Suspect]:
    """Return the examples whose label is doubted, the most doubtful first.

    They are ranked by the probability of their own label. Of labels that were changed on purpose, 75 % are then among as
    many first suspects; 68 % if they are ranked by its distance from that of the suggested label (40 photographs each of
    5 flowers, 10 % of the labels changed, 8 seeds).
    """
    if not answers.examples:
        return []
    scores = (answers.logits.double() / temperature).softmax(dim=1)
    own = scores.gather(1, answers.truths[:, None])[:, 0]
    usual = torch.full((scores.shape[1],), 2.0, dtype=torch.double)  # a label without pictures is never suggested
    for label in answers.truths.unique().tolist():
        usual[label] = own[answers.truths == label].mean()
    as_usual = torch.where(scores >= usual, scores, -1.0)
    # Its own label need not be as probable as usual: if no other is either, the picture is difficult, not mislabelled.
    others = as_usual.scatter(1, answers.truths[:, None], -1.0)
    best, suggested = others.max(dim=1)
    doubted = (best > own).nonzero()[:, 0]
    ranked = doubted[own[doubted].sort(stable=True).indices]
    return [Suspect(row, int(suggested[row]), float(own[row])) for row in ranked.tolist()]
