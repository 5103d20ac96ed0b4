"""The rejection rules of trainings: how right a version is where it believes itself, and what it does with foreign
pictures."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.training import figures
from bench.training.base import Base
from bench.training.contestants.ours import PARAMETER, Ours, has_parameter
from bench.training.result import Rejection, Result
from bench.training.tasks import Draw
from shared.domain.models import ModelVersion

_WHAT = "rejection"


def measure(
    result: Result, base: Base, ours: Ours, drawn: Draw, version: ModelVersion, foreign: Sequence[bytes]
) -> str:
    """Add what the rule of a version does, or why it has none, and return it in words."""
    what = f"{_WHAT}, {drawn.task.name}, seed {drawn.seed}"
    if not has_parameter(PARAMETER):
        result.left_out[_WHAT] = f"trainings have no parameter {PARAMETER}"
        return f"{_WHAT} is left out: {result.left_out[_WHAT]}"
    rule = getattr(version, "rejection", None)
    if rule is None:
        result.left_out[what] = "the version has no rule"
        return f"{what}: no rule"
    found = _judge(base, ours, version, rule, drawn, foreign)
    result.rejections.append(found)
    return f"{what}: {found.coverage:.2f} believed, {found.foreign_rejected:.2f} of foreign ones rejected"


def _judge(
    base: Base, ours: Ours, version: ModelVersion, rule: Any, drawn: Draw, foreign: Sequence[bytes]
) -> Rejection:
    known = [picture.data for picture in drawn.held_back]
    scores, distances = _answers(base, ours, version, rule, [*known, *foreign])
    order = [version.labels.index(label) for label in drawn.task.labels]
    right = scores[: len(known), order].argmax(axis=1) == drawn.truths
    return summarise(drawn.task.name, drawn.seed, believed(rule, scores, distances), right)


def _answers(
    base: Base, ours: Ours, version: ModelVersion, rule: Any, pictures: Sequence[bytes]
) -> tuple[figures.Scores, np.ndarray | None]:
    """Return scores (N, C), and distances (N,) from what the version has learned, if the rule looks at them."""
    scores = figures.softmax(ours.logits(version, pictures))
    if rule.max_distance is None:
        return scores, None
    bank = importlib.import_module("worker.rejection").FeatureBank.from_bytes(base.container.storage.read(rule.bank))
    features = torch.from_numpy(ours.logits(version, pictures, "features"))
    return scores, np.asarray(bank.distances(features))


def believed(rule: Any, scores: figures.Scores, distances: np.ndarray | None) -> np.ndarray:
    """Return (N,) bool: the answers that a rule with `min_score` and `max_distance` believes."""
    sure = scores.max(axis=1) >= rule.min_score
    return sure if distances is None else sure & (distances <= rule.max_distance)


def summarise(task: str, seed: int, believed: np.ndarray, right: np.ndarray) -> Rejection:
    """Return the figures from `believed` (N + F,), of N pictures that are held back and then of F foreign ones, and
    `right` (N,)."""
    known, foreign = believed[: len(right)], believed[len(right) :]
    precision = float(right[known].mean()) if known.any() else None
    return Rejection(task, seed, precision, float(known.mean()), float(1 - foreign.mean()))
