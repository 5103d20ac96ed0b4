"""The stages of a training: a head on stored features, the last stages of the base, or a small network from scratch."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from shared import errors
from shared.container import Storage
from shared.domain.datasets import DatasetExample
from shared.domain.preprocessing import Preprocessing
from shared.domain.splits import Splits
from worker import families, preprocess, weights
from worker.engine import Loaded
from worker.training import finetune, heads
from worker.training.augment import LabelledPictures
from worker.training.cancellation import OutOfTime
from worker.training.epochs import EpochTraining
from worker.training.features import features
from worker.training.head import HeadTraining
from worker.training.pictures import decoded
from worker.training.progress import TrainingProgress
from worker.training.run import TrainingRun

HEAD, FINE_TUNING, NETWORK = "head", "fine-tuning", "network"
SMALL = "small"
"""The architecture that is trained from scratch."""
_FINE_EPOCHS, _FINE_PATIENCE = 8, 3
_FINE_RATE = 1e-4
"""Maximum learning rate for fine-tuning."""
_AFFORDABLE = 1000
"""Maximum training pictures for which a CPU tries fine-tuning by default: with more, an epoch takes minutes."""
_FEWEST = 8
"""Minimum validation pictures to decide whether fine-tuning helps."""
_PIECE = 8
"""Pictures per batch of a network that is not optimised."""
_SHOWN = 256
"""Maximum training pictures with which a new head is fitted in and checked."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The result of the stages: a plain network in eval mode on the CPU, with its measurements."""

    network: nn.Module
    architecture: str
    preprocessing: Preprocessing
    method: str
    """`head`, `fine-tuned` or `scratch`."""
    note: str
    """A sentence for people."""
    stopped: str
    """`early`, `epochs` or `time`."""
    best_epoch: int
    """The best epoch of its stage; 0 is before the first."""
    train_loss: float | None
    train_accuracy: float
    validation_accuracy: float | None
    logits: torch.Tensor | None = None
    """Logits (N, C) of the validation pictures, if they are known already."""


