"""Trainings turn a dataset version into a model version; this file has their parameters and state.

A training moves as a job does: QUEUED ──> RUNNING ──> DONE, FAILED or CANCELLED.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared import errors
from shared.domain.jobs import Status
from shared.domain.models import plots_folder
from shared.domain.rejection import check_label, check_precision

SCRATCH = "scratch"
"""The base that means: train a small network from random weights."""
FINE_TUNING = ("auto", "always", "never")
LONGEST = 7 * 24 * 3600.0
"""Maximum seconds that a training may ask for."""
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (1, 1024),
    "max_unimproved_epochs": (1, 10_000),
    "train_split_ratio": (0.1, 0.95),
    "seed": (0, 2**31 - 1),
    "max_seconds": (1, LONGEST),
}
"""Parameter -> lowest and highest value."""


@dataclass(frozen=True)
class TrainingParameters:
    """The parameters of a training; raises BadOption for values out of range."""

    epochs: int = 100
    """Maximum epochs of the linear head, and of a network trained from scratch."""
    learning_rate: float = 0.001
    batch_size: int = 32
    max_unimproved_epochs: int = 10
    """Epochs without a lower validation loss after which the stage ends."""
    train_split_ratio: float = 0.8
    """Share of each label that trains, where the dataset declares no splits; the rest validates and tests."""
    seed: int = 0
    with_feedback: bool = True
    """Also learn from corrections of wrong predictions."""
    fine_tune: str = "auto"
    """Fine-tuning of the base's last stages: `never`, `always`, or `auto`, which is when it may help and does not take
    long. Its result is kept only if it is better on pictures that were not learned from; with `auto`, by more than
    chance."""
    flip: bool = True
    """True if a mirrored picture has the same label; false for digits and letters."""
    max_seconds: float = 24 * 3600.0
    """Seconds after which the training stops with the best result so far."""
    reject_below_precision: float | None = None
    """The wanted precision of the version's rejection rule, see `rejection.py`; None for no rule."""
    unknown_label: str = ""
    """The label of that rule, on wires that have no word for doubt."""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            _within(name, getattr(self, name), low, high)
        if not 0 < self.learning_rate < 1:
            raise errors.BadOption(f"learning_rate must be above 0 and below 1, not {self.learning_rate}")
        if self.fine_tune not in FINE_TUNING:
            raise errors.BadOption(f"fine_tune must be one of {', '.join(FINE_TUNING)}, not {self.fine_tune!r}")
        if self.reject_below_precision is not None:
            check_precision("reject_below_precision", self.reject_below_precision)
            check_label("unknown_label", self.unknown_label)
        elif self.unknown_label:
            raise errors.BadOption("unknown_label is for a rejection rule; give reject_below_precision as well")


@dataclass(frozen=True)
class TrainingRequest:
    """A request for a training in the terms of the domain; every wire translates its requests into this."""

    dataset_id: int
    name: str
    """The name of the model; an existing model gets another version."""
    base: str = ""
    """A model, or SCRATCH; empty means the best base available."""
    base_version: str = ""
    """Empty means the base's default version."""
    parameters: TrainingParameters = field(default_factory=TrainingParameters)
    title: str = ""
    """The caller's own name for the training; empty is the model's name."""
    promote: bool = False
    """Make the new version the model's default when it is done, whatever the result of the comparison."""
    requires_deployment: bool = False
    """Do not answer on the wire through which it was trained until it is deployed there."""
    allow_unready_dataset: bool = False
    """Accept a dataset that is still loading or has too few pictures: the training then waits, or fails with the
    reason, instead of the request."""
    exclusive: bool = False
    """Refuse the request while another training uses the dataset."""
    webhook: str = ""
    webhook_secret: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    wire: str = "native"


@dataclass(frozen=True)
class Training:
    """A stored training; times are Unix seconds."""

    id: str
    """UUIDv7, so that ids sort by time."""
    tenant: str
    wire: str
    name: str
    title: str
    status: Status
    dataset_id: int
    dataset_version: int
    """0 while the dataset is still loading."""
    base: str
    """`NAME VERSION` of the base, or SCRATCH."""
    base_id: str
    """The version id of the base; empty for SCRATCH."""
    parameters: TrainingParameters
    created_at: float
    updated_at: float
    promote: bool = False
    requires_deployment: bool = False
    progress: float = 0.0
    """0 to 1."""
    message: str = ""
    """The current activity, for people."""
    curve: tuple[Mapping[str, Any], ...] = ()
    """An entry per epoch: `stage` (head, fine-tuning, refit, network), `epoch` (1 is the first of its stage),
    `train_loss`, `train_accuracy`, `validation_loss`, `validation_accuracy`; the last two are null without validation
    pictures. Empty in lists."""
    attempts: int = 0
    """Number of trainers that have begun the training since its last stored epoch."""
    version_id: str = ""
    """The id of the version that it has made."""
    version: str = ""
    """The name of that version, `1` is a model's first."""
    error_code: str = ""
    error: str = ""
    evidence: Mapping[str, Any] | None = None
    """The measurements, see worker/training; None until it is DONE, and in lists."""
    webhook: str = ""
    webhook_secret: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Return True if `max_seconds` have passed since it started."""
        return self.started_at is not None and now > self.started_at + self.parameters.max_seconds


def checkpoint_key(training_id: str) -> str:
    """Return the key of the blob that holds the last stored epoch."""
    return f"checkpoints/{training_id}"


def plot_key(training_id: str, name: str) -> str:
    """Return the key of the blob of a plot, such as `confusion.svg`."""
    return f"{plots_folder(training_id)}/{name}"


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise errors.BadOption(f"{name} must be from {low:g} to {high:g}, not {value}")
