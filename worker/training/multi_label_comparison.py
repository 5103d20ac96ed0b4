"""Comparison of two multi-label versions: by their mean average precision, which no threshold changes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from shared.domain import chance
from shared.domain.comparisons import verdict_of_change
from shared.domain.datasets import DatasetExample
from shared.domain.models import ModelVersion
from shared.domain.scores import logits_of
from worker.training import average_precision
from worker.training.multi_label_evidence import measure_label


class Answers:
    """The answers of one version, in the columns of the labels that either version knows.

    A version that lacks a label gives it to no picture, and ranks all pictures alike.
    """

    def __init__(self, version: ModelVersion, logits: torch.Tensor, names: Sequence[str]) -> None:
        """Take logits (N, C) of the version's labels; `names` are the labels of the columns."""
        # A version without thresholds, as one with a single output, answers every picture with its label.
        lowest = logits_of(version.thresholds, len(version.labels)) or (-torch.inf,) * len(version.labels)
        at = {label: number for number, label in enumerate(version.labels)}
        self.scores = torch.full((len(logits), len(names)), -torch.inf, dtype=torch.float64)
        self.answered = torch.zeros(len(logits), len(names), dtype=torch.bool)
        for column, name in enumerate(names):
            if (number := at.get(name)) is not None:
                self.scores[:, column] = logits[:, number].double()
                self.answered[:, column] = self.scores[:, column] >= lowest[number]


def report(
    candidate: ModelVersion, baseline: ModelVersion, logits: dict[str, torch.Tensor], examples: Sequence[DatasetExample]
) -> dict[str, Any]:
    """Return the part of a comparison's report that follows from the logits (N, C) of `candidate` and `baseline`."""
    names = sorted({*candidate.labels, *baseline.labels})
    has = torch.tensor([[name in example.labels for name in names] for example in examples])
    both = {
        "candidate": Answers(candidate, logits["candidate"], names),
        "baseline": Answers(baseline, logits["baseline"], names),
    }
    right = {role: (answers.answered == has).all(dim=1) for role, answers in both.items()}
    drawn = average_precision.resamples(*has.shape)
    change, interval = _change(both, has, drawn)
    measured = {role: _measure(both[role], has, right[role], names) for role in both}
    return {
        "agreement": float((both["candidate"].answered == both["baseline"].answered).all(dim=1).double().mean()),
        "only_right": {
            "candidate": int((right["candidate"] & ~right["baseline"]).sum()),
            "baseline": int((right["baseline"] & ~right["candidate"]).sum()),
        },
        "mean_average_precision_change": change,
        "mean_average_precision_change_interval": interval,
        "verdict": verdict_of_change(interval, len(examples)),
        **measured,
    }


def _change(both: dict[str, Answers], has: torch.Tensor, drawn: torch.Tensor) -> tuple[float, tuple[float, float]]:
    """Return the change of the mean average precision from the baseline to the candidate, and its bounds: those of
    samples of the pictures (the bootstrap), on each of which both are measured."""
    found, changes = [], []
    for role in ("candidate", "baseline"):
        scores = both[role].scores
        found.append(average_precision.mean(average_precision.average_precisions(scores, has)))
        changes.append(average_precision.mean(average_precision.average_precisions(scores, has, drawn)))
    tail = (1 - chance.CONFIDENCE) / 2
    change = changes[0] - changes[1]
    bounds = change[~change.isnan()].quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(found[0] - found[1]), (float(bounds[0]), float(bounds[1]))


def _measure(answers: Answers, has: torch.Tensor, right: torch.Tensor, names: Sequence[str]) -> dict[str, Any]:
    precisions = average_precision.average_precisions(answers.scores, has)
    rows = [
        measure_label(name, answers.answered[:, number], has[:, number], float(precisions[number]))
        for number, name in enumerate(names)
        if has[:, number].any()
    ]
    exact = int(right.sum())
    return {
        "accuracy": exact / len(has),
        "accuracy_interval": chance.accuracy_interval(exact, len(has)),
        "mean_average_precision": float(average_precision.mean(precisions)),
        "macro_f1": statistics.fmean(row["f1"] for row in rows),
        "per_label": rows,
    }
