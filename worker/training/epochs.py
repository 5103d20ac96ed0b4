"""What all trainings have in common: epochs that can be counted, stopped early, put away and taken up again."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from shared.domain.trainings import TrainingParameters

Tensors = dict[str, torch.Tensor]

_SPREAD = 20.0
"""How many times as much as a picture of the commonest label one of the rarest may count, at most."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch came to. Losses are None where they are no finite number or there is no validation picture."""

    epoch: int
    """From 1."""
    train_loss: float | None
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


class Measured(NamedTuple):
    """Loss and accuracy of a network on some pictures."""

    loss: float
    accuracy: float


class EpochTraining(ABC):
    """A training that goes on by `step()` until `finished` says why it is over.

    What `state()` gives between two steps, put into a fresh training on the same data by `load()`, leads to the same
    bits on the same machine and number of threads: all that is drawn by chance in an epoch depends on seed and epoch.
    """

    check: Callable[[], None] = staticmethod(lambda: None)
    """Called every now and then within an epoch. What it raises ends the training, with the best epoch before."""

    def __init__(
        self, parameters: TrainingParameters, optimizer: torch.optim.Optimizer, start: Measured | None
    ) -> None:
        """`start` is what the untouched network comes to on validation; an epoch has to do better to count."""
        self.parameters = parameters
        self.optimizer = optimizer
        self.start = start
        self.epoch = 0
        """Epochs done."""
        self.best_epoch = 0
        """The epoch of the result; 0 is the start."""
        self._best_loss = start.loss if start else math.inf
        self._diverged = False

    @property
    def finished(self) -> str:
        """Why it is over, in words; empty while it is not."""
        if self._diverged:
            return "the loss became infinite: the learning rate is too large"
        if self.epoch >= self.parameters.epochs:
            return "all epochs are done"
        if self.epoch - self.best_epoch >= self.parameters.max_unimproved_epochs:
            return f"no improvement for {self.parameters.max_unimproved_epochs} epochs"
        return ""

    def step(self) -> EpochReport:
        """Train for one epoch and measure it; raises RuntimeError when it is finished."""
        if self.finished:
            raise RuntimeError(f"the training is over: {self.finished}")
        self.epoch += 1
        trained = self._train()
        validated = self._validate()
        watched = validated or trained
        self._diverged = not (math.isfinite(watched.loss) and math.isfinite(trained.loss))
        if not self._diverged and self._better(watched):
            self.best_epoch, self._best_loss = self.epoch, watched.loss
            self._keep()
        return EpochReport(
            self.epoch,
            _finite(trained.loss),
            trained.accuracy,
            _finite(validated.loss) if validated else None,
            validated.accuracy if validated else None,
        )

    def state(self) -> Tensors:
        """Everything that the rest depends on, copied to the CPU."""
        numbers = [self.epoch, self.best_epoch, self._best_loss, self._diverged]
        moments = {
            f"optimizer.{index}.{name}": tensor
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, tensor in values.items()
        }
        found = {"progress": torch.tensor(numbers, dtype=torch.float64), **moments, **self._own()}
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in found.items()}

    def load(self, state: Tensors) -> None:
        """Go on where `state()` was called; the data, parameters and starting weights must be the same."""
        epoch, best_epoch, self._best_loss, diverged = state["progress"].tolist()
        self.epoch, self.best_epoch, self._diverged = int(epoch), int(best_epoch), bool(diverged)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, Tensors] = {}
        for name, tensor in state.items():
            if name.startswith("optimizer."):
                _, index, kind = name.split(".")
                like = parameters[int(index)]
                # In the parameter's memory order: another one may round differently.
                same = torch.empty_like(like, dtype=tensor.dtype) if tensor.shape == like.shape else tensor.clone()
                moments.setdefault(int(index), {})[kind] = same.detach().copy_(tensor)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._restore(state)

    def _better(self, measured: Measured) -> bool:
        return measured.loss < self._best_loss

    @abstractmethod
    def _train(self) -> Measured:
        """One epoch over the training pictures."""

    @abstractmethod
    def _validate(self) -> Measured | None:
        """Loss and accuracy on the validation pictures; None where there are none."""

    @abstractmethod
    def _keep(self) -> None:
        """Note the weights as they are as the best."""

    @abstractmethod
    def _own(self) -> Tensors:
        """The weights as they are, and the best."""

    @abstractmethod
    def _restore(self, state: Tensors) -> None:
        """Take back what `_own` gave."""


def chance(parameters: TrainingParameters, epoch: int) -> torch.Generator:
    """The random numbers of one epoch; nothing of an earlier one is needed to have them again."""
    return torch.Generator().manual_seed(parameters.seed % 2**40 * 2**20 + epoch)


def batches(count: int, parameters: TrainingParameters, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """The numbers 0 to count - 1 in random order, in batches."""
    return iter(torch.randperm(count, generator=generator).split(parameters.batch_size))


def balance(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(classes,) how much a picture of each label counts: the less the more there are, within bounds; 1 on average."""
    counts = torch.bincount(labels.cpu(), minlength=classes).double()
    wanted = counts.max() / counts.clamp(min=1)
    wanted = torch.where(counts > 0, wanted.clamp(max=_SPREAD), 0.0)
    return (wanted * counts.sum() / (wanted * counts).sum()).float()


def losses(logits: torch.Tensor, labels: torch.Tensor, counting: torch.Tensor) -> torch.Tensor:
    """The summed loss of a batch. Not cross_entropy's weighted mean, by which a batch of one label weighs nothing."""
    return functional.cross_entropy(logits, labels, weight=counting, reduction="sum")


def optimizer(
    weights: list[nn.Parameter] | list[torch.Tensor], parameters: TrainingParameters
) -> torch.optim.Optimizer:
    """AdamW with a light decay."""
    return torch.optim.AdamW(weights, lr=parameters.learning_rate, weight_decay=0.01)


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
