"""The worker's part of a rejection rule: it runs the pictures of a dataset through a version, and fits the rule."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import replace

import torch

from shared import errors
from shared.domain import lock_names
from shared.domain.datasets import DatasetExample
from shared.domain.jobs import BOTH
from shared.domain.models import ModelVersion
from shared.domain.rejection import RejectionRequest, RejectionRule, bank_key
from shared.services import rejection as rules
from worker import rejection
from worker.engine import Loaded
from worker.process import WorkerProcess
from worker.rejection import FeatureBank
from worker.training.pictures import read

log = logging.getLogger(__name__)


def fit_requested(worker: WorkerProcess, version_id: str) -> None:
    """Fit the rule that is asked for, unless that is being done; the result is the rule, or the reason for none."""
    container = worker.container
    with container.queue.locks.renewed(lock_names.rejection(version_id)) as held:
        if not held:
            return
        while begun := rules.begin(container, version_id):  # again, if another rule was asked for meanwhile
            version, request = begun
            try:
                rule = fit(worker, version, worker.engine.load(version), request)
            except errors.Unavailable as error:  # no fault of the version: maintenance has it fitted later
                log.warning("fitting the rule of %s version %s: %s", version.name, version.version, error.message)
                with suppress(errors.Unavailable):
                    rules.put_back(container, version_id)
                return
            except errors.InferqError as error:
                rules.fail(container, version_id, request, error.message)
            except Exception as error:
                log.exception("fitting the rule of %s version %s", version.name, version.version)
                if errors.is_disk_full(error):
                    rules.put_back(container, version_id)
                    return
                rules.fail(container, version_id, request, f"it was interrupted: {type(error).__name__}")
            else:
                rules.finish(container, version_id, request, rule)


def fit(worker: WorkerProcess, version: ModelVersion, model: Loaded, request: RejectionRequest) -> RejectionRule:
    """Return the rule of a version by the pictures of a dataset, and store the features that it compares with.

    Each picture's distance is that from the others, since nothing is known of those that the network was trained on.
    Raises NotFound, BadDataset and BadOption with the reason if there is no rule, BrokenPicture, Unavailable.
    """
    examples = rules.get_pictures(worker.container, version, request)
    needed = rejection.fewest(request.precision)
    if len(examples) < needed:
        raise errors.BadDataset(rejection.why_none(len(examples), request.precision))
    classes = len(version.labels)
    rows = _run(worker, model, examples, BOTH if version.has_features else "classify")
    labels = torch.tensor([version.labels.index(example.label) for example in examples])
    scores, answers = rows[:, :classes].double().softmax(dim=1).max(dim=1)
    bank = FeatureBank.build(rows[:, classes:], labels) if version.has_features else None
    distances = bank.distances_within() if bank else None
    rule = rejection.fit(scores, answers == labels, distances, request.precision)
    if rule is None:
        raise errors.BadDataset(rejection.why_none(len(examples), request.precision))
    return replace(rule, label=request.label, bank=_store(worker, version, bank) if bank else "")


def _run(worker: WorkerProcess, model: Loaded, examples: list[DatasetExample], task: str) -> torch.Tensor:
    """Return the rows of all pictures; the worker answers jobs between two batches."""
    rows: list[torch.Tensor] = []
    size = min(model.max_batch, _BATCH)
    for start in range(0, len(examples), size):
        batch = examples[start : start + size]
        with worker.watchdog(2 * len(batch)):
            inputs = [model.prepare(read(worker.container.storage, example)) for example in batch]
        with worker.consuming, worker.watchdog(len(batch)):
            rows.append(model.forward(inputs, task))
    return torch.cat(rows)


_BATCH = 16
"""Pictures that run at once, while jobs wait."""


def _store(worker: WorkerProcess, version: ModelVersion, bank: FeatureBank) -> str:
    data = bank.to_bytes()
    key = bank_key(version.id, hashlib.sha256(data).hexdigest())
    worker.container.storage.write(key, data)
    return key
