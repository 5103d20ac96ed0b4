"""The head: a linear classifier on the stored features of a frozen network, the quick part of transfer learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from shared.domain.trainings import TrainingParameters
from shared.errors import BadDataset
from worker.training import epochs, truths
from worker.training.epochs import EpochTraining, Measured, Tensors
from worker.training.gain import is_gain
from worker.training.logistic_regression import regression

_WORTH = 1e-3
"""The reduction of the loss that counts as an improvement: if all is right already, less is no reason to continue."""
_SAME = 1e-10
"""Variance of features, relative to their mean square, below which they differ by rounding only."""


class HeadTraining(EpochTraining):
    """Softmax regression, or a logistic regression for each of several labels, by AdamW, balanced, with early stopping.

    It does not start from zero, because the slowest allowed learning rates and numbers of epochs would not get far, but
    from regularised logistic regression on all training pictures. Epochs then improve it as far as validation confirms:
    the start counts as epoch 0, and stays the result if no epoch has a loss on validation that is lower by more than
    chance, or a lower one on the training pictures if there is no validation.

    Features are centred and divided by a single number. Dividing each feature by its standard deviation was 2 to 4
    points worse on few pictures, because it amplifies features that hardly vary.
    """

    def __init__(
        self,
        train: tuple[torch.Tensor, torch.Tensor],
        validation: tuple[torch.Tensor, torch.Tensor],
        classes: int,
        parameters: TrainingParameters,
        *,
        biased: bool = True,
        strength: float = 1.0,
        device: str = "cpu",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare the training from features (N, D) float32 and truths, twice; validation may have no rows.

        `biased` is whether the network's head has a bias (`heads.has_bias`): without it, the result's bias is zero.
        `strength` is that of the penalty, as in `regression`. `check` is called now and then, and may raise to end the
        training.
        """
        features, self._labels = train[0].to(device), train[1].to(device)
        self.counted = truths.counted(self._labels)
        self._standard = Standard.of(features, centred=biased)
        self._features = self._standard(features)
        self._validation = (self._standard(validation[0].to(device)), validation[1].to(device))
        self._counting = truths.balance(train[1], classes).to(device)
        first = regression(self._features, self._labels, self._counting, biased, check, strength)
        self._weights = [tensor.requires_grad_() for tensor in first]
        self._first_losses = self._validation_losses()
        super().__init__(parameters, epochs.optimizer(self._weights[: 1 + biased], parameters), self._validate())
        if self.start is None:
            self._best_loss = self._measure(self._features, self._labels).loss
        self._best = [tensor.detach().clone() for tensor in self._weights]

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (C, D) and bias (C,) of the best epoch, float32 on the CPU, for the original features."""
        return self._standard.undone(*self._best)

    def _better(self, measured: Measured) -> bool:
        if not measured.loss < self._best_loss - _WORTH:
            return False
        return self.start is None or is_gain(self._first_losses - self._validation_losses())

    def _train(self) -> Measured:
        generator = epochs.random_generator(self.parameters, self.epoch)
        weight, bias = self._weights
        for batch in epochs.batches(len(self._labels), self.parameters, generator):
            chosen = batch.to(self._labels.device)
            logits = torch.addmm(bias, self._features[chosen], weight.T)
            loss = truths.losses(logits, self._labels[chosen], self._counting).sum() / len(chosen)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return self._measure(self._features, self._labels)

    def _validate(self) -> Measured | None:
        return self._measure(*self._validation) if len(self._validation[1]) else None

    @torch.no_grad()
    def _validation_losses(self) -> torch.Tensor:
        """Return the loss of each validation picture, (N,)."""
        features, labels = self._validation
        weight, bias = self._weights
        logits = torch.addmm(bias, features, weight.T)
        return truths.losses(logits, labels, self._counting)

    @torch.no_grad()
    def _measure(self, features: torch.Tensor, labels: torch.Tensor) -> Measured:
        weight, bias = self._weights
        logits = torch.addmm(bias, features, weight.T)
        loss = truths.losses(logits, labels, self._counting).sum().item() / len(labels)
        return Measured(loss, truths.right(logits, labels).mean().item())

    def _keep(self) -> None:
        self._best = [tensor.detach().clone() for tensor in self._weights]

    def _own(self) -> Tensors:
        (weight, bias), (best_weight, best_bias) = self._weights, self._best
        return {"weight": weight, "bias": bias, "best.weight": best_weight, "best.bias": best_bias}

    def _restore(self, state: Tensors) -> None:
        with torch.no_grad():
            for tensor, name in zip([*self._weights, *self._best], self._own(), strict=True):
                tensor.copy_(state[name])


@dataclass(frozen=True)
class Standard:
    """Features are centred and divided by a single number, so that their variance is 1 on average."""

    middle: torch.Tensor
    """(D,)"""
    scale: float

    @classmethod
    def of(cls, features: torch.Tensor, *, centred: bool) -> Standard:
        """Return what makes features (N, D) standard; raises BadDataset if they are all the same."""
        middle = features.mean(dim=0) if centred else torch.zeros_like(features[0])
        variance = float((features - middle).double().square().mean())
        if not variance > _SAME * float(features.double().square().mean()):
            raise BadDataset("The base sees no difference between these pictures: take another base or other pictures.")
        return cls(middle, variance**-0.5)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (N, D) in the standard form."""
        return (features - self.middle) * self.scale

    def undone(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (C, D) and bias (C,) for the original features, float32 on the CPU."""
        weight = weight.double() * self.scale
        bias = bias.double() - weight @ self.middle.double()
        return weight.float().cpu(), bias.float().cpu()


def fit(
    features: torch.Tensor, labels: torch.Tensor, classes: int, *, biased: bool, strength: float = 1.0,
    check: Callable[[], None] = lambda: None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return weight (C, D) and bias (C,) of the balanced regression alone, without any epoch; as `HeadTraining`."""
    standard = Standard.of(features, centred=biased)
    counting = truths.balance(labels, classes).to(features.device)
    return standard.undone(*regression(standard(features), labels, counting, biased, check, strength))
