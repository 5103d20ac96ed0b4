"""Fine-tuning trains a network and not only its head: the last stages of a pretrained network, or all of a fresh
network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing
from shared.domain.trainings import TrainingParameters
from worker import families, optimise, preprocess
from worker.training import augment, epochs, truths
from worker.training.augment import LabelledPictures
from worker.training.epochs import EpochTraining, Measured, Tensors

_LAST = 0.25
"""The share of the layers, from the end, that fine-tuning changes."""
_MOST_WEIGHTS = 25_000_000
"""Maximum weights that fine-tuning changes, besides the head: a checkpoint takes four times as much."""
_PIECES = {"cpu": 8, "cuda": 64}
"""Pictures that go through the network at once; a batch is split into such pieces, so that any batch size fits the
memory."""
_WARM = 0.1
"""The share of the training in which the learning rate rises, before it falls along half a cosine."""
_WORTH = 0.01
"""The relative reduction of the loss from which fine-tuning counts as an improvement."""
_STEEPEST = 1.0
"""The norm to which gradients are clipped."""


class NetworkTraining(EpochTraining):
    """Gradient descent on augmented pictures, validated on pictures prepared exactly as for serving.

    `last_stages` and `from_scratch` create it. The network is trained in place. `check` is called every few pictures,
    and may raise: the progress of the epoch is then lost, and the result is the best epoch before it.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        train: LabelledPictures,
        validation: LabelledPictures,
        parameters: TrainingParameters,
        *,
        flip: bool,
        device: str,
        check: Callable[[], None],
    ) -> None:
        """Prepare the training of the parameters of `network` that require a gradient.

        Batch norms learn if the network is in train mode.
        """
        self.check = check
        self._device = torch.device(device)
        self._network = network.to(self._device)
        self._learning_norms = network.training
        self._preprocessing = preprocessing
        self._labels, self._validation_labels = train.labels, validation.labels
        self.counted = truths.counted(self._labels)
        self._picture = augment.reduced(train, preprocessing)
        self._served = augment.served(validation, preprocessing)
        self._change = augment.changes(preprocessing, flip=flip)
        classes = _outputs(network)
        self._counting = truths.balance(train.labels, classes).to(self._device)
        self._trained = {name: tensor for name, tensor in network.named_parameters() if tensor.requires_grad}
        norms = dict(network.named_buffers()) if self._learning_norms else {}
        self._changing: Tensors = {**{name: tensor.detach() for name, tensor in self._trained.items()}, **norms}
        start = self._validate()
        super().__init__(parameters, epochs.optimizer(list(self._trained.values()), parameters), start)
        self._keep()

    @property
    def improved(self) -> bool:
        """True if the result is better than the start on validation: a clearly lower loss, and not fewer right
        answers."""
        return self.start is not None and self._best_loss < (1 - _WORTH) * self.start.loss

    def result(self) -> nn.Module:
        """Return the network with the best weights, on the CPU, in eval mode and without gradients."""
        for name, tensor in self._changing.items():
            tensor.copy_(self._best[name])
        return self._network.cpu().eval().requires_grad_(False)

    def _better(self, measured: Measured) -> bool:
        lost = self.start is not None and not self._learning_norms and measured.accuracy < self.start.accuracy
        return super()._better(measured) and not lost

    def _train(self) -> Measured:
        generator = epochs.random_generator(self.parameters, self.epoch)
        self._network.train(self._learning_norms)
        total, right, done = 0.0, 0.0, 0
        # Augmentation and dropout use the global generator; its state is restored afterwards for other code.
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            for batch in epochs.batches(len(self._labels), self.parameters, generator):
                loss, correct = self._learn(batch, done)
                total, right, done = total + loss, right + correct, done + len(batch)
        self._network.eval()
        return Measured(total / done, right / done)

    def _learn(self, batch: torch.Tensor, done: int) -> tuple[float, float]:
        """Run one step of the optimizer; returns the summed loss and the right answers of the batch before the step."""
        self.optimizer.zero_grad()
        total, right = 0.0, 0.0
        for piece in batch.split(_PIECES[self._device.type] if not self._learning_norms else 256):
            self.check()
            with optimise.ALONE:  # the other thread may trace a model meanwhile; transforms are modules, too
                pictures = torch.stack([self._change(self._picture(number)) for number in piece.tolist()])
                logits = self._network(self._ready(pictures))
            labels = self._labels[piece].to(self._device)
            loss = truths.losses(logits, labels, self._counting).sum()
            (loss / len(batch)).backward()
            total += loss.item()
            right += float(truths.right(logits.detach(), labels).sum())
        if math.isfinite(total):
            nn.utils.clip_grad_norm_(self._trained.values(), _STEEPEST)
            rate = self._rate(done / len(self._labels))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        return total, right

    def _rate(self, within: float) -> float:
        """Return the learning rate at a point of the epoch, from 0 to 1."""
        passed = (self.epoch - 1 + within) / self.parameters.epochs
        if passed < _WARM:
            return self.parameters.learning_rate * (0.1 + 0.9 * passed / _WARM)
        return self.parameters.learning_rate * 0.5 * (1 + math.cos(math.pi * (passed - _WARM) / (1 - _WARM)))

    @torch.no_grad()
    def _validate(self) -> Measured | None:
        if not len(self._validation_labels):
            return None
        training = self._network.training
        self._network.eval()
        total, right = 0.0, 0.0
        for piece in torch.arange(len(self._validation_labels)).split(_PIECES[self._device.type]):
            self.check()
            pictures = preprocess.stack([self._served(number) for number in piece.tolist()])
            labels = self._validation_labels[piece].to(self._device)
            with optimise.ALONE:
                logits = self._network(self._ready(pictures))
            total += truths.losses(logits, labels, self._counting).sum().item()
            right += float(truths.right(logits, labels).sum())
        self._network.train(training)
        return Measured(total / len(self._validation_labels), right / len(self._validation_labels))

    def _ready(self, pictures: torch.Tensor) -> torch.Tensor:
        ready = preprocess.normalise(pictures.to(self._device), self._preprocessing)
        return ready.contiguous(memory_format=torch.channels_last)

    def _keep(self) -> None:
        self._best = {name: tensor.detach().clone() for name, tensor in self._changing.items()}

    def _own(self) -> Tensors:
        now = {f"now.{name}": tensor for name, tensor in self._changing.items()}
        return now | {f"best.{name}": tensor for name, tensor in self._best.items()}

    def _restore(self, state: Tensors) -> None:
        for kind, tensors in (("now", self._changing), ("best", self._best)):
            for name, tensor in tensors.items():
                tensor.copy_(state[f"{kind}.{name}"])


