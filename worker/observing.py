"""Observing notes of each answer of a batch what is counted of it, so that drift is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shared.domain.drift import bank_name
from shared.domain.jobs import Outcome
from shared.domain.models import ALL_TENANTS, ModelVersion, ProblemType
from shared.domain.observations import Observation
from shared.domain.scores import lowest_logits
from worker.judging import Judge


def observed(version: ModelVersion, outcomes: Sequence[Outcome], rows: Tensor, judge: Judge | None) -> list[Outcome]:
    """Return the outcomes of a `classify` with their observations, from rows of logits or of what `judge` has measured.

    Models of the catalogue are not observed: the tenants share them, and none may see what the others send.
    """
    if version.tenant == ALL_TENANTS:
        return list(outcomes)
    bank = judge.rule.bank if judge and judge.bank else ""
    seen = observations(version, rows, bank_name(bank))
    return [replace(outcome, observation=each) for outcome, each in zip(outcomes, seen, strict=True)]


def observations(version: ModelVersion, rows: Tensor, bank: str = "") -> list[Observation]:
    """Return the observations of rows of logits, followed by the distance from the features of that bank if it is
    named."""
    logits = rows[:, : len(version.labels)].double()
    top, labels = logits.max(dim=1)
    if version.problem_type is ProblemType.MULTI_LABEL:
        lowest = logits.new_tensor(lowest_logits(version, with_thresholds=True))
        if len(lowest):
            reached = logits >= lowest
            is_answered = reached.any(dim=1)
            best, named = logits.masked_fill(~reached, -torch.inf).max(dim=1)
            labels = torch.where(is_answered, named, len(version.labels))
            top = torch.where(is_answered, best, top)
        confidence = top.sigmoid()
    else:
        confidence = logits.softmax(dim=1).max(dim=1).values
    distances = rows[:, len(version.labels)].tolist() if bank else [None] * len(rows)
    return [
        Observation(version.id, *each, bank)
        for each in zip(labels.tolist(), confidence.tolist(), distances, strict=True)
    ]
