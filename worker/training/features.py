"""The features of a frozen network, computed once for each picture and stored with the dataset."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import safetensors.torch
import torch
import uuid6

from shared.adapters.storage import Storage
from shared.domain.datasets import DatasetExample
from worker.engine import Loaded
from worker.training import pictures

_EVERY = 20.0
"""Seconds between two writes: the maximum work lost if the trainer crashes."""


def features(
    storage: Storage, model: Loaded, examples: Sequence[DatasetExample], on_progress: Callable[[int], None]
) -> torch.Tensor:
    """Return (N, D) float32, the input of the model's head for each example of a dataset.

    Features that an earlier training has computed are read from blobs beside the pictures, which are deleted with them.
    `on_progress` is called with the number of pictures done. Raises NotFound, BadPicture kinds.
    """
    prefix = f"datasets/{examples[0].dataset_id}/features-{model.version.checksum[:32]}-"
    by_sha256 = _read(storage, prefix)
    missing = [
        example
        for example in {example.sha256: example for example in examples}.values()
        if example.sha256 not in by_sha256
    ]
    fresh: dict[str, torch.Tensor] = {}
    saved = time.monotonic()
    for start in range(0, len(missing), model.max_batch):
        batch = missing[start : start + model.max_batch]
        inputs = [model.prepare(pictures.read(storage, example)) for example in batch]
        rows = model.forward(inputs, "features")
        fresh |= {example.sha256: row for example, row in zip(batch, rows, strict=True)}
        if time.monotonic() - saved > _EVERY:
            by_sha256 |= _saved(storage, prefix, fresh)
            saved, fresh = time.monotonic(), {}
        on_progress(len(by_sha256) + len(fresh))
    by_sha256 |= _saved(storage, prefix, fresh)
    return torch.stack([by_sha256[example.sha256] for example in examples])


def _read(storage: Storage, prefix: str) -> dict[str, torch.Tensor]:
    """Return SHA-256 -> features, from all parts."""
    stored: dict[str, torch.Tensor] = {}
    for key in storage.list(prefix.rpartition("/")[0]):
        if key.startswith(prefix):
            with contextlib.suppress(FileNotFoundError, safetensors.SafetensorError):  # just removed, or damaged
                part = safetensors.torch.load(storage.read(key))
                names = [row.tobytes().hex() for row in part["sha256"].numpy()]
                stored |= dict(zip(names, part["features"], strict=True))
    return stored


def _saved(storage: Storage, prefix: str, fresh: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Store the features as another part, and return them."""
    if fresh:
        names = torch.frombuffer(bytearray(b"".join(map(bytes.fromhex, fresh))), dtype=torch.uint8).view(-1, 32)
        data = {"sha256": names, "features": torch.stack(list(fresh.values()))}
        storage.write(f"{prefix}{uuid6.uuid7()}", safetensors.torch.save(data))
    return fresh
