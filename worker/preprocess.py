"""Preprocessing turns a decoded picture into a network's input, exactly as torchvision's and timm's references do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from shared.domain.preprocessing import Preprocessing

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def crop(picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize and keep the centre: uint8 of shape (channels, crop, crop), in NHWC memory order.

    The result equals torchvision's `resize` and `center_crop` for a PIL picture bit for bit, and timm's evaluation
    transform (`timm.data.transforms_factory`) in its three crop modes. `resize(box=...)` for the kept part alone would
    halve the time, but up to a quarter of the pixels then differ by one level.
    """
    size = _resized(picture.size, preprocessing)
    if size != picture.size:
        picture = picture.resize(size, _FILTERS[preprocessing.interpolation])
    left, top = _start(size[0], preprocessing.crop), _start(size[1], preprocessing.crop)
    inside = picture.crop(
        (left, top, left + preprocessing.crop, top + preprocessing.crop)
    )  # outside the picture it is black
    picture = _bordered(inside, size, (-left, -top), preprocessing) if preprocessing.crop_mode == "border" else inside
    pixels = np.array(picture).reshape(preprocessing.crop, preprocessing.crop, -1)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Return (width, height) after resizing, rounded as the references round."""
    width, height = size
    if preprocessing.crop_mode == "squash":
        return preprocessing.resize, preprocessing.resize
    if preprocessing.crop_mode == "border":
        ratio = max(width, height) / preprocessing.resize
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    short = min(width, height)
    return int(preprocessing.resize * width / short), int(preprocessing.resize * height / short)


def _bordered(
    inside: Image.Image, size: tuple[int, int], at: tuple[int, int], preprocessing: Preprocessing
) -> Image.Image:
    """Return the crop with the mean colour, instead of black, outside of the resized picture."""
    colour = tuple(round(255 * value) for value in preprocessing.mean)
    canvas = Image.new(inside.mode, inside.size, colour if len(colour) > 1 else colour[0])
    left, top = max(0, at[0]), max(0, at[1])
    right, bottom = min(preprocessing.crop, at[0] + size[0]), min(preprocessing.crop, at[1] + size[1])
    canvas.paste(inside.crop((left, top, right, bottom)), (left, top))
    return canvas


def _start(size: int, crop_size: int) -> int:
    """Return where the kept part begins along one side; negative if the picture is smaller and is padded."""
    return -((crop_size - size) // 2) if size < crop_size else round((size - crop_size) / 2)


def stack(crops: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack crops to (N, channels, crop, crop) in channels-last order; a plain copy, because the crops have that order
    already."""
    return torch.stack([crop_pixels.permute(1, 2, 0) for crop_pixels in crops]).permute(0, 3, 1, 2)


def normalise(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Convert uint8 pixels to the float32 values that the network was trained on; same shape, device and memory
    order."""
    mean = torch.tensor(preprocessing.mean, device=batch.device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=batch.device).view(-1, 1, 1)
    return batch.float().div_(255).sub_(mean).div_(std)
