"""Judging applies the rejection rule of a version to its answers, with the distance from the training features."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch

from shared.domain.jobs import BOTH
from shared.domain.models import ModelVersion
from shared.domain.rejection import RejectionRule, Verdict, best_score, judge
from shared.errors import BadWeights
from worker.engine import Loaded
from worker.rejection import FeatureBank


class Judge(NamedTuple):
    """The rule of a version, with the training features if it looks at distances."""

    rule: RejectionRule
    bank: FeatureBank | None

    def task(self, task: str) -> str:
        """Return the task of the pass that answers `task`: one that has the features as well, if they are needed."""
        return BOTH if self.bank and task == "classify" else task

    def measured(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (N, C + 1), the logits and then the distance, from logits and features; without a bank, the rows as
        they are. These are the numbers that the result cache keeps."""
        if self.bank is None:
            return rows
        logits, features = rows[:, : -self.bank.width], rows[:, -self.bank.width :]
        return torch.cat([logits, self.bank.distances(features)[:, None]], dim=1)

    def verdicts(self, rows: torch.Tensor) -> list[Verdict]:
        """Return what the rule says of each row of `measured`."""
        return [verdict(self.rule, row) for row in rows.tolist()]


def verdict(rule: RejectionRule, row: Sequence[float]) -> Verdict:
    """Return what the rule says of one row of `measured`."""
    if rule.bank:
        return judge(rule, best_score(row[:-1]), row[-1])
    return judge(rule, best_score(row), None)


class Judges:
    """The judges of the models that a worker has loaded; each is dropped with its model."""

    def __init__(self, read_blob: Callable[[str], bytes]) -> None:
        """`read_blob` returns the bytes stored under a key."""
        self._read_blob = read_blob
        self._kept: WeakKeyDictionary[Loaded, Judge] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def find(self, model: Loaded, rule: RejectionRule | None) -> Judge | None:
        """Return the judge of a model by the present rule of its version; None without a rule.

        Raises FileNotFoundError if the storage lacks the training features, BadWeights if they are damaged.
        """
        if rule is None:
            return None
        with self._lock:
            kept = self._kept.get(model)
        if kept is None or kept.rule != rule:
            kept = Judge(rule, _read_bank(self._read_blob, model.version, rule))
            with self._lock:
                self._kept[model] = kept
        return kept


def _read_bank(read_blob: Callable[[str], bytes], version: ModelVersion, rule: RejectionRule) -> FeatureBank | None:
    if not rule.bank:
        return None
    try:
        return FeatureBank.from_bytes(read_blob(rule.bank))
    except BadWeights as error:
        raise BadWeights(f"Model {version.name} version {version.version}: {error.message}") from error
