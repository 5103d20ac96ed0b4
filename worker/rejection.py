"""Rejection by measurement: the distance of a picture from the training features, and the choice of a rule.

The distance is that to the k-th nearest training feature, all of length 1 (Sun et al. 2022, "Out-of-Distribution
Detection with Deep Nearest Neighbors"). It needs no assumption about how features are spread, and few pictures.
"""

from __future__ import annotations

import math

import safetensors
import safetensors.torch
import torch
from torch.nn import functional

from shared.domain.rejection import RejectionRule, check_precision
from shared.errors import BadWeights

MOST_ROWS = 5000
"""Features that a bank keeps, spread evenly over the labels: 13 MB of 1280 numbers each. To compare a picture with all
of them takes 6.4 million multiplications, and to run efficientnet_lite0 400 million."""
NEAREST = 3
"""The neighbour whose distance counts; with the first, a single odd training picture would make its like believed."""
STAY = 0.96
"""The share of known pictures that `max_distance` is to let pass."""
_CAUTION = 0.5
"""Standard deviations by which more answers may be wrong than were seen to be."""
_CURVE_POINTS = 50
_PIECE = 1024
"""Features that are compared with the bank at once."""
_SAME = 0.03
"""The distance within which features are of the same picture: those of a bank are rounded, so that their length is off
by up to a four-thousandth, and the distance of a picture from itself is up to 0.02."""


class FeatureBank:
    """Training features of one version, of which it tells the distance of other features."""

    def __init__(self, rows: torch.Tensor, groups: torch.Tensor | None = None) -> None:
        """Keep rows (N, D) of length 1; `groups` (N,) are the same number for pictures that look alike, and are not
        stored."""
        self._rows = rows.float()
        self._groups = torch.arange(len(rows)) if groups is None else groups
        self._nearest = min(NEAREST, len(rows))

    @classmethod
    def build(cls, features: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None = None) -> FeatureBank:
        """Keep some of the features (N, D) of the training pictures with labels (N,) int64: the same number of each
        label, as far as there are, and MOST_ROWS at most; `groups` (N,) as above.

        They are rounded to half precision, as they are stored, so that a bank tells the same before and after.
        """
        chosen = _spread(labels, MOST_ROWS)
        rows = functional.normalize(features[chosen].float(), dim=1).half()
        return cls(rows, None if groups is None else groups[chosen])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def width(self) -> int:
        """The numbers of one feature."""
        return self._rows.shape[1]

    def distances(self, features: torch.Tensor) -> torch.Tensor:
        """Return (M,) float32, 0 to 2: how far each of (M, D) features is from the training features."""
        return self._kth(functional.normalize(features.float(), dim=1), self._nearest)

    def distances_from_others(self, features: torch.Tensor, groups: torch.Tensor | None = None) -> torch.Tensor:
        """Return (M,) float32: how far each of (M, D) features is from the training features, but itself if it is one
        of them, and but those of its group: `groups` (M,) are the same number for pictures that look alike."""
        rows = functional.normalize(features.float(), dim=1)
        groups = torch.arange(len(rows)) if groups is None else groups
        # Which of the given features those of the bank are, if any: groups are not stored with them.
        same, owner = _kinship(self._rows, rows)
        own = torch.where(_distance(same) < _SAME, groups[owner], -1)
        known = own[own >= 0]
        others = len(self._rows) - (int(known.unique(return_counts=True)[1].max()) if len(known) else 0)
        nearest = min(NEAREST, max(1, others))
        found = []
        for part, part_groups in zip(rows.split(_PIECE), groups.split(_PIECE), strict=True):
            alike = part @ self._rows.T
            first = alike.max(dim=1, keepdim=True)
            itself = torch.where(_distance(first.values) < _SAME, -1.0, first.values)  # also a copy of another group
            if others:
                alike.scatter_(1, first.indices, itself)
                alike[part_groups[:, None] == own] = -1.0  # the least that rows of length 1 can be alike
            found.append(alike.topk(nearest, dim=1).values[:, -1])
        return _distance(torch.cat(found))

    def distances_within(self) -> torch.Tensor:
        """Return (N,) float32: how far each feature of the bank is from those of other groups.

        Of a network that was not trained on these pictures they are spread as those of new pictures. A feature without
        another group is at the largest distance.
        """
        others = len(self._rows) - int(self._groups.unique(return_counts=True)[1].max())
        nearest = min(NEAREST, max(1, others))
        found = []
        for part, groups in zip(self._rows.split(_PIECE), self._groups.split(_PIECE), strict=True):
            alike = part @ self._rows.T
            alike[groups[:, None] == self._groups] = -1.0  # the least that rows of length 1 can be alike
            found.append(alike.topk(nearest, dim=1).values[:, -1])
        return _distance(torch.cat(found))

    def to_bytes(self) -> bytes:
        """Return the bank as safetensors with half precision."""
        return safetensors.torch.save({"features": self._rows.half().contiguous()})

    @classmethod
    def from_bytes(cls, data: bytes) -> FeatureBank:
        """Return what `to_bytes` stored; raises BadWeights if it is damaged."""
        try:
            return cls(safetensors.torch.load(data)["features"])
        except (safetensors.SafetensorError, KeyError) as error:
            raise BadWeights("The stored training features of the rejection rule are damaged: fit it again.") from error

    def _kth(self, rows: torch.Tensor, nearest: int, skip: int = 0) -> torch.Tensor:
        """Return the distance of the `nearest`-th neighbour, without the first `skip` ones: each row itself."""
        found = [
            # Of rows of length 1, by their inner products: a matrix product is the fastest way to compare with all.
            (part @ self._rows.T).topk(nearest + skip, dim=1).values[:, -1]
            for part in rows.split(_PIECE)
        ]
        return _distance(torch.cat(found))


