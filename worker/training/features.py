"""The features of a frozen network, computed once for each picture and stored with the dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shared.adapters.storage import Storage
from shared.domain.datasets import DatasetExample
from shared.domain.searches import Collection
from worker import feature_store
from worker.engine import Loaded
from worker.training import pictures

SAVED_EVERY = 20.0
"""Seconds between two writes: the maximum work lost if the trainer crashes."""


def features(
    storage: Storage, model: Loaded, examples: Sequence[DatasetExample], on_progress: Callable[[int], None]
) -> torch.Tensor:
    """Return (N, D) float32, the input of the model's head for each example of a dataset.

    Features that an earlier training or an index has computed are read from blobs beside the pictures, which are
    deleted with them. `on_progress` is called with the number of pictures done. Raises NotFound, BadPicture kinds.
    """
    wanted = {bytes.fromhex(example.sha256): example for example in examples}
    prefix = Collection("", dataset_id=examples[0].dataset_id).features_prefix(model.version.features_checksum)
    stored = feature_store.read_all(storage, prefix)
    missing = [example for digest, example in wanted.items() if digest not in stored]
    known = len(wanted) - len(missing)  # the blobs also hold features of pictures that are not asked for
    fresh: dict[bytes, NDArray[np.float32]] = {}
    saved = time.monotonic()
    for start in range(0, len(missing), model.max_batch):
        batch = missing[start : start + model.max_batch]
        inputs = [model.prepare(pictures.read(storage, example)) for example in batch]
        rows = model.forward(inputs, "features").numpy()
        fresh |= {bytes.fromhex(example.sha256): row for example, row in zip(batch, rows, strict=True)}
        if time.monotonic() - saved > SAVED_EVERY:
            feature_store.write(storage, prefix, fresh)
            stored |= fresh
            saved, fresh = time.monotonic(), {}
        on_progress(known + start + len(batch))
    feature_store.write(storage, prefix, fresh)
    stored |= fresh
    return torch.from_numpy(np.stack([stored[bytes.fromhex(example.sha256)] for example in examples]))
