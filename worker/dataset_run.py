"""A run of the pictures of a dataset through a version, in a worker that answers jobs meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shared.domain.datasets import DatasetExample
from worker.engine import Loaded
from worker.process import WorkerProcess
from worker.training.pictures import read

_BATCH = 16
"""Pictures that run at once, while jobs wait."""


def run_dataset(worker: WorkerProcess, model: Loaded, examples: Sequence[DatasetExample], task: str) -> torch.Tensor:
    """Return the rows of all pictures; the worker answers jobs between two batches. Raises as `read` does."""
    rows: list[torch.Tensor] = []
    size = min(model.max_batch, _BATCH)
    for start in range(0, len(examples), size):
        batch = examples[start : start + size]
        with worker.watchdog(2 * len(batch)):
            inputs = [model.prepare(read(worker.container.storage, example)) for example in batch]
        with worker.consuming, worker.watchdog(len(batch)):
            rows.append(model.forward(inputs, task))
    return torch.cat(rows)
