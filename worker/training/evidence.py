"""What a version did with the test pictures, as plain JSON: nobody has to believe in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from worker.training import calibration

MOST_MISTAKES = 200


def evidence(
    logits: torch.Tensor,
    truths: torch.Tensor,
    labels: Sequence[str],
    examples: Sequence[tuple[str, str]],
    temperature: float,
) -> dict[str, Any]:
    """From test logits (N, C), their labels' numbers (N,), C labels, and id and name of each of the N pictures.

    `confusion` has a row for each true label and a column for each answer. What cannot be computed, as the precision
    of a label that was never answered, is 0.0. `macro_f1` is over the labels that occur, as in scikit-learn.
    `mistakes` are the most confident MOST_MISTAKES; their scores, and the bins after, are those at `temperature`.
    """
    logits, truths = logits.detach().cpu(), truths.cpu()
    answers = logits.argmax(dim=1)
    size = len(labels)
    confusion = torch.bincount(truths * size + answers, minlength=size * size).view(size, size)
    rows = [_label(labels[number], confusion, number) for number in range(size)]
    occurring = [row["f1"] for number, row in enumerate(rows) if confusion[number].sum() + confusion[:, number].sum()]
    before, after = (calibration.reliability(logits, truths, divisor) for divisor in (1.0, temperature))
    return {
        "examples": len(truths),
        "accuracy": _share(int(confusion.trace()), len(truths)),
        "macro_f1": _share(sum(occurring), len(occurring)),
        "labels": rows,
        "confusion": confusion.tolist(),
        "calibration": {
            "temperature": temperature,
            "error_before": calibration.error(before),
            "error_after": calibration.error(after),
            "bins_before": [asdict(one) for one in before],
            "bins_after": [asdict(one) for one in after],
        },
        "mistakes_in_all": len(truths) - int(confusion.trace()),
        "mistakes": _mistakes(logits / temperature, truths, labels, examples),
    }


def _label(label: str, confusion: torch.Tensor, number: int) -> dict[str, Any]:
    right = int(confusion[number, number])
    answered, support = int(confusion[:, number].sum()), int(confusion[number].sum())
    return {
        "label": label,
        "precision": _share(right, answered),
        "recall": _share(right, support),
        "f1": _share(2 * right, answered + support),
        "support": support,
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _mistakes(
    logits: torch.Tensor, truths: torch.Tensor, labels: Sequence[str], examples: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    scores, answers = logits.double().softmax(dim=1).max(dim=1)
    wrong = (answers != truths).nonzero()[:, 0]
    ranked = wrong[scores[wrong].sort(descending=True, stable=True).indices][:MOST_MISTAKES]
    return [
        {
            "example": examples[index][0],
            "name": examples[index][1],
            "expected": labels[int(truths[index])],
            "predicted": labels[int(answers[index])],
            "score": float(scores[index]),
        }
        for index in ranked.tolist()
    ]
