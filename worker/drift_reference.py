"""The worker's part of drift: the reference of a version, from the pictures of a training or of a dataset."""

from __future__ import annotations

from functools import partial

import torch

from shared.domain import drift, lock_names
from shared.domain.drift import FEWEST_KNOWN, Profile, Reference, Source, bank_name
from shared.domain.jobs import BOTH
from shared.domain.models import ModelVersion
from shared.services import drift_references
from worker import errand_run
from worker.dataset_run import run_dataset
from worker.engine import Loaded
from worker.observing import observations
from worker.process import WorkerProcess
from worker.training.copies import groups_of
from worker.training.outcome import Unseen
from worker.training.rejection_rule import Chosen


def of_training(
    version: ModelVersion, tested: torch.Tensor, test_distances: torch.Tensor | None, unseen: Unseen,
    chosen: Chosen | str, now: float,
) -> Reference:  # fmt: skip
    """Return the reference from the test pictures, or from those of `unseen` if the test pictures are too few and these
    are more. The test pictures are better: the network that serves has answered them.

    `tested` (N, C) are the logits of the test pictures as they are served, and `test_distances` (N,) their distances if
    a rejection rule was chosen. The logits of `unseen` are corrected as the version's are.
    """
    rule = None if isinstance(chosen, str) else chosen
    logits, distances, source = tested, test_distances, Source.TEST
    if len(tested) < FEWEST_KNOWN and len(unseen.logits) > len(tested):
        logits, source = unseen.logits, Source.UNSEEN
        distances = rule.distances if rule else None
    bank = bank_name(rule.rule.bank) if rule and distances is not None else ""
    return Reference(version.id, profile(version, logits, distances, bank), source, now, bank=bank)


def profile(version: ModelVersion, logits: torch.Tensor, distances: torch.Tensor | None, bank: str) -> Profile:
    """Return the counts of answers, from logits (N, C) and the distances (N,) from the features of that bank."""
    rows = logits if distances is None else torch.cat([logits, distances[:, None]], dim=1)
    return drift.count(observations(version, rows, bank)).get((version.id, bank), Profile())


def measure_requested(worker: WorkerProcess, version_id: str) -> None:
    """Measure the reference that is asked for, unless that is being done; the result is it, or the reason for none."""
    container = worker.container
    errand_run.run(
        container,
        lock_names.drift_reference(version_id),
        "the reference",
        begin=partial(drift_references.begin, container, version_id),
        do=lambda version, dataset_id: _of_dataset(worker, version, worker.engine.load(version), dataset_id),
        finish=partial(drift_references.finish, container),
        fail=partial(drift_references.fail, container, version_id),
        put_back=partial(drift_references.put_back, container, version_id),
    )


def _of_dataset(worker: WorkerProcess, version: ModelVersion, model: Loaded, dataset_id: int) -> Reference:
    """Return the reference of a version by the pictures of a dataset, with distances as its present rule measures them.

    Raises NotFound and BadDataset with the reason if there is none, BrokenPicture, Unavailable.
    """
    examples = drift_references.get_pictures(worker.container, version, dataset_id)
    judge = worker.judges.find(model, version.rejection)
    feature_bank = judge.bank if judge else None
    rows = run_dataset(worker, model, examples, BOTH if feature_bank else "classify")
    classes = len(version.labels)
    distances = feature_bank.distances_from_others(rows[:, classes:], groups_of(examples)) if feature_bank else None
    bank = bank_name(judge.rule.bank) if judge and feature_bank else ""
    counted = profile(version, rows[:, :classes], distances, bank)
    return drift_references.of_dataset(worker.container, version, counted, dataset_id, bank)
