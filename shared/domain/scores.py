"""Scores: the function that makes them from the logits of a version, and the labels that belong to the answer.

`worker/engine.py` applies these rules to batches, `shared/services/result_cache.py` to logits that were stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shared import errors
from shared.domain.jobs import AnswerOptions
from shared.domain.models import ModelVersion, ProblemType

_OWN_FUNCTIONS = {ProblemType.SINGLE_LABEL: "softmax", ProblemType.MULTI_LABEL: "sigmoid"}
_LOGIT_OF_ONE = 53 * math.log(2)
"""The logit from which the sigmoid is 1 in double precision."""


@dataclass(frozen=True)
class Scoring:
    """How the logits of a version become an answer."""

    function_to_apply: str
    """One of FUNCTIONS."""
    with_thresholds: bool
    """True if the answer has only the labels whose score is at least their threshold."""


def check_task(version: ModelVersion, options: AnswerOptions) -> None:
    """Raise BadOption unless the version can do the task."""
    if options.task == "features" and not version.has_features:
        raise errors.BadOption(
            f"Model {version.name} version {version.version} is an ONNX file in which no last layer can be found, so "
            "it has no features; ask for labels instead."
        )


def choose_scoring(version: ModelVersion, options: AnswerOptions) -> Scoring:
    """Return the function that the caller asked for, without thresholds, or else the version's own function."""
    if options.function_to_apply:
        return Scoring(options.function_to_apply, with_thresholds=False)
    is_multi_label = version.problem_type is ProblemType.MULTI_LABEL
    return Scoring(_OWN_FUNCTIONS[version.problem_type], with_thresholds=is_multi_label)


def lowest_logits(version: ModelVersion, *, with_thresholds: bool) -> tuple[float, ...]:
    """Return, for each label, the lowest logit with which it belongs to the answer; empty if any logit will do.

    Logits are compared, not scores: two libraries may round the sigmoid differently in the last digit, and a label
    whose score is its threshold would then be in the answer of a worker and not in that of the result cache.
    """
    return logits_of(version.thresholds, len(version.labels)) if with_thresholds else ()


def logits_of(thresholds: Sequence[float], count: int) -> tuple[float, ...]:
    """Return the logits of thresholds for `count` labels; empty if there are no thresholds."""
    logits = tuple(_logit(threshold) for threshold in thresholds)
    return logits * count if len(logits) == 1 else logits


def _logit(score: float) -> float:
    """Return the number whose sigmoid is the score."""
    if score <= 0:
        return -math.inf
    return min(_LOGIT_OF_ONE, math.log(score) - math.log1p(-score)) if score < 1 else _LOGIT_OF_ONE
