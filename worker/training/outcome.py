"""The outcome of the stages of a training: a network, and its answers on pictures that it had not learned from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from shared.domain.datasets import DatasetExample
from shared.domain.preprocessing import Preprocessing
from worker.training import truths


@dataclass(frozen=True)
class Unseen:
    """Answers on pictures that the network, or the head of a fold, that gave them had not learned from."""

    examples: tuple[DatasetExample, ...]
    logits: torch.Tensor
    """(N, C) float32."""
    truths: torch.Tensor
    """(N,) int64, or (N, C) float32 of several labels; see truths.py."""
    distances: torch.Tensor | None = None
    """(N,) float32, from what the network that gave the answers had learned, in its own features; None where the
    network that results has not learned from the examples, or nothing asks for them. See `worker/rejection.py`."""

    @property
    def right(self) -> float:
        """The number of right answers, the sum of `truths.right`."""
        return float(truths.right(self.logits, self.truths).sum())


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
    unseen: Unseen
    """The answers by which scores are calibrated; without pictures if there is nothing to judge by."""
    learned: tuple[DatasetExample, ...]
    """What the network has learned from."""
    cross_validation: Unseen | None = None
    """The answers of the linear heads of all folds; None without cross-validation."""
