"""A small network for colour pictures that is trained from scratch, where there are no pretrained weights."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing, Size
from worker.families import NO_CONFIG, Config, Pretrained

HOLLOW = True
FORMAT = "safetensors"
PREPROCESSING = Preprocessing(resize=64, crop=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_WIDTHS = (3, 32, 64, 96, 128)


def architectures() -> list[str]:
    """Return the only architecture, `small`."""
    return ["small"]


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Build four convolutions, each halving the side, and an average over space: 190 thousand weights, for any
    `crop`."""
    blocks = [layer for pair in pairwise(_WIDTHS) for layer in _block(*pair)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTHS[-1], classes))


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)


def preprocessing(architecture: str) -> Preprocessing:
    """Return the preprocessing: colour, 64 pixels."""
    return PREPROCESSING


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return no presets: the network is trained here only."""
    return {}


def pretrained(architecture: str) -> Pretrained | None:
    """Return None: there are no pretrained weights."""
    return None


def identify(sha256: str) -> Pretrained | None:
    """Return None: no file of it is published."""
    return None


def adapt(architecture: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state unchanged: there are no older names."""
    return state
