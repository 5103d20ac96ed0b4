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
    storage: Storage, model: Loaded, examples: Sequence[DatasetExample], tell: Callable[[int], None]
) -> torch.Tensor:
    """Return (N, D) float32, the input of the model's head for each example of a dataset.

    Features that an earlier training has computed are read from blobs beside the pictures, which are deleted with them.
    `tell` is called with the number of pictures done. Raises NotFound, BadPicture kinds.
    """
    prefix = f"datasets/{examples[0].dataset_id}/features-{model.version.checksum[:32]}-"
    kept = _read(storage, prefix)
    wanted = [one for one in {one.sha256: one for one in examples}.values() if one.sha256 not in kept]
    fresh: dict[str, torch.Tensor] = {}
    saved = time.monotonic()
    for start in range(0, len(wanted), model.max_batch):
        some = wanted[start : start + model.max_batch]
        inputs = [model.prepare(pictures.read(storage, one)) for one in some]
        rows = model.forward(inputs, "features")
        fresh |= {one.sha256: row for one, row in zip(some, rows, strict=True)}
        if time.monotonic() - saved > _EVERY:
            kept |= _saved(storage, prefix, fresh)
            saved, fresh = time.monotonic(), {}
        tell(len(kept) + len(fresh))
    kept |= _saved(storage, prefix, fresh)
    return torch.stack([kept[one.sha256] for one in examples])


def _read(storage: Storage, prefix: str) -> dict[str, torch.Tensor]:
    """Return SHA-256 -> features, from all parts."""
    kept: dict[str, torch.Tensor] = {}
    for key in storage.list(prefix.rpartition("/")[0]):
        if key.startswith(prefix):
            with contextlib.suppress(FileNotFoundError, safetensors.SafetensorError):  # just removed, or damaged
                found = safetensors.torch.load(storage.read(key))
                names = [row.tobytes().hex() for row in found["sha256"].numpy()]
                kept |= dict(zip(names, found["features"], strict=True))
    return kept


def _saved(storage: Storage, prefix: str, fresh: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Store the features as another part, and return them."""
    if fresh:
        names = torch.frombuffer(bytearray(b"".join(map(bytes.fromhex, fresh))), dtype=torch.uint8).view(-1, 32)
        data = {"sha256": names, "features": torch.stack(list(fresh.values()))}
        storage.write(f"{prefix}{uuid6.uuid7()}", safetensors.torch.save(data))
    return fresh
