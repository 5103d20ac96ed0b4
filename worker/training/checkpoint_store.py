"""The checkpoint of a training: the last stored epoch, the curve and the seconds per stage, in a single blob."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from shared.container import Storage
from shared.domain.trainings import checkpoint_key
from worker.training.epochs import EpochReport, Tensors

OFTEN = 0.5
"""Minimum seconds between two checkpoints: an epoch may take a millisecond."""
_NOTES = "notes"
"""The name of the tensor that holds stage, curve and seconds as JSON."""
_FORMAT = 2
"""The format of checkpoints; one of another format is ignored, and the training begins again. It changes with the
splits and the stages as well: networks of format 1 may have learned from pictures that test and judge by now."""


class CheckpointStore:
    """Reads the checkpoint of one training when it is created, collects its epochs, and writes later checkpoints."""

    def __init__(self, storage: Storage, training_id: str) -> None:
        self._storage = storage
        self._key = checkpoint_key(training_id)
        self._stored_at = 0.0
        notes, self.tensors = self._read()
        self.stage: str = notes.get("stage", "")
        """The stage that `tensors` belong to, at which to resume; empty if there is no checkpoint."""
        self.curve: list[Mapping[str, Any]] = notes.get("curve", [])
        self.seconds: dict[str, float] = notes.get("seconds", {})
        """Stage -> seconds, summed over all trainers that worked on it."""

    @property
    def is_due(self) -> bool:
        """True if enough seconds have passed since the last checkpoint of this trainer."""
        # The pause grows with the curve, because each write stores all of it: ten thousand epochs are 2 MB of JSON.
        return time.monotonic() - self._stored_at >= max(OFTEN, len(self.curve) / 2000)

    def add_epoch(self, stage: str, report: EpochReport) -> None:
        """Add an epoch to the curve; nothing is written."""
        self.curve.append(
            {"stage": stage, "epoch": report.epoch, "train_loss": report.train_loss,
             "train_accuracy": report.train_accuracy, "validation_loss": report.validation_loss,
             "validation_accuracy": report.validation_accuracy}
        )  # fmt: skip

    def add_seconds(self, stage: str, began: float) -> None:
        """Add the seconds since `began` (monotonic) to a stage; nothing is written."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 3)

    def write(self, stage: str, state: Tensors) -> None:
        """Replace the checkpoint by the state of a stage between two epochs."""
        notes = {"format": _FORMAT, "stage": stage, "curve": self.curve, "seconds": self.seconds}
        data = state | {_NOTES: torch.frombuffer(bytearray(json.dumps(notes).encode()), dtype=torch.uint8)}
        self._storage.write(self._key, safetensors.torch.save(data))
        self._stored_at = time.monotonic()

    def _read(self) -> tuple[dict[str, Any], Tensors]:
        """Return the notes and the tensors of the stored checkpoint; both are empty if there is none to resume from."""
        try:
            tensors = safetensors.torch.load(self._storage.read(self._key))
        except (FileNotFoundError, safetensors.SafetensorError):  # none yet, or damaged by a crash
            return {}, {}
        notes = json.loads(tensors.pop(_NOTES).numpy().tobytes())
        return (notes, tensors) if notes.get("format") == _FORMAT else ({}, {})
