"""Preprocessing turns a picture into a network's input, exactly as torchvision's, timm's and transformers' references
do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from shared.domain.preprocessing import Preprocessing, sides
from shared.imaging import images

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def decode(data: bytes, preprocessing: Preprocessing, *, exif: bool = True) -> Image.Image:
    """Decode a picture as the network wants it; `exif` applies the EXIF orientation. Raises BrokenPicture."""
    colour = preprocessing.background
    background = (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)) if colour else None
    return images.decode(
        data,
        exif=exif,
        mode=preprocessing.mode,
        background=background,
        apply_profile=preprocessing.color_profile == "apply",
    )


def crop(picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize and keep the centre: uint8 of shape (channels, height, width), in NHWC memory order.

    The result equals torchvision's `resize` and `center_crop` for a PIL picture bit for bit, and timm's evaluation
    transform (`timm.data.transforms_factory`) in its three crop modes. `resize(box=...)` for the kept part alone would
    halve the time, but up to a quarter of the pixels then differ by one level.
    """
    size = _resized(picture.size, preprocessing)
    if size != picture.size:
        picture = picture.resize(size, _FILTERS[preprocessing.interpolation])
    height, width = sides(preprocessing.crop)
    left, top = _start(size[0], width, preprocessing), _start(size[1], height, preprocessing)
    inside = picture.crop((left, top, left + width, top + height))  # outside the picture it is black
    picture = _bordered(inside, size, (-left, -top), preprocessing) if preprocessing.crop_mode == "border" else inside
    pixels = np.array(picture).reshape(height, width, -1)
    if preprocessing.channel_order == "BGR":
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Return (width, height) after resizing, rounded as the references round."""
    width, height = size
    to_height, to_width = sides(preprocessing.resize)
    if preprocessing.crop_mode == "squash":
        return to_width, to_height
    if preprocessing.crop_mode == "border" or to_height != to_width:
        ratios = height / to_height, width / to_width
        ratio = max(ratios) if preprocessing.crop_mode == "border" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    short = min(width, height)
    return int(to_height * width / short), int(to_height * height / short)


def _bordered(
    inside: Image.Image, size: tuple[int, int], at: tuple[int, int], preprocessing: Preprocessing
) -> Image.Image:
    """Return the crop with the mean colour, instead of black, outside of the resized picture."""
    colour = tuple(round(value / preprocessing.scale) for value in preprocessing.mean)
    if preprocessing.channel_order == "BGR":
        colour = colour[::-1]
    canvas = Image.new(inside.mode, inside.size, colour if len(colour) > 1 else colour[0])
    left, top = max(0, at[0]), max(0, at[1])
    right, bottom = min(inside.width, at[0] + size[0]), min(inside.height, at[1] + size[1])
    canvas.paste(inside.crop((left, top, right, bottom)), (left, top))
    return canvas


def _start(size: int, kept: int, preprocessing: Preprocessing) -> int:
    """Return where the kept part begins along one side; negative if the picture is smaller and is padded."""
    if size < kept:
        return -((kept - size) // 2)
    return (size - kept) // 2 if preprocessing.crop_offset == "floor" else round((size - kept) / 2)


def stack(crops: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack crops to (N, channels, height, width) in channels-last order; a plain copy, because the crops have that
    order already."""
    return torch.stack([crop_pixels.permute(1, 2, 0) for crop_pixels in crops]).permute(0, 3, 1, 2)


def normalise(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Convert uint8 pixels to the float32 values that the network was trained on; same shape, device and memory
    order."""
    mean = torch.tensor(preprocessing.mean, device=batch.device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=batch.device).view(-1, 1, 1)
    # Divided, as torchvision does: the product with 1/255 differs in the last bit.
    return batch.float().div_(1 / preprocessing.scale).sub_(mean).div_(std)
