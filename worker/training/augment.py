"""Pictures for training: prepared once as for serving, or changed by chance at each look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from shared.domain.preprocessing import Preprocessing
from worker import preprocess

_ROOM = 1.25
"""Training pictures are first made this much larger than what serving resizes to, and no larger: it saves the time."""
_SHELF = 400_000_000
"""Bytes of decoded pictures that are kept; those beyond are decoded anew at each look."""


@dataclass(frozen=True)
class LabelledPictures:
    """Labelled pictures that are decoded when they are needed."""

    picture: Callable[[int], Image.Image]
    """The picture of that number, upright, in the mode of the preprocessing."""
    labels: torch.Tensor
    """(N,) int64, on the CPU."""

    def __len__(self) -> int:
        return len(self.labels)


class TensorCache:
    """Keeps what was made for a number, until it is full."""

    def __init__(self, make: Callable[[int], torch.Tensor], room: int = _SHELF) -> None:
        self._make = make
        self._kept: dict[int, torch.Tensor] = {}
        self._room = room

    def __call__(self, number: int) -> torch.Tensor:
        if (kept := self._kept.get(number)) is not None:
            return kept
        made = self._make(number)
        if made.nbytes <= self._room:
            self._kept[number] = made
            self._room -= made.nbytes
        return made


def served(pictures: LabelledPictures, wanted: Preprocessing) -> TensorCache:
    """Number to uint8 (channels, crop, crop), exactly as a worker prepares it."""
    return TensorCache(lambda number: preprocess.crop(pictures.picture(number), wanted))


def reduced(pictures: LabelledPictures, wanted: Preprocessing) -> TensorCache:
    """Number to uint8 (channels, height, width), not much larger than needed."""

    def make(number: int) -> torch.Tensor:
        picture = pictures.picture(number)
        factor = _ROOM * max(wanted.resize, wanted.crop) / min(picture.size)
        if factor < 1:
            size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
            picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels = np.array(picture)
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)

    return TensorCache(make)


def changes(wanted: Preprocessing, *, flip: bool, colour: float = 0.2) -> v2.Transform:
    """From a reduced picture to uint8 (channels, crop, crop): another part of it, mirrored, in another light.

    Gentle, because few pictures of a label often differ in little but the detail that a hard crop cuts away. It draws
    from torch's global generator.
    """
    steps: list[v2.Transform] = [
        v2.RandomResizedCrop(wanted.crop, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.ColorJitter(brightness=colour, contrast=colour, saturation=colour if wanted.mode == "RGB" else None),
    ]
    if flip:
        steps.insert(1, v2.RandomHorizontalFlip())
    return v2.Compose(steps)