def from_base(
    storage: Storage, run: TrainingRun, base: Loaded, splits: Splits, numbers: Mapping[int, int]
) -> TrainedNetwork:
    """Train a linear head on the features of a frozen base; then its last stages, if that is asked for or may help."""
    preprocessing = base.preprocessing
    labels = [labels_of(part, numbers) for part in (splits.training, splits.validation)]
    network = _load_plain(storage, base)
    training_features, validation_features = _compute_features(storage, run, base, splits)
    began = time.monotonic()
    head = HeadTraining(
        (training_features, labels[0]), (validation_features, labels[1]), len(numbers), run.training.parameters,
        biased=heads.has_bias(network), device=str(base.device), check=run.check_before_learning,
    )  # fmt: skip
    stopped = _run_epochs(run, HEAD, head, (0.5, 0.6))
    weight, bias = head.result()
    sample = splits.training[:: max(1, len(splits.training) // _SHOWN)]
    heads.replace_head(network, weight, bias, lambda: batches(storage, run.progress, sample, preprocessing))
    run.checkpoints.add_seconds(HEAD, began)
    loss, accuracy = _measure(training_features @ weight.T + bias, labels[0])
    logits = validation_features @ weight.T + bias
    right = _measure(logits, labels[1])[1] if len(labels[1]) else None
    note = f"A linear classifier on what {run.training.base} sees; the base itself stayed as it was."
    architecture, epoch = base.version.architecture, head.best_epoch
    frozen = TrainedNetwork(
        network, architecture, preprocessing, "head", note, stopped, epoch, loss, accuracy, right, logits
    )
    if not _is_fine_tuning_worthwhile(run, frozen, splits, base):
        return frozen
    return _fine_tune(storage, run, frozen, splits, labels, base.device)


def from_scratch(
    storage: Storage, run: TrainingRun, splits: Splits, numbers: Mapping[int, int], device: torch.device
) -> TrainedNetwork:
    """Train all of a small network."""
    preprocessing = families.find(SMALL).preprocessing(SMALL)
    labels = [labels_of(part, numbers) for part in (splits.training, splits.validation)]
    began = time.monotonic()
    training = finetune.from_scratch(
        SMALL, len(numbers), *_pictures(storage, splits, labels, preprocessing), run.training.parameters,
        flip=run.training.parameters.flip, device=str(device), check=run.check_before_learning,
    )  # fmt: skip
    stopped = _run_epochs(run, NETWORK, training, (0.0, 0.9))
    run.checkpoints.add_seconds(NETWORK, began)
    if not training.best_epoch:
        if stopped == "time":
            raise OutOfTime
        raise errors.Conflict(
            "No epoch was better than guessing on the validation pictures; allow more epochs, or another learning_rate."
        )
    note = "A small network trained from nothing, not from ImageNet's weights: with few photos it is less often right."
    best = _best(run.checkpoints.curve, NETWORK, training.best_epoch)
    return TrainedNetwork(training.result(), SMALL, preprocessing, "scratch", note, stopped, training.best_epoch, *best)


def _is_fine_tuning_worthwhile(run: TrainingRun, frozen: TrainedNetwork, splits: Splits, base: Loaded) -> bool:
    """Return True if fine-tuning is to be tried: if asked for, or by default if it may help and does not take long."""
    wish = run.training.parameters.fine_tune
    if run.cancellation.out_of_time or wish == "never":
        return False
    if wish == "always":
        return True
    affordable = base.device.type == "cuda" or len(splits.training) <= _AFFORDABLE
    return affordable and len(splits.validation) >= _FEWEST and (frozen.validation_accuracy or 0.0) < 1.0


def _fine_tune(
    storage: Storage,
    run: TrainingRun,
    frozen: TrainedNetwork,
    splits: Splits,
    labels: Sequence[torch.Tensor],
    device: torch.device,
) -> TrainedNetwork:
    began = time.monotonic()
    parameters = run.training.parameters
    gentle = replace(parameters, epochs=min(parameters.epochs, _FINE_EPOCHS), max_unimproved_epochs=_FINE_PATIENCE,
                     learning_rate=min(parameters.learning_rate, _FINE_RATE))  # fmt: skip
    preprocessing = frozen.preprocessing
    training = finetune.last_stages(
        copy.deepcopy(frozen.network), preprocessing, *_pictures(storage, splits, labels, preprocessing), gentle,
        flip=parameters.flip, device=str(device), check=run.progress.refresh,
    )  # fmt: skip
    stopped = _run_epochs(run, FINE_TUNING, training, (0.6, 0.9))
    run.checkpoints.add_seconds("fine_tuning", began)
    if splits.validation and not training.improved:
        return replace(frozen, note=f"{frozen.note} Training its last stages as well was tried, and did not help.")
    note = f"The last stages of {run.training.base} with a new head, trained on varied pictures."
    best = _best(run.checkpoints.curve, FINE_TUNING, training.best_epoch)
    return replace(frozen, network=training.result(), method="fine-tuned", note=note, stopped=stopped,
                   best_epoch=training.best_epoch, train_loss=best[0], train_accuracy=best[1],
                   validation_accuracy=best[2], logits=None)  # fmt: skip


def _run_epochs(run: TrainingRun, stage: str, training: EpochTraining, span: tuple[float, float]) -> str:
    """Run epochs until the stage is complete, and return the reason; resumes from the checkpoint if that is of this
    stage.

    If the checkpoint is of a later stage, nothing is reported again: the epochs of this stage are on the curve already.
    """
    is_repeated = run.checkpoints.stage not in ("", stage)
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
            run.record_epoch(stage, report, fraction, training.state)
    return "epochs" if training.epoch >= training.parameters.epochs else "early"


def _best(curve: Sequence[Mapping[str, Any]], stage: str, epoch: int) -> tuple[float | None, float, float | None]:
    """Return (train loss, train accuracy, validation accuracy) of an epoch."""
    for point in curve:
        if (point["stage"], point["epoch"]) == (stage, epoch):
            return point["train_loss"], point["train_accuracy"], point["validation_accuracy"]
    return None, 0.0, None


def _compute_features(
    storage: Storage, run: TrainingRun, base: Loaded, splits: Splits
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of the training and of the validation pictures."""
    began = time.monotonic()
    both = (*splits.training, *splits.validation)

    def on_progress(done: int) -> None:
        run.check_before_learning()
        run.progress.report(0.5 * min(1.0, done / len(both)), f"looking at the pictures: {done} of {len(both)}")

    rows = features(storage, base, both, on_progress)
    run.checkpoints.add_seconds("features", began)
    return rows[: len(splits.training)], rows[len(splits.training) :]


def _load_plain(storage: Storage, base: Loaded) -> nn.Module:
    """Return the base's network as it was before optimisation, which can be trained and stored."""
    version = base.version
    family = families.load(version.family)
    data = storage.read(version.weights)
    return weights.restore(family, version.architecture, base.preprocessing, data, version.config)


def _measure(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return (loss, accuracy), with equal weight for every picture."""
    return functional.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).double().mean().item()


def labels_of(examples: Sequence[DatasetExample], numbers: Mapping[int, int]) -> torch.Tensor:
    """Return the number of each example's label, (N,) int64."""
    return torch.tensor([numbers[example.label_id] for example in examples], dtype=torch.int64)


def batches(
    storage: Storage, progress: TrainingProgress, examples: Sequence[DatasetExample], preprocessing: Preprocessing
) -> Iterator[torch.Tensor]:
    """Yield normalised batches (N, channels, height, width) of pictures, in their order."""
    for start in range(0, len(examples), _PIECE):
        progress.refresh()
        crops = [
            preprocess.crop(decoded(storage, example, preprocessing), preprocessing)
            for example in examples[start : start + _PIECE]
        ]
        yield preprocess.normalise(preprocess.stack(crops), preprocessing).contiguous(memory_format=torch.channels_last)


def _pictures(
    storage: Storage, splits: Splits, labels: Sequence[torch.Tensor], preprocessing: Preprocessing
) -> tuple[LabelledPictures, LabelledPictures]:
    """Return the training and the validation pictures, decoded on demand."""

    def of(part: Sequence[DatasetExample], its_labels: torch.Tensor) -> LabelledPictures:
        return LabelledPictures(lambda number: decoded(storage, part[number], preprocessing), its_labels)

    return of(splits.training, labels[0]), of(splits.validation, labels[1])
