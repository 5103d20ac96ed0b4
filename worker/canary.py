"""Canary comparison: pictures that a canary answered are also run through the default version, and agreement is
counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from shared.domain.jobs import Outcome
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.domain.scores import lowest_logits
from shared.domain.stream_entry import StreamEntry
from shared.services import job_pictures, promotions
from worker.engine import top_k
from worker.process import WorkerProcess

log = logging.getLogger(__name__)

FRESH = 2.0
"""Seconds for which it is cached whether a version is a canary, and of which default version."""


class Watch:
    """Compares the answers of one version with those of its model's default, for as long as it is a canary.

    It runs after the callers have their answers, and only while no other pictures wait; its errors never reach callers.
    """

    def __init__(self, worker: WorkerProcess, version: ModelVersion) -> None:
        self._worker = worker
        self._version = version
        self._default: ModelVersion | None = None
        self._looked = -FRESH

    def compare(self, entries: Sequence[StreamEntry], outcomes: Sequence[Outcome]) -> None:
        """Run the pictures through the default version, and count how often its answer is the same: the best label, or
        with thresholds all labels, in any order.

        No label is an answer as well: it is the same if neither version has one.
        """
        try:
            default = self._of() if self._version.tenant != ALL_TENANTS else None
            if default and not self._worker.container.queue.streams.backlog(self._version.id):
                self._count(default, entries, outcomes)
        except Exception:
            log.exception("comparing %s %s with the default", self._version.name, self._version.version)

    def _of(self) -> ModelVersion | None:
        """Return the default version while this version is its canary, else None."""
        if time.monotonic() - self._looked > FRESH:
            self._default = promotions.find_default_beside(self._worker.container, self._version)
            self._looked = time.monotonic()
        return self._default

    def _count(self, default: ModelVersion, entries: Sequence[StreamEntry], outcomes: Sequence[Outcome]) -> None:
        container = self._worker.container
        answers = {
            (outcome.job_id, outcome.position): outcome.result for outcome in outcomes if outcome.result is not None
        }
        shown = [entry for entry in entries if entry.task == "classify" and (entry.job_id, entry.position) in answers]
        if not shown:
            return
        model = self._worker.engine.load(default)
        inputs = [model.prepare(job_pictures.read(container, entry), exif=entry.exif) for entry in shown]
        same = [
            _compared(self._version, answers[entry.job_id, entry.position], entry)
            == _compared(default, _answer(default, row, entry), entry)
            for entry, row in zip(shown, model.forward(inputs).split(1), strict=True)
        ]
        promotions.count_agreement(container, self._version.id, len(same), sum(same))


def _answer(version: ModelVersion, logits: Tensor, entry: StreamEntry) -> Sequence[tuple[str, float]]:
    """Return a version's answer to the entry; its scores are logits."""
    lowest = lowest_logits(version, with_thresholds=entry.with_thresholds)
    return top_k(logits, version.labels, entry.top_k, "none", lowest)[0]


def _compared(version: ModelVersion, answer: Sequence[Any], entry: StreamEntry) -> set[str]:
    """Return the labels of a version's answer that are compared: all that reach their thresholds, else the best."""
    labels = [label for label, _ in answer]
    return set(labels if lowest_logits(version, with_thresholds=entry.with_thresholds) else labels[:1])
