"""One run of a training on this trainer: its progress, its checkpoints and its cancellation, side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from shared.container import Container
from shared.domain.trainings import Training
from worker.training.cancellation import Cancellation, OutOfTime
from worker.training.checkpoint_store import CheckpointStore
from worker.training.epochs import EpochReport, Tensors
from worker.training.progress import TrainingProgress


@dataclass(frozen=True)
class TrainingRun:
    """A training that this trainer works on."""

    training: Training
    cancellation: Cancellation
    progress: TrainingProgress
    checkpoints: CheckpointStore

    def check_before_learning(self) -> None:
        """Refresh the progress; raises OutOfTime if the time ends before any epoch."""
        self.progress.refresh()
        if self.cancellation.out_of_time and not self.checkpoints.curve:
            raise OutOfTime

    def check_within_epoch(self) -> None:
        """Refresh the progress; raises OutOfTime if the time has ended."""
        self.progress.refresh()
        if self.cancellation.out_of_time:
            raise OutOfTime

    def record_epoch(self, stage: str, report: EpochReport, fraction: float, state: Callable[[], Tensors]) -> None:
        """Add an epoch to the curve, and store a checkpoint unless that was done just before."""
        self.checkpoints.add_epoch(stage, report)
        message = _describe(stage, report)
        if self.checkpoints.is_due or self.cancellation.stops_with_lock:
            self.checkpoints.write(stage, state())
            self.progress.report_stored_epoch(fraction, message, self.checkpoints.curve)
        else:
            self.progress.report(fraction, message)


def begin(container: Container, training: Training, stopping: threading.Event, lost: threading.Event) -> TrainingRun:
    """Read the checkpoint, and return the run; the events are those of `Cancellation`."""
    cancellation = Cancellation(training, container.now, stopping, lost)
    return TrainingRun(
        training,
        cancellation,
        TrainingProgress(container, training, cancellation),
        CheckpointStore(container.storage, training.id),
    )


def _describe(stage: str, report: EpochReport) -> str:
    accuracy = report.train_accuracy if report.validation_accuracy is None else report.validation_accuracy
    part = "training" if report.validation_accuracy is None else "validation"
    counted = f"{part} pictures" if report.counted == "pictures" else f"labels of the {part} pictures"
    return f"{stage}: epoch {report.epoch}, {accuracy:.1%} of the {counted} right"
