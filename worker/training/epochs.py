"""The base class of all trainings by epochs: early stopping, checkpoints and resuming."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from shared.domain.trainings import TrainingParameters

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class EpochReport:
    """The measurements of an epoch. Losses are None if they are not finite or there is no validation picture."""

    epoch: int
    """1 is the first."""
    train_loss: float | None
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    counted: str = "pictures"
    """What the accuracies are shares of: `pictures`, or `labels` of pictures with several."""


class Measured(NamedTuple):
    """Loss and accuracy of a network on some pictures; the latter is the mean of `truths.right`."""

    loss: float
    accuracy: float


class EpochTraining(ABC):
    """A training that advances by `step()` until `finished` gives the reason to stop.

    The result of `state()` between two steps, put into a fresh training on the same data by `load()`, continues with
    identical bits on the same machine and number of threads: all random numbers of an epoch depend on seed and epoch
    only.
    """

    counted = "pictures"
    """As in EpochReport."""
    check: Callable[[], None] = staticmethod(lambda: None)
    """Called now and then within an epoch. Its exception ends the training, with the best epoch before."""

    def __init__(
        self, parameters: TrainingParameters, optimizer: torch.optim.Optimizer, start: Measured | None
    ) -> None:
        """Prepare a training. `start` is the untouched network's measurement on validation, which an epoch has to
        improve."""
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
        """The reason to stop, in words; empty while the training is to continue."""
        if self._diverged:
            return "the loss became infinite: the learning rate is too large"
        if self.epoch >= self.parameters.epochs:
            return "all epochs are done"
        if self.epoch - self.best_epoch >= self.parameters.max_unimproved_epochs:
            return f"no improvement for {self.parameters.max_unimproved_epochs} epochs"
        return ""

    def step(self) -> EpochReport:
        """Train for one epoch and measure it; raises RuntimeError if the training is finished."""
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
            self.counted,
        )

    def state(self) -> Tensors:
        """Return everything that the following epochs depend on, copied to the CPU."""
        numbers = [self.epoch, self.best_epoch, self._best_loss, self._diverged]
        moments = {
            f"optimizer.{index}.{name}": tensor
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, tensor in values.items()
        }
        tensors = {"progress": torch.tensor(numbers, dtype=torch.float64), **moments, **self._own()}
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}

    def load(self, state: Tensors) -> None:
        """Resume where `state()` was called; the data, parameters and starting weights must be the same."""
        epoch, best_epoch, self._best_loss, diverged = state["progress"].tolist()
        self.epoch, self.best_epoch, self._diverged = int(epoch), int(best_epoch), bool(diverged)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, Tensors] = {}
        for name, tensor in state.items():
            if name.startswith("optimizer."):
                _, index, kind = name.split(".")
                like = parameters[int(index)]
                # In the parameter's memory order: another order may round differently.
                same = torch.empty_like(like, dtype=tensor.dtype) if tensor.shape == like.shape else tensor.clone()
                moments.setdefault(int(index), {})[kind] = same.detach().copy_(tensor)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._restore(state)

    def _better(self, measured: Measured) -> bool:
        return measured.loss < self._best_loss

    @abstractmethod
    def _train(self) -> Measured:
        """Train for one epoch over the training pictures, and return what was measured in it."""

    @abstractmethod
    def _validate(self) -> Measured | None:
        """Return loss and accuracy on the validation pictures; None if there are none."""

    @abstractmethod
    def _keep(self) -> None:
        """Store the current weights as the best."""

    @abstractmethod
    def _own(self) -> Tensors:
        """Return the current and the best weights."""

    @abstractmethod
    def _restore(self, state: Tensors) -> None:
        """Load the weights that `_own` returned."""


def random_generator(parameters: TrainingParameters, epoch: int) -> torch.Generator:
    """Return the random generator of an epoch; it does not depend on earlier epochs."""
    return torch.Generator().manual_seed(parameters.seed % 2**40 * 2**20 + epoch)


def batches(count: int, parameters: TrainingParameters, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Iterate over the numbers 0 to count - 1 in random order, in batches."""
    return iter(torch.randperm(count, generator=generator).split(parameters.batch_size))


def optimizer(
    weights: list[nn.Parameter] | list[torch.Tensor], parameters: TrainingParameters
) -> torch.optim.Optimizer:
    """Return AdamW with a light weight decay."""
    return torch.optim.AdamW(weights, lr=parameters.learning_rate, weight_decay=0.01)


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
