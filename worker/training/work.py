"""One training under way: what it has told, what it has put away, and whether it is still wanted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch

from shared import trainers, trainings
from shared.tools import Tools
from shared.trainings import Training
from worker.training.epochs import EpochReport, Tensors

OFTEN = 0.5
"""Seconds between two checkpoints, or two words on how far it is, at least: an epoch may take a millisecond."""
_NOTES = "notes"


class Stopped(Exception):
    """This trainer was told to end; another one goes on from the checkpoint."""


class Work:
    """Stores checkpoints and progress. Each word raises Ended when the training was cancelled, or Stopped."""

    def __init__(self, tools: Tools, training: Training, stopping: threading.Event) -> None:
        self.tools = tools
        self.training = training
        self._stopping = stopping
        self._told = self._stored = 0.0
        notes, self.tensors = _read(tools, training.id)
        self.stage: str = notes.get("stage", "")
        """The stage that `tensors` belong to: where to go on. Empty when nothing was put away yet."""
        self.curve: list[Mapping[str, Any]] = notes.get("curve", [])
        self.seconds: dict[str, float] = notes.get("seconds", {})
        """Stage -> how long it took, over all trainers that worked on it."""

    @property
    def out_of_time(self) -> bool:
        """Whether it has had the seconds that it was given."""
        return self.tools.now() > (self.training.started_at or 0) + self.training.parameters.max_seconds

    def tell(self, progress: float, message: str) -> None:
        """Say how far it is, from 0 to 1, unless it was said just now."""
        self._check()
        if time.monotonic() - self._told >= OFTEN:
            trainers.tell(self.tools, self.training.id, progress, message)
            self._told = time.monotonic()

    def epoch(self, stage: str, report: EpochReport, progress: float, state: Callable[[], Tensors]) -> None:
        """Keep what an epoch came to, and put its state away, unless that was done just now."""
        self.curve.append(
            {"stage": stage, "epoch": report.epoch, "train_loss": report.train_loss,
             "train_accuracy": report.train_accuracy, "validation_loss": report.validation_loss,
             "validation_accuracy": report.validation_accuracy}
        )  # fmt: skip
        if time.monotonic() - self._stored >= OFTEN or self._stopping.is_set():
            self._store(stage, state())
            trainers.tell(self.tools, self.training.id, progress, _said(stage, report), self.curve)
            self._stored = self._told = time.monotonic()
        self._check()

    def _store(self, stage: str, state: Tensors) -> None:
        notes = {"stage": stage, "curve": self.curve, "seconds": self.seconds}
        data = state | {_NOTES: torch.tensor(list(json.dumps(notes).encode()), dtype=torch.uint8)}
        self.tools.storage.write(trainings.checkpoint(self.training.id), safetensors.torch.save(data))

    def timed(self, stage: str, began: float) -> None:
        """Count the seconds since `began` (monotonic) to a stage."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 3)

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Stopped


def _read(tools: Tools, training_id: str) -> tuple[dict[str, Any], Tensors]:
    try:
        tensors = safetensors.torch.load(tools.storage.read(trainings.checkpoint(training_id)))
    except (FileNotFoundError, safetensors.SafetensorError):  # none yet, or a trainer died while it wrote the first one
        return {}, {}
    return json.loads(bytes(tensors.pop(_NOTES).tolist())), tensors


def _said(stage: str, report: EpochReport) -> str:
    accuracy = report.train_accuracy if report.validation_accuracy is None else report.validation_accuracy
    which = "training" if report.validation_accuracy is None else "validation"
    return f"{stage}: epoch {report.epoch}, {accuracy:.1%} of the {which} pictures right"