def _kinship(rows: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each of (N, D) rows the largest inner product with one of the others, and the place of that."""
    found = [(part @ others.T).max(dim=1) for part in rows.split(_PIECE)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def _distance(products: torch.Tensor) -> torch.Tensor:
    """Return the distances of rows of length 1 with these inner products."""
    return (2.0 - 2.0 * products).clamp(min=0.0).sqrt()


def fewest(precision: float) -> int:
    """Return the least number of pictures, all answered rightly, that support this precision: 19 for 0.95."""
    return math.ceil(1.0 / (1.0 - precision) - 1e-9) - 1


def fit(
    scores: torch.Tensor,
    right: torch.Tensor,
    distances: torch.Tensor | None,
    precision: float,
) -> RejectionRule | None:
    """Return the rule that believes the most answers while the wanted share of them is right; None if there is none.

    `scores` (N,) of the best labels, whether they are `right` (N,) bool, and `distances` (N,) are of labelled pictures
    that the training has not seen. `distances` of None makes a rule that looks at scores only. See `why_none` for the
    reason of None. Raises BadOption for a precision out of range.
    """
    check_precision("precision", precision)
    max_distance = None
    known = torch.ones_like(right, dtype=torch.bool)
    if distances is not None and len(distances):
        max_distance = _farthest(distances)
        known = distances <= max_distance
    min_score = _lowest_score(scores[known].double(), right[known], precision)
    return None if min_score is None else RejectionRule(precision, min_score, max_distance)


def why_none(count: int, precision: float) -> str:
    """Return why `fit` found no rule on `count` pictures, and what to do, for people."""
    needed = fewest(precision)
    if count < needed:
        return (
            f"{count} labelled pictures do not suffice for a precision of {precision:g}: at least {needed} are needed, "
            "and more of them if some are answered wrongly. Give more pictures, or ask for a lower precision."
        )
    return (
        f"No score separates answers of which {precision:.1%} are right: too many wrong answers have the highest "
        "scores. Ask for a lower precision, or train a better version."
    )


def curve(
    scores: torch.Tensor, right: torch.Tensor, distances: torch.Tensor | None, rule: RejectionRule
) -> list[dict[str, float]]:
    """Return coverage against accuracy for falling `min_score`, from few believed answers to all, for evidence.

    `coverage` is the share of the pictures that are believed, `accuracy` the share of right ones among them. A picture
    that is too far by the rule is never believed. Returns at most 50 points, none if no picture is near enough.
    """
    near = torch.ones_like(right, dtype=torch.bool)
    if rule.max_distance is not None and distances is not None:
        near = distances <= rule.max_distance
    ordered, kept, wrong = _accumulated(scores[near].double(), right[near])
    if not len(ordered):
        return []
    chosen = torch.linspace(0, len(ordered) - 1, min(_CURVE_POINTS, len(ordered))).round().long().tolist()
    return [
        {
            "coverage": float(kept[index]) / len(scores),
            "accuracy": 1.0 - float(wrong[index]) / float(kept[index]),
            "min_score": float(ordered[index]),
        }
        for index in chosen
    ]


def _lowest_score(scores: torch.Tensor, right: torch.Tensor, precision: float) -> float | None:
    """Return the lowest score from which the answers are right often enough; 0.0 if all are, None if no score will do.

    More wrong answers are counted than were seen: one, as in conformal prediction, since the next picture may be wrong;
    and half of their own standard deviation, since the best of many thresholds looks better than it is. On simulated
    answers the precision of new ones is then as wanted on average (0.88 of 0.90 without the second, from 160 pictures).
    A binomial bound with 95 % confidence would need three times as many pictures, which small datasets do not have.
    """
    ordered, kept, wrong = _accumulated(scores, right)
    expected = wrong + 1 + _CAUTION * wrong.sqrt()
    enough = (expected / (kept + 1) <= 1.0 - precision + 1e-9).nonzero()
    if not len(enough):
        return None
    last = int(enough[-1])
    if last == len(ordered) - 1:
        return 0.0
    return float(ordered[last] + ordered[last + 1]) / 2  # between both: runtimes differ in the last digits of a score


def _accumulated(scores: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the distinct scores, highest first, with the number of pictures, and of wrong ones, from each score on."""
    ordered, inverse = scores.unique(return_inverse=True)  # equal scores are believed together
    size = len(ordered)
    kept = torch.bincount(inverse, minlength=size).flip(0).cumsum(0)
    wrong = torch.bincount(inverse, weights=(~right).double(), minlength=size).flip(0).cumsum(0)
    return ordered.flip(0), kept, wrong


def _farthest(distances: torch.Tensor) -> float:
    """Return the distance within which STAY of known pictures are expected: a quantile, the largest if they are few."""
    rank = min(len(distances), math.ceil(STAY * (len(distances) + 1)))
    return float(distances.double().sort().values[rank - 1])


def _spread(labels: torch.Tensor, most: int) -> torch.Tensor:
    """Return the indices of at most `most` rows, in order, the same number of each label as far as there are."""
    groups = sorted(((labels == label).nonzero()[:, 0] for label in labels.unique()), key=len)
    chosen: list[torch.Tensor] = []
    for number, group in enumerate(groups):  # the smallest first: what they leave is for the larger ones
        share = max(1, (most - sum(map(len, chosen))) // (len(groups) - number))
        step = max(1.0, len(group) / share)
        chosen.append(group[(torch.arange(min(share, len(group))) * step).long()])
    return torch.cat(chosen)[:most].sort().values
