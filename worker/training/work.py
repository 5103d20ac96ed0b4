"""Progress, checkpoints and cancellation of a running training."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch

from shared import errors
from shared.container import Container
from shared.domain.trainings import Training, checkpoint_key
from shared.services import training_runs
from worker.training.epochs import EpochReport, Tensors

OFTEN = 0.5
"""Minimum seconds between two checkpoints or progress reports: an epoch may take a millisecond."""
_NOTES = "notes"


_FORMAT = 1
"""The format of checkpoints; a checkpoint of another format is ignored."""


class Stopped(Exception):
    """This trainer must stop, or another trainer has taken over the training: all work on it is dropped."""


class OutOfTime(errors.Conflict):
    """Its max_seconds were over before anything was learned; give it more."""


class Work:
    """Stores checkpoints and progress of a training. Each report raises TrainingEnded if it was cancelled, or
    Stopped."""

    def __init__(
        self, container: Container, training: Training, stopping: threading.Event, lost: threading.Event
    ) -> None:
        """Read the checkpoint. `stopping` is set when this trainer must stop, `lost` when another trainer has the
        training."""
        self.container = container
        self.training = training
        self._stopping = stopping
        self._lost = lost
        self._told = self._stored = 0.0
        self._progress, self._message = training.progress, training.message
        notes, self.tensors = _read(container, training.id)
        self.stage: str = notes.get("stage", "")
        """The stage that `tensors` belong to, at which to resume; empty if there is no checkpoint."""
        self.curve: list[Mapping[str, Any]] = notes.get("curve", [])
        self.seconds: dict[str, float] = notes.get("seconds", {})
        """Stage -> seconds, summed over all trainers that worked on it."""

    @property
    def out_of_time(self) -> bool:
        """True if `max_seconds` have passed since the training started."""
        return self.training.is_over(self.container.now())

    def tell(self, progress: float, message: str) -> None:
        """Report the progress, from 0 to 1, unless the last report was just sent."""
        # A trainer that resumes repeats some steps; the reported progress must not decrease by that.
        self._progress, self._message = max(self._progress, progress), message
        self.check()

    def check(self) -> None:
        """Raise Stopped or TrainingEnded if the work must end; to be called about every second, so that this takes
        effect soon."""
        if self._stopping.is_set() or self._lost.is_set():
            raise Stopped
        if time.monotonic() - self._told >= OFTEN:
            training_runs.tell(self.container, self.training.id, self._progress, self._message)
            self._told = time.monotonic()

    def spend(self) -> None:
        """Do as `check`, within an epoch; raises OutOfTime as well."""
        self.check()
        if self.out_of_time:
            raise OutOfTime

    def prepare(self) -> None:
        """Do as `check`, before the first epoch; raises OutOfTime if the time ends before any epoch."""
        self.check()
        if self.out_of_time and not self.curve:
            raise OutOfTime

    def epoch(self, stage: str, report: EpochReport, progress: float, state: Callable[[], Tensors]) -> None:
        """Add an epoch to the curve, and store a checkpoint unless that was done just before."""
        self.curve.append(
            {"stage": stage, "epoch": report.epoch, "train_loss": report.train_loss,
             "train_accuracy": report.train_accuracy, "validation_loss": report.validation_loss,
             "validation_accuracy": report.validation_accuracy}
        )  # fmt: skip
        self._progress, self._message = max(self._progress, progress), _said(stage, report)
        # The pause grows with the curve, because each write stores all of it: ten thousand epochs are 2 MB of JSON.
        pause = max(OFTEN, len(self.curve) / 2000)
        if time.monotonic() - self._stored >= pause or (self._stopping.is_set() and not self._lost.is_set()):
            self._store(stage, state())
            training_runs.tell(self.container, self.training.id, self._progress, self._message, self.curve)
            self._stored = self._told = time.monotonic()
        self.check()

    def _store(self, stage: str, state: Tensors) -> None:
        notes = {"format": _FORMAT, "stage": stage, "curve": self.curve, "seconds": self.seconds}
        data = state | {_NOTES: torch.frombuffer(bytearray(json.dumps(notes).encode()), dtype=torch.uint8)}
        self.container.storage.write(checkpoint_key(self.training.id), safetensors.torch.save(data))

    def timed(self, stage: str, began: float) -> None:
        """Add the seconds since `began` (monotonic) to a stage."""
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 3)


def _read(container: Container, training_id: str) -> tuple[dict[str, Any], Tensors]:
    try:
        tensors = safetensors.torch.load(container.storage.read(checkpoint_key(training_id)))
    except (FileNotFoundError, safetensors.SafetensorError):  # none yet, or damaged by a crash
        return {}, {}
    notes = json.loads(tensors.pop(_NOTES).numpy().tobytes())
    return (notes, tensors) if notes.get("format") == _FORMAT else ({}, {})


def _said(stage: str, report: EpochReport) -> str:
    accuracy = report.train_accuracy if report.validation_accuracy is None else report.validation_accuracy
    which = "training" if report.validation_accuracy is None else "validation"
    return f"{stage}: epoch {report.epoch}, {accuracy:.1%} of the {which} pictures right"
