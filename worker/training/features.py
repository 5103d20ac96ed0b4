"""The features of a frozen network, computed once for each picture and kept with the dataset."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import safetensors.torch
import torch

from shared.datasets import Example
from shared.storage import Storage
from worker.engine import Loaded

_EVERY = 20.0
"""Seconds between two savings: what a death of the trainer may cost."""


def features(
    storage: Storage, model: Loaded, examples: Sequence[Example], tell: Callable[[int], None]
) -> torch.Tensor:
    """(N, D) float32, what enters the model's head for each example of one dataset.

    What an earlier training has computed is taken from its blob, which lies with the pictures and goes with them.
    `tell` gets how many there are so far. Raises FileNotFoundError, BadPicture kinds.
    """
    key = f"datasets/{examples[0].dataset_id}/features-{model.version.checksum[:32]}"
    kept = _read(storage, key)
    wanted = [one for one in {one.sha256: one for one in examples}.values() if one.sha256 not in kept]
    saved = time.monotonic()
    for start in range(0, len(wanted), model.max_batch):
        some = wanted[start : start + model.max_batch]
        inputs = [model.prepare(storage.read(one.blob, one.offset, one.size)) for one in some]
        kept |= {one.sha256: row for one, row in zip(some, model.forward(inputs, "features"), strict=True)}
        if time.monotonic() - saved > _EVERY:
            _write(storage, key, kept)
            saved = time.monotonic()
        tell(len(kept))
    if wanted:
        _write(storage, key, kept)
    return torch.stack([kept[one.sha256] for one in examples])


def _read(storage: Storage, key: str) -> dict[str, torch.Tensor]:
    """SHA-256 -> features."""
    with contextlib.suppress(FileNotFoundError, safetensors.SafetensorError):  # none yet, or half written
        found = safetensors.torch.load(storage.read(key))
        names = [bytes(row).hex() for row in found["sha256"].numpy()]
        return dict(zip(names, found["features"], strict=True))
    return {}


def _write(storage: Storage, key: str, kept: dict[str, torch.Tensor]) -> None:
    names = torch.tensor([list(bytes.fromhex(name)) for name in kept], dtype=torch.uint8)
    data = {"sha256": names, "features": torch.stack(list(kept.values()))}
    storage.write(key, safetensors.torch.save(data))
