"""The worker's part of a rejection rule: it runs the pictures of a dataset through a version, and fits the rule."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from shared import errors
from shared.domain import lock_names
from shared.domain.datasets import DatasetExample
from shared.domain.drift import bank_name
from shared.domain.jobs import BOTH
from shared.domain.models import ModelVersion
from shared.domain.rejection import RejectionRequest, RejectionRule, bank_key
from shared.services import drift_references
from shared.services import rejection as rules
from worker import drift_reference, errand_run, rejection
from worker.dataset_run import run_dataset
from worker.engine import Loaded
from worker.process import WorkerProcess
from worker.rejection import FeatureBank
from worker.training.copies import groups_of


def fit_requested(worker: WorkerProcess, version_id: str) -> None:
    """Fit the rule that is asked for, unless that is being done; the result is the rule, or the reason for none."""
    container = worker.container
    errand_run.run(
        container,
        lock_names.rejection(version_id),
        "the rule",
        begin=partial(rules.begin, container, version_id),
        do=lambda version, request: fit(worker, version, worker.engine.load(version), request),
        finish=partial(rules.finish, container, version_id),
        fail=partial(rules.fail, container, version_id),
        put_back=partial(rules.put_back, container, version_id),
    )


def fit(worker: WorkerProcess, version: ModelVersion, model: Loaded, request: RejectionRequest) -> RejectionRule:
    """Return the rule of a version by the pictures of a dataset, and store the features that it compares with, and the
    distances from them for the reference of drift.

    Each picture's distance is that from the others, since nothing is known of those that the network was trained on;
    from those that look unlike it, since a copy would make it look nearer than new pictures are.
    Raises NotFound, BadDataset and BadOption with the reason if there is no rule, BrokenPicture, Unavailable.
    """
    examples = rules.get_pictures(worker.container, version, request)
    needed = rejection.fewest(request.precision)
    if len(examples) < needed:
        raise errors.BadDataset(rejection.why_none(len(examples), request.precision))
    classes = len(version.labels)
    rows = run_dataset(worker, model, examples, BOTH if version.has_features else "classify")
    labels = torch.tensor([version.labels.index(example.label) for example in examples])
    scores, answers = rows[:, :classes].double().softmax(dim=1).max(dim=1)
    bank = FeatureBank.build(rows[:, classes:], labels, groups_of(examples)) if version.has_features else None
    distances = bank.distances_within() if bank else None
    rule = rejection.fit(scores, answers == labels, distances, request.precision)
    if rule is None:
        raise errors.BadDataset(rejection.why_none(len(examples), request.precision))
    key = _store(worker, version, bank) if bank else ""
    if distances is not None:
        _keep_distances(worker, version, request.dataset_id, examples, rows[:, :classes], distances, bank_name(key))
    return replace(rule, label=request.label, bank=key)


def _keep_distances(
    worker: WorkerProcess, version: ModelVersion, dataset_id: int, examples: Sequence[DatasetExample],
    logits: torch.Tensor, distances: torch.Tensor, bank: str,
) -> None:  # fmt: skip
    """Store what the reference of drift needs of the logits (N, C) and distances (N,) of the examples."""
    places = drift_references.find_in_shares(worker.container, version, dataset_id, examples)
    counted = drift_reference.profile(version, logits[places], distances[places], bank)
    drift_references.keep_distances(worker.container, version, counted, dataset_id, bank)


def _store(worker: WorkerProcess, version: ModelVersion, bank: FeatureBank) -> str:
    data = bank.to_bytes()
    key = bank_key(version.id, hashlib.sha256(data).hexdigest())
    worker.container.storage.write(key, data)
    return key
