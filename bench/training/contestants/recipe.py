"""The plain recipe: fine-tuning of the whole network as torchvision's tutorial on transfer learning has it.

SGD with a rate of 0.001 and a momentum of 0.9, batches of four, crops of random size and place, half of them mirrored.
The rate falls to a tenth after every 7 of the tutorial's 25 epochs, so that most is learned in the first 7. The
tutorial keeps the epoch that is best on its validation pictures; here all pictures are learned from, and the last epoch
answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torchvision import transforms

from bench.training import figures
from bench.training.base import Base
from bench.training.contestants import Answer
from bench.training.result import PLAIN
from bench.training.tasks import Draw
from shared.domain.preprocessing import Preprocessing, sides
from worker import preprocess

EPOCHS = 10
"""Epochs by default: with all of the tutorial's, five seeds of the usual tasks take more than an hour of two cores."""
_TUTORIALS, _EVERY = 25, 7
_RATE, _MOMENTUM, _FALL, _BATCH = 0.001, 0.9, 0.1, 4
_ASKED = 16
"""Pictures that are answered at once."""


class Recipe:
    """Fine-tuning of the whole network with a new head."""

    name = PLAIN

    def __init__(self, base: Base, epochs: int = EPOCHS) -> None:
        self._base = base
        self._epochs = epochs

    def learn(self, draw: Draw) -> Answer:
        """Train, and answer the held back pictures."""
        torch.manual_seed(draw.seed)
        preprocessing = self._base.load().preprocessing
        network = self._base.network(len(draw.task.labels)).requires_grad_(True)
        began = time.perf_counter()
        _train(network, draw, preprocessing, self._epochs)
        seconds = time.perf_counter() - began
        scores = _answer(network.eval(), [picture.data for picture in draw.held_back], preprocessing)
        return Answer(scores, seconds, note=f"{self._epochs} of the tutorial's {_TUTORIALS} epochs")


def _train(network: nn.Module, draw: Draw, preprocessing: Preprocessing, epochs: int) -> None:
    pictures = [preprocess.decode(picture.data, preprocessing) for picture in draw.training]
    labels = torch.from_numpy(draw.given)
    varied = transforms.Compose([
        transforms.RandomResizedCrop(sides(preprocessing.crop)), transforms.RandomHorizontalFlip(),
        transforms.ToTensor(), transforms.Normalize(preprocessing.mean, preprocessing.std),
    ])  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), lr=_RATE, momentum=_MOMENTUM)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, _EVERY, _FALL)
    loss = nn.CrossEntropyLoss()
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(pictures)).split(_BATCH):
            batch = torch.stack([varied(pictures[number]) for number in chosen.tolist()])
            optimizer.zero_grad()
            loss(network(batch), labels[chosen]).backward()
            optimizer.step()
        schedule.step()


@torch.inference_mode()
def _answer(network: nn.Module, pictures: Sequence[bytes], preprocessing: Preprocessing) -> figures.Scores:
    rows = []
    for start in range(0, len(pictures), _ASKED):
        crops = [
            preprocess.crop(preprocess.decode(data, preprocessing), preprocessing)
            for data in pictures[start : start + _ASKED]
        ]
        rows.append(network(preprocess.normalise(preprocess.stack(crops), preprocessing)).numpy())
    return figures.softmax(np.concatenate(rows).astype(np.float64))