def last_stages(
    network: nn.Module,
    preprocessing: Preprocessing,
    train: LabelledPictures,
    validation: LabelledPictures,
    parameters: TrainingParameters,
    *,
    flip: bool = True,
    device: str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> NetworkTraining:
    """Prepare fine-tuning of the last quarter of the layers of a network whose head is trained already.

    An epoch counts only if it has a lower loss on validation than the network had, and not fewer right answers. The
    statistics of batch norms stay as they are: a few pictures would make them worse.
    """
    network.eval().requires_grad_(False)
    for module in trainable(network):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_()
    network.to(memory_format=torch.channels_last)
    return NetworkTraining(network, preprocessing, train, validation, parameters, flip=flip, device=device,
                           check=check)  # fmt: skip


def from_scratch(
    architecture: str,
    classes: int,
    train: LabelledPictures,
    validation: LabelledPictures,
    parameters: TrainingParameters,
    *,
    flip: bool = True,
    device: str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> NetworkTraining:
    """Prepare training of all of a fresh network; its initial weights depend on the seed only."""
    family = families.find(architecture)
    preprocessing = family.preprocessing(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(epochs.random_generator(parameters, 0).initial_seed())
        network = family.build(architecture, classes, preprocessing.crop)
    network.train()
    return NetworkTraining(network, preprocessing, train, validation, parameters, flip=flip, device=device,
                           check=check)  # fmt: skip


def trainable(network: nn.Module) -> list[nn.Module]:
    """Return the last quarter of the modules with weights, as far as they are not too many; always includes the
    head."""
    owners = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    head = families.penultimate(network)
    chosen, weights = [head], 0
    before = [module for module in reversed(owners) if module is not head]
    for module in before[: math.ceil(len(owners) * _LAST) - 1]:
        weights += sum(tensor.numel() for tensor in module.parameters(recurse=False))
        if weights > _MOST_WEIGHTS:
            break
        chosen.append(module)
    return chosen


def _outputs(network: nn.Module) -> int:
    return len(families.penultimate(network).weight)  # type: ignore[arg-type]
