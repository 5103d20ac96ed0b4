"""Multi-label evidence: all measurements of a multi-label version on the test pictures, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from shared.domain import chance
from shared.domain.datasets import DatasetExample
from shared.domain.models import ProblemType
from shared.domain.scores import logits_of
from worker.training import average_precision, calibration, truths
from worker.training.cross_validation import FOLDS
from worker.training.evidence import MOST_MISTAKES, MOST_SUSPECTS, MOST_TESTED
from worker.training.outcome import Unseen
from worker.training.suspects import SuspectLabel, find_suspect_labels
from worker.training.thresholds import Correction, choose, correct


def evidence(
    logits: torch.Tensor,
    shown: torch.Tensor,
    labels: Sequence[str],
    examples: Sequence[DatasetExample],
    correction: Correction,
    thresholds: Sequence[float],
) -> dict[str, Any]:
    """Return the evidence from N test examples: logits (N, C) as served, truths (N, C), C labels, a threshold for each.

    `accuracy` is the share of pictures with exactly the right labels. Means over labels are those of the labels that
    occur, among the test pictures or the answers for `macro_f1`, among the test pictures for the mean average
    precision, which is null if there are none. What cannot be computed otherwise is 0.0. `mistakes` are single labels
    of a picture, the most confident first; `reliability` counts each label of each picture.
    """
    logits, shown = logits.detach().cpu().double(), shown.cpu()
    answered, has = logits >= _lowest(thresholds, len(labels)), shown > 0
    precisions = average_precision.average_precisions(logits, shown)
    rows = [
        measure_label(labels[number], answered[:, number], has[:, number], float(precisions[number]))
        | {"threshold": thresholds[number]}
        for number in range(len(labels))
    ]
    occurring = [row["f1"] for row in rows if row["support"] + row["false_positives"]]
    before, after = (calibration.reliability_of_labels(found, shown) for found in (correction.undone(logits), logits))
    exact = int((answered == has).all(dim=1).sum())
    both = int((answered & has).sum())
    tested = [[example.id, *row.nonzero()[:, 0].tolist()] for example, row in zip(examples, answered, strict=True)]
    return {
        "problem_type": ProblemType.MULTI_LABEL.value,
        "accuracy": _share(exact, len(shown)),
        "accuracy_interval": chance.accuracy_interval(exact, len(shown)),
        **_mean_average_precision(logits, shown),
        "micro_f1": _share(2 * both, int(answered.sum()) + int(has.sum())),
        "macro_f1": _share(sum(occurring), len(occurring)),
        "labels": list(labels),
        "per_label": rows,
        "confusion": [],
        "temperature": correction.temperature,
        "ece_before": calibration.error(before),
        "ece_after": calibration.error(after),
        "reliability_before": [asdict(item) for item in before],
        "reliability": [asdict(item) for item in after],
        "mistakes_in_all": int((answered != has).sum()),
        "mistakes": _mistakes(logits.sigmoid(), answered, has, labels, examples),
        "tested": tested[:MOST_TESTED],
    }


def evidence_of_folds(answers: Unseen | None) -> dict[str, Any] | None:
    """Return what cross-validation has shown of the linear head, whatever the thresholds; None if there was none."""
    if answers is None:
        return None
    measured = _mean_average_precision(answers.logits, answers.truths)
    return {"folds": FOLDS, "pictures": len(answers.truths), "accuracy": None, "accuracy_interval": None, **measured}


def evidence_of_suspects(
    labels: Sequence[str], tested: Unseen, held_out: Unseen, correction: Correction, thresholds: Sequence[float],
    crossed: Unseen | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the labels of examples that are probably wrong, from the answers on the test pictures, as served, and on
    those that were held out of the training, before the correction.

    Fine-tuning holds out a third; the others are judged by the heads of `crossed`, which have not learned from them.
    """
    lowest = logits_of(thresholds, len(labels))
    found = [
        (unseen.examples[suspect.row], suspect)
        for unseen in (tested, replace(held_out, logits=correction(held_out.logits)))
        for suspect in find_suspect_labels(unseen, lowest)
    ]
    if crossed is not None:
        judged = {example.id for example in held_out.examples}
        found += [each for each in _doubted_by_folds(crossed, len(labels)) if each[0].id not in judged]
    found.sort(key=lambda row: row[1].score)
    return {
        "suspects_in_all": len(found),
        "suspects": [
            {
                "example": example.id,
                "name": example.name,
                "label": labels[suspect.label] if suspect.has else "",
                "suggested": "" if suspect.has else labels[suspect.label],
                "score": suspect.score,
            }
            for example, suspect in found[:MOST_SUSPECTS]
        ],
    }


def _doubted_by_folds(crossed: Unseen, count: int) -> list[tuple[DatasetExample, SuspectLabel]]:
    """Return the labels, of `count`, that the linear heads of cross-validation doubt.

    They get a correction and thresholds of their own: those of a fine-tuned version do not suit their answers.
    """
    counting = truths.balance(crossed.truths, count)
    correction = correct(crossed.logits, crossed.truths, counting, biased=True)
    corrected = replace(crossed, logits=correction(crossed.logits))
    lowest = logits_of(choose(corrected.logits, corrected.truths), count)
    return [(crossed.examples[each.row], each) for each in find_suspect_labels(corrected, lowest)]


def _lowest(thresholds: Sequence[float], count: int) -> torch.Tensor:
    """Return the lowest logits with which labels are answered, as a worker compares them."""
    return torch.tensor(logits_of(thresholds, count), dtype=torch.float64)


def _mean_average_precision(scores: torch.Tensor, shown: torch.Tensor) -> dict[str, Any]:
    mean = average_precision.mean(average_precision.average_precisions(scores, shown))
    return {
        "mean_average_precision": None if mean.isnan() else float(mean),
        "mean_average_precision_interval": average_precision.interval(scores, shown),
    }


def measure_label(label: str, answered: torch.Tensor, has: torch.Tensor, precision: float) -> dict[str, Any]:
    """Return the measurements of one label from the pictures that were answered with it, (N,) bool, those that have it,
    and its average precision."""
    both, only_answered, only_has = (int(chosen.sum()) for chosen in (answered & has, answered & ~has, ~answered & has))
    support = both + only_has
    return {
        "label": label,
        "precision": _share(both, both + only_answered),
        "recall": _share(both, support),
        "recall_interval": chance.accuracy_interval(both, support),
        "f1": _share(2 * both, 2 * both + only_answered + only_has),
        "support": support,
        "average_precision": precision if support else None,
        "true_positives": both,
        "false_positives": only_answered,
        "false_negatives": only_has,
        "true_negatives": len(has) - both - only_answered - only_has,
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _mistakes(
    scores: torch.Tensor, answered: torch.Tensor, has: torch.Tensor, labels: Sequence[str],
    examples: Sequence[DatasetExample],
) -> list[dict[str, Any]]:  # fmt: skip
    rows, numbers = (answered != has).nonzero(as_tuple=True)
    own = scores[rows, numbers]
    sure = torch.where(answered[rows, numbers], own, 1 - own)
    ranked = sure.sort(descending=True, stable=True).indices[:MOST_MISTAKES].tolist()
    return [
        {
            "example": examples[row].id,
            "name": examples[row].name,
            "expected": labels[number] if has[row, number] else "",
            "predicted": labels[number] if answered[row, number] else "",
            "score": float(scores[row, number]),
        }
        for row, number in ((int(rows[place]), int(numbers[place])) for place in ranked)
    ]
