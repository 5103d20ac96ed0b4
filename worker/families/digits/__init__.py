"""Handwritten digits: a small network whose weights are installed, so that an offline machine has a model."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing, Size
from worker.families import NO_CONFIG, Config, Pretrained, square

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "digits.safetensors"
CARD = FOLDER / "digits.json"
"""Labels, preprocessing and measurements; written by train.py together with the weights."""
SAMPLES = FOLDER / "samples"
"""Ten pictures from the held-out part, `digit_0.png` to `digit_9.png`."""

HOLLOW = True
FORMAT = "safetensors"
PREPROCESSING = Preprocessing(resize=32, crop=32, mean=(0.5,), std=(0.5,), mode="L")


def architectures() -> list[str]:
    """Return the only architecture, `digits`."""
    return ["digits"]


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Build four convolutions and a linear layer over an eighth of the side; `crop` is the side of the input in
    pixels."""
    side = square(architecture, crop)
    return nn.Sequential(
        *_block(1, 16),
        *_block(16, 32),
        nn.MaxPool2d(2),
        *_block(32, 40),
        nn.MaxPool2d(2),
        *_block(40, 56),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(56 * (side // 8) ** 2, classes),
    )


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def preprocessing(architecture: str) -> Preprocessing:
    """Return the preprocessing: grey, 32 pixels."""
    return PREPROCESSING


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return no presets: there is only one way to prepare a picture for this network."""
    return {}


def pretrained(architecture: str) -> Pretrained | None:
    """Return the weights in this folder."""
    return Pretrained(tuple(card()["labels"]), PREPROCESSING, "scikit-learn digits", path=WEIGHTS)  # type: ignore[arg-type]


def identify(sha256: str) -> Pretrained | None:
    """Return None: there is only one way to prepare a picture for this network."""
    return None


def adapt(architecture: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state unchanged: there are no older names."""
    return state


@lru_cache(maxsize=1)
def card() -> dict[str, object]:
    """Return the labels and measurements that train.py stored with the weights."""
    values: dict[str, object] = json.loads(CARD.read_text())
    return values
