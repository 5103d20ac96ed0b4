"""Evidence: all measurements of a version on the test pictures, as plain JSON, so that its quality can be verified."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from shared.domain import chance
from shared.domain.datasets import DatasetExample
from worker.training import calibration
from worker.training.cross_validation import FOLDS
from worker.training.outcome import Unseen
from worker.training.suspects import find_suspects

MOST_MISTAKES = 200
MOST_SUSPECTS = 200
MOST_TESTED = 5000
"""Maximum number of test pictures whose answers are listed."""


def evidence(
    logits: torch.Tensor,
    truths: torch.Tensor,
    labels: Sequence[str],
    examples: Sequence[DatasetExample],
    temperature: float,
) -> dict[str, Any]:
    """Return the evidence from N test examples: logits (N, C) before the temperature, label numbers (N,), and C labels.

    `confusion` has a row for each true label and a column for each answer. A value that cannot be computed, such as the
    precision of a label that was never answered, is 0.0. `macro_f1` is over the labels that occur, as in scikit-learn.
    `accuracy_interval` and the `recall_interval` of a label say what the number of pictures can show. Scores of
    `mistakes`, the most confident first, and the bins of `reliability` are those at `temperature`.
    """
    logits, truths = logits.detach().cpu(), truths.cpu()
    answers = logits.argmax(dim=1)
    size = len(labels)
    confusion = torch.bincount(truths * size + answers, minlength=size * size).view(size, size)
    rows = [_label(labels[number], confusion, number) for number in range(size)]
    occurring = [row["f1"] for number, row in enumerate(rows) if confusion[number].sum() + confusion[:, number].sum()]
    before, after = (calibration.reliability(logits, truths, divisor) for divisor in (1.0, temperature))
    tested = [[example.id, answer] for example, answer in zip(examples, answers.tolist(), strict=True)]
    right = int(confusion.trace())
    return {
        "accuracy": _share(right, len(truths)),
        "accuracy_interval": chance.accuracy_interval(right, len(truths)),
        "macro_f1": _share(sum(occurring), len(occurring)),
        "labels": list(labels),
        "per_label": rows,
        "confusion": confusion.tolist(),
        "temperature": temperature,
        "ece_before": calibration.error(before),
        "ece_after": calibration.error(after),
        "reliability_before": [asdict(item) for item in before],
        "reliability": [asdict(item) for item in after],
        "mistakes_in_all": len(truths) - right,
        "mistakes": _mistakes(logits / temperature, truths, labels, examples),
        "tested": tested[:MOST_TESTED],
    }


def evidence_of_folds(answers: Unseen | None) -> dict[str, Any] | None:
    """Return what cross-validation has shown of the linear head; None if there was none."""
    if answers is None:
        return None
    count = len(answers.truths)
    return {
        "folds": FOLDS, "pictures": count, "accuracy": _share(answers.right, count),
        "accuracy_interval": chance.accuracy_interval(int(answers.right), count),
    }  # fmt: skip


def evidence_of_suspects(labels: Sequence[str], tested: Unseen, held_out: Unseen) -> dict[str, Any]:
    """Return the examples whose label is probably wrong, from the answers on the test pictures and on those that were
    held out of the training; both are calibrated by the latter, or as they are if there are too few."""
    temperature = calibration.temperature(held_out.logits, held_out.truths)
    found = [
        (unseen.examples[suspect.row], suspect)
        for unseen in (tested, held_out)
        for suspect in find_suspects(unseen, temperature)
    ]
    found.sort(key=lambda row: row[1].score)
    return {
        "suspects_in_all": len(found),
        "suspects": [
            {
                "example": example.id, "name": example.name, "label": example.label,
                "suggested": labels[suspect.suggested], "score": suspect.score,
            }
            for example, suspect in found[:MOST_SUSPECTS]
        ],
    }  # fmt: skip


def machine(device: torch.device) -> dict[str, Any]:
    """Return a description of the machine that trained."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "device": str(device), "card": card, "cpu": _processor(), "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _label(label: str, confusion: torch.Tensor, number: int) -> dict[str, Any]:
    right = int(confusion[number, number])
    answered, support = int(confusion[:, number].sum()), int(confusion[number].sum())
    return {
        "label": label,
        "precision": _share(right, answered),
        "recall": _share(right, support),
        "recall_interval": chance.accuracy_interval(right, support),
        "f1": _share(2 * right, answered + support),
        "support": support,
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _mistakes(
    logits: torch.Tensor, truths: torch.Tensor, labels: Sequence[str], examples: Sequence[DatasetExample]
) -> list[dict[str, Any]]:
    scores, answers = logits.double().softmax(dim=1).max(dim=1)
    wrong = (answers != truths).nonzero()[:, 0]
    ranked = wrong[scores[wrong].sort(descending=True, stable=True).indices][:MOST_MISTAKES]
    return [
        {
            "example": examples[index].id,
            "name": examples[index].name,
            "expected": labels[int(truths[index])],
            "predicted": labels[int(answers[index])],
            "score": float(scores[index]),
        }
        for index in ranked.tolist()
    ]
