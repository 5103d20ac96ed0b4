"""A linear classifier on the kept features of a frozen network, the quick part of transfer learning."""

from __future__ import annotations

import torch

from worker.training import epochs
from worker.training.calibration import likeliest
from worker.training.epochs import Measured, Params, Tensors, Training
from worker.training.start import discriminant

_HOTTEST = 1e4


class HeadTraining(Training):
    """Softmax regression by AdamW, balanced over the labels, stopped early.

    It starts from shrunken discriminant analysis, a solution in closed form: from zero, the slowest allowed learning
    rates and numbers of epochs would end long before they arrive. The start is epoch 0, and stays the result where
    no epoch has a lower loss on validation, or on the training pictures where there is no validation.
    """

    def __init__(
        self,
        train: tuple[torch.Tensor, torch.Tensor],
        validation: tuple[torch.Tensor, torch.Tensor],
        classes: int,
        params: Params,
        *,
        biased: bool = True,
        device: str = "cpu",
    ) -> None:
        """Features (N, D) float32 and labels (N,) int64, twice; validation may have no rows.

        `biased` is whether the head it is for has a bias (`heads.has_bias`): without, the result's is zero.
        """
        features, self._labels = train[0].to(device), train[1].to(device)
        self._biased = biased
        spread, self._middle = torch.std_mean(features, dim=0, correction=0)
        # A feature that never changes says nothing, and would be blown up where it changes later.
        self._scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        if not biased:
            self._middle = torch.zeros_like(self._middle)
        self._features = self._standard(features)
        self._validation = (self._standard(validation[0].to(device)), validation[1].to(device))
        self._counting = epochs.balance(train[1], classes).to(device)
        self._weights = [tensor.requires_grad_() for tensor in self._first(classes)]
        super().__init__(params, epochs.optimizer(self._weights[: 1 + biased], params), self._validate())
        if self.start is None:
            self._best_loss = self._measure(self._features, self._labels).loss
        self._best = [tensor.detach().clone() for tensor in self._weights]

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (C, D) and bias (C,) of the best epoch, float32 on the CPU, for features as they were given."""
        weight, bias = (tensor.double() for tensor in self._best)
        weight = weight * self._scale
        bias = bias - weight @ self._middle.double()
        return weight.float().cpu(), bias.float().cpu()

    def _standard(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self._middle) * self._scale

    def _first(self, classes: int) -> list[torch.Tensor]:
        weight, bias = discriminant(self._features, self._labels, classes)
        if not self._biased:  # what the bias does, as nearly as the mean picture can do it
            middle = self._features.double().mean(dim=0)
            weight, bias = weight + torch.outer(bias, middle) / middle.square().sum().clamp(min=1e-12), bias * 0
        features, labels = self._validation if len(self._validation[1]) else (self._features, self._labels)
        # With many features its scores are far too sure, and gradients could not move it any more.
        heat = likeliest(features.double() @ weight.T + bias, labels, 1.0, _HOTTEST)
        return [(weight / heat).float(), (bias / heat).float()]

    def _train(self) -> Measured:
        chance = epochs.chance(self.params, self.epoch)
        weight, bias = self._weights
        for batch in epochs.batches(len(self._labels), self.params, chance):
            chosen = batch.to(self._labels.device)
            logits = torch.addmm(bias, self._features[chosen], weight.T)
            loss = epochs.losses(logits, self._labels[chosen], self._counting) / len(chosen)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return self._measure(self._features, self._labels)

    def _validate(self) -> Measured | None:
        return self._measure(*self._validation) if len(self._validation[1]) else None

    @torch.no_grad()
    def _measure(self, features: torch.Tensor, labels: torch.Tensor) -> Measured:
        weight, bias = self._weights
        logits = torch.addmm(bias, features, weight.T)
        loss = epochs.losses(logits, labels, self._counting).item() / len(labels)
        return Measured(loss, (logits.argmax(dim=1) == labels).double().mean().item())

    def _keep(self) -> None:
        self._best = [tensor.detach().clone() for tensor in self._weights]

    def _own(self) -> Tensors:
        (weight, bias), (best_weight, best_bias) = self._weights, self._best
        return {"weight": weight, "bias": bias, "best.weight": best_weight, "best.bias": best_bias}

    def _restore(self, state: Tensors) -> None:
        with torch.no_grad():
            for tensor, name in zip([*self._weights, *self._best], self._own(), strict=True):
                tensor.copy_(state[name])
