"""Pictures for training: prepared once as for serving, or augmented at random in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from shared.domain.preprocessing import Preprocessing, sides
from worker import preprocess

_ROOM = 1.25
"""Training pictures are first reduced to this multiple of the size to which serving resizes, which saves time."""
_SHELF = 400_000_000
"""Maximum bytes of decoded pictures that are cached; pictures beyond it are decoded again in each epoch."""


@dataclass(frozen=True)
class LabelledPictures:
    """Labelled pictures that are decoded on demand."""

    picture: Callable[[int], Image.Image]
    """Returns the picture with that number, upright, in the mode of the preprocessing."""
    labels: torch.Tensor
    """(N,) int64, or (N, C) float32 of several labels, on the CPU; see truths.py."""

    def __len__(self) -> int:
        return len(self.labels)


class TensorCache:
    """Caches the tensor made for each number, up to `room` bytes."""

    def __init__(self, make: Callable[[int], torch.Tensor], room: int = _SHELF) -> None:
        self._make = make
        self._kept: dict[int, torch.Tensor] = {}
        self._room = room

    def __call__(self, number: int) -> torch.Tensor:
        if (cached := self._kept.get(number)) is not None:
            return cached
        tensor = self._make(number)
        if tensor.nbytes <= self._room:
            self._kept[number] = tensor
            self._room -= tensor.nbytes
        return tensor


def served(pictures: LabelledPictures, preprocessing: Preprocessing) -> TensorCache:
    """Return the pictures by number as uint8 (channels, height, width), exactly as a worker prepares them."""
    return TensorCache(lambda number: preprocess.crop(pictures.picture(number), preprocessing))


def reduced(pictures: LabelledPictures, preprocessing: Preprocessing) -> TensorCache:
    """Return the pictures by number as uint8 (channels, height, width), not much larger than needed."""

    def make(number: int) -> torch.Tensor:
        picture = pictures.picture(number)
        factor = _ROOM * max(*sides(preprocessing.resize), *sides(preprocessing.crop)) / min(picture.size)
        if factor < 1:
            size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
            picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        pixels = np.array(picture)
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)

    return TensorCache(make)


def changes(preprocessing: Preprocessing, *, flip: bool, colour: float = 0.2) -> v2.Transform:
    """Return the augmentation from a reduced picture to uint8 (channels, height, width): crop, mirror, change colours.

    It is mild, because pictures of few examples often differ only in a detail that a strong crop would cut away. It
    uses torch's global random generator.
    """
    steps: list[v2.Transform] = [
        v2.RandomResizedCrop(sides(preprocessing.crop), scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.ColorJitter(brightness=colour, contrast=colour, saturation=colour if preprocessing.mode == "RGB" else None),
    ]
    if flip:
        steps.insert(1, v2.RandomHorizontalFlip())
    if preprocessing.channel_order == "BGR":
        steps.append(v2.Lambda(lambda pixels: pixels.flip(-3)))
    return v2.Compose(steps)
