"""A network that sleeps as long as a card would compute; its answers mean nothing."""

from __future__ import annotations

import os
import time

import torch
from torch import nn

from bench.devices import CHANNELS, RATE
from shared.domain.preprocessing import Preprocessing, Size
from worker.families import NO_CONFIG, Config, Pretrained

HOLLOW = True
FORMAT = "safetensors"
PREPROCESSING = Preprocessing(resize=32, crop=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Sleep(nn.Module):
    """Returns its input after the time that a card needs for as many pictures."""

    def __init__(self) -> None:
        super().__init__()
        self._rate = float(os.environ[RATE])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` (N, values) after N / rate seconds."""
        if not x.is_meta:
            time.sleep(len(x) / self._rate)
        return x


def architectures() -> list[str]:
    """Return the only architecture, `card`."""
    return ["card"]


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Build the average over space, the sleep, and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Sleep(), nn.Linear(CHANNELS, classes))


def preprocessing(architecture: str) -> Preprocessing:
    """Return the preprocessing: colour, 32 pixels."""
    return PREPROCESSING


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return no presets."""
    return {}


def pretrained(architecture: str) -> Pretrained | None:
    """Return None: there is nothing to publish."""
    return None


def identify(sha256: str) -> Pretrained | None:
    """Return None: no file of it is published."""
    return None


def adapt(architecture: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state unchanged: there are no older names."""
    return state
