"""The epochs of one stage of a training: run, recorded, and resumed from the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.training.cancellation import OutOfTime
from worker.training.epochs import EpochTraining, Tensors
from worker.training.run import TrainingRun

HEAD, FINE_TUNING, REFIT, NETWORK = "head", "fine-tuning", "refit", "network"
"""The stages in their order, as the learning curve names them; the last one stands alone."""
_ORDER = ("", HEAD, FINE_TUNING, REFIT, NETWORK)


def run_epochs(
    run: TrainingRun, stage: str, training: EpochTraining, span: tuple[float, float], notes: Tensors | None = None
) -> str:
    """Run epochs until the stage is complete, and return the reason; resumes from the checkpoint if that is of this
    stage.

    `notes` are kept in the checkpoint beside the state of the stage: what an earlier stage has found, which would take
    long to find again. If the checkpoint is of a later stage, nothing is reported again: the epochs of this stage are
    on the curve already.
    """
    is_repeated = _ORDER.index(run.checkpoints.stage) > _ORDER.index(stage)
    if run.checkpoints.stage == stage:
        training.load(run.checkpoints.tensors)
    training.check = run.progress.refresh if is_repeated else run.check_within_epoch
    low, high = span
    while not training.finished:
        try:
            training.check()
            report = training.step()
        except OutOfTime:
            return "time"
        if not is_repeated:
            fraction = low + (high - low) * report.epoch / training.parameters.epochs
            run.record_epoch(stage, report, fraction, lambda: training.state() | (notes or {}))
    return "epochs" if training.epoch >= training.parameters.epochs else "early"


def measured_in(curve: Sequence[Mapping[str, Any]], stage: str, epoch: int) -> tuple[float | None, float, float | None]:
    """Return (train loss, train accuracy, validation accuracy) of an epoch."""
    for point in curve:
        if (point["stage"], point["epoch"]) == (stage, epoch):
            return point["train_loss"], point["train_accuracy"], point["validation_accuracy"]
    return None, 0.0, None
