"""Rejection: the rule by which an answer of a version is not believed, and what such an answer says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared import errors


class Doubt(StrEnum):
    """Why an answer is not believed."""

    LOW_SCORE = "low_score"
    """The best label's score is lower than those that were right often enough."""
    UNLIKE_TRAINING = "unlike_training"
    """The picture differs from all pictures that the version has learnt from."""


SENTENCES = {
    Doubt.LOW_SCORE: "The score is too low: answers with such scores are wrong too often.",
    Doubt.UNLIKE_TRAINING: "The picture is unlike those that the model has learnt from.",
}
"""What each doubt says to people."""


@dataclass(frozen=True)
class RejectionRule:
    """The rule of a version, chosen on labelled pictures that its training has not seen; raises BadOption for a
    precision out of range."""

    precision: float
    """The wanted share of right answers among those that are believed."""
    min_score: float
    """The lowest score of the best label, calibrated if the version is, that is believed."""
    max_distance: float | None
    """The largest distance from the training features that is believed; None if distances are not looked at."""
    bank: str = ""
    """The key of the blob with the training features; empty without a distance."""
    label: str = ""
    """The label that is the answer on wires that have no word for doubt; empty leaves their answer as it is."""

    def __post_init__(self) -> None:
        check_precision("precision", self.precision)


@dataclass(frozen=True)
class RejectionRequest:
    """A rule that is to be fitted on a dataset; raises BadOption for values out of range."""

    precision: float
    dataset_id: int
    label: str = ""
    """As in RejectionRule."""

    def __post_init__(self) -> None:
        check_precision("the precision", self.precision)
        check_label("unknown_label", self.label)


@dataclass(frozen=True)
class Verdict:
    """What the rule of a version says of one answer; a version without a rule gives none."""

    doubt: str = ""
    """A Doubt; empty if the answer is believed."""
    label: str = ""
    """As in RejectionRule."""
    score: float = 1.0
    """The score of that label: 1 minus the best score where that is too low, 1 for a picture unlike the training."""


def best_score(logits: Sequence[float]) -> float:
    """Return the softmax of the largest logit. Worker and result cache both call this, so that they judge alike."""
    top = max(logits)
    return 1.0 / math.fsum(math.exp(logit - top) for logit in logits)


def find_doubt(rule: RejectionRule, score: float, distance: float | None) -> str:
    """Return why an answer with this best score, of a picture at this distance, is not believed; empty if it is.

    The distance comes first: the score of a picture unlike the training means nothing. It is ignored if the rule has
    none, or if it is not known.
    """
    if rule.max_distance is not None and distance is not None and not distance <= rule.max_distance:
        return Doubt.UNLIKE_TRAINING
    return "" if score >= rule.min_score else Doubt.LOW_SCORE


def judge(rule: RejectionRule, score: float, distance: float | None) -> Verdict:
    """Return what the rule says of an answer with this best score, of a picture at this distance."""
    doubt = find_doubt(rule, score, distance)
    return Verdict(doubt, rule.label, 1.0 - score if doubt == Doubt.LOW_SCORE else 1.0)


def answer_without_doubt(result: Sequence[Sequence[Any]], verdict: Verdict | None) -> Sequence[Sequence[Any]]:
    """Return the labels and scores for a wire that has no word for doubt: the label of choice alone, if the answer is
    not believed and the rule has such a label; else the answer."""
    if verdict is None or not verdict.doubt or not verdict.label:
        return result
    return [(verdict.label, verdict.score)]


def bank_key(version_id: str, checksum: str = "") -> str:
    """Return the key of the features that a rule compares with, or, without a checksum, the folder of all those of a
    version."""
    return f"rejection/{version_id}/{checksum}" if checksum else f"rejection/{version_id}"


def fit_name(version_id: str) -> str:
    """Return the name of the key-value pair that holds the rule that is asked for, or why it could not be fitted."""
    return f"{FIT_PREFIX}{version_id}"


FIT_PREFIX = "rejection:"


def check_precision(name: str, precision: float) -> None:
    """Raise BadOption, with the caller's name of the value, unless the precision may be wanted."""
    if not LOWEST_PRECISION <= precision <= HIGHEST_PRECISION:  # also refuses NaN
        raise errors.BadOption(f"{name} must be from {LOWEST_PRECISION:g} to {HIGHEST_PRECISION:g}, not {precision:g}")


def check_label(name: str, label: str) -> None:
    """Raise BadOption, with the caller's name of the value, unless the label, which may be empty, can be answered."""
    if len(label) > _LONGEST_LABEL or not label.isprintable() or label != label.strip():
        raise errors.BadOption(
            f"{name} must be a printable text of {_LONGEST_LABEL} characters at most, without space around it"
        )


_LONGEST_LABEL = 100
LOWEST_PRECISION, HIGHEST_PRECISION = 0.5, 0.999
"""A precision of 1 would need infinitely many pictures to be shown."""
