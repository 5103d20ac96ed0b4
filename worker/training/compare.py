"""Comparison of two versions on the same test pictures: accuracy, per-label results and speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from shared.adapters.storage import Storage
from shared.domain import chance
from shared.domain.comparisons import verdict
from shared.domain.datasets import DatasetExample
from shared.domain.models import ModelVersion, ProblemType
from worker.engine import Loaded
from worker.training import multi_label_comparison
from worker.training import pictures as stored

_TIMED = 20
"""Number of pictures that are run one at a time, to measure the time per picture."""


def compare(
    storage: Storage, candidate: Loaded, baseline: Loaded, pictures: Sequence[DatasetExample], left_out: int,
    on_progress: Callable[[int], None],
) -> dict[str, Any]:  # fmt: skip
    """Return the report of a comparison, as `Comparison` describes it.

    `on_progress` is called with the number of pictures done.

    Answers are compared by the text of their labels, so that versions with different labels can be compared as well: a
    version that lacks a label is wrong on all pictures of it. Both versions are of the same problem type.
    """
    logits: dict[str, list[torch.Tensor]] = {"candidate": [], "baseline": []}
    pace: dict[str, list[float]] = {"candidate": [], "baseline": []}
    size = min(candidate.max_batch, baseline.max_batch)
    for start in range(0, len(pictures), size):
        data = [stored.read(storage, example) for example in pictures[start : start + size]]
        for role, model in (("candidate", candidate), ("baseline", baseline)):
            inputs = [model.prepare(picture) for picture in data]
            timed = inputs[: max(0, _TIMED - len(pace[role]))]
            pace[role] += [_milliseconds(model, tensor) for tensor in timed]
            logits[role].append(model.forward(inputs))
        on_progress(start + len(data))
    rows = {role: torch.cat(parts) for role, parts in logits.items()}
    versions = candidate.version, baseline.version
    is_multi_label = candidate.version.problem_type is ProblemType.MULTI_LABEL
    found = (multi_label_comparison.report if is_multi_label else _report)(*versions, rows, pictures)
    for role, version in zip(rows, versions, strict=True):
        found[role] |= {"version": version.version, "milliseconds": round(statistics.median(pace[role]), 2)}
    return {"pictures": len(pictures), "left_out": left_out, "labels": _labels(*versions), **found}


def best(model: Loaded, inputs: Sequence[torch.Tensor]) -> list[str]:
    """Return the likeliest label of each prepared picture."""
    return _best(model.version, model.forward(inputs))


def _best(version: ModelVersion, logits: torch.Tensor) -> list[str]:
    return [version.labels[index] for index in logits.argmax(dim=1).tolist()]


def _report(
    candidate: ModelVersion, baseline: ModelVersion, logits: dict[str, torch.Tensor], examples: Sequence[DatasetExample]
) -> dict[str, Any]:
    """Return the part of a report that follows from the logits (N, C) of `candidate` and `baseline`."""
    truths = [example.label for example in examples]
    mine, others = _best(candidate, logits["candidate"]), _best(baseline, logits["baseline"])
    only = _only_right(truths, mine, others)
    return {
        "agreement": sum(one == other for one, other in zip(mine, others, strict=True)) / len(truths),
        "only_right": {"candidate": only[0], "baseline": only[1]},
        "verdict": verdict(*only),
        "candidate": _measure(truths, mine),
        "baseline": _measure(truths, others),
    }


def _only_right(truths: Sequence[str], mine: Sequence[str], others: Sequence[str]) -> tuple[int, int]:
    """Return the numbers of pictures that only the first, and only the second, answers rightly."""
    pairs = [(one == truth, other == truth) for truth, one, other in zip(truths, mine, others, strict=True)]
    return pairs.count((True, False)), pairs.count((False, True))


def _milliseconds(model: Loaded, tensor: torch.Tensor) -> float:
    began = time.perf_counter()
    model.forward([tensor])
    return (time.perf_counter() - began) * 1000


def _labels(candidate: ModelVersion, baseline: ModelVersion) -> dict[str, int]:
    """Return the number of labels that each version knows, and that both know: versions of a model may differ in
    labels."""
    candidate_labels, baseline_labels = set(candidate.labels), set(baseline.labels)
    return {
        "candidate": len(candidate_labels),
        "baseline": len(baseline_labels),
        "common": len(candidate_labels & baseline_labels),
    }


def _measure(truths: list[str], answers: list[str]) -> dict[str, Any]:
    right = sum(truth == answer for truth, answer in zip(truths, answers, strict=True))
    rows = [_label(label, truths, answers) for label in sorted(set(truths))]
    return {
        "accuracy": right / len(truths),
        "accuracy_interval": chance.accuracy_interval(right, len(truths)),
        "macro_f1": statistics.fmean(row["f1"] for row in rows),
        "per_label": rows,
    }


def _label(label: str, truths: list[str], answers: list[str]) -> dict[str, Any]:
    pairs = list(zip(truths, answers, strict=True))
    right = sum(truth == answer == label for truth, answer in pairs)
    support, answered = truths.count(label), answers.count(label)
    return {
        "label": label,
        "precision": right / answered if answered else 0.0,
        "recall": right / support,
        "f1": 2 * right / (answered + support),
        "support": support,
    }
