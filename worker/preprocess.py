"""Preprocessing turns a picture into a network's input: decode, resize, crop, normalise.

The pixels equal those of torchvision's transforms for a decoded tensor, bit for bit. Milliseconds of one thread
(AVX-512), decoded with Pillow in both, resized to 256 and cropped to 224:

                            resized with Pillow    with torch
    500 x 375, bilinear                     0.9           0.2
               bicubic                      1.4           0.3
    4032 x 3024, bilinear                  26.7           4.4
                 bicubic                   52.9           5.4
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from PIL import Image
from torch.nn import functional

from shared.domain.preprocessing import Preprocessing, sides
from shared.imaging import images
from worker.pixel_view import pixel_view

_PILLOW_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


_SCALED = 2
"""How many times larger than resized pictures those are at least that are decoded to a smaller size."""


def decode(data: bytes, preprocessing: Preprocessing, *, exif: bool = True, scaled: bool = False) -> Image.Image:
    """Decode a picture as the network wants it; `exif` applies the EXIF orientation, and `scaled` decodes large JPEGs
    to a smaller size. Raises BrokenPicture."""
    colour = preprocessing.background
    background = (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)) if colour else None
    return images.decode(
        data,
        exif=exif,
        mode=preprocessing.mode,
        background=background,
        apply_profile=preprocessing.color_profile == "apply",
        at_least=_SCALED * max(sides(preprocessing.resize)) if scaled else 0,
    )


def crop(picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize and keep the centre: uint8 of shape (channels, height, width), in NHWC memory order.

    The result equals torchvision's `resize` and `center_crop` for a decoded tensor bit for bit, and timm's evaluation
    transform (`timm.data.transforms_factory`) in its three crop modes up to one level, since that resizes with Pillow.
    The whole picture is resized, although a part is kept: torch has no way to compute a part alone, and resizing takes
    less than a tenth of the time that decoding does.
    """
    size = _resized(picture.size, preprocessing)
    resized = _resize(picture, size, preprocessing.interpolation)
    height, width = sides(preprocessing.crop)
    left, top = _start(size[0], width, preprocessing), _start(size[1], height, preprocessing)
    result = _surroundings(height, width, preprocessing)
    kept = resized[max(0, top) : top + height, max(0, left) : left + width]
    if preprocessing.channel_order == "BGR":
        kept = kept.flip(2)
    to_top, to_left = max(0, -top), max(0, -left)
    result[to_top : to_top + kept.shape[0], to_left : to_left + kept.shape[1]] = kept
    return result.permute(2, 0, 1)


def part_shown(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what `crop` keeps of a picture of that size (width, height), in its own
    pixels; beyond its edges if the crop is padded."""
    resized = _resized(size, preprocessing)
    height, width = sides(preprocessing.crop)
    left, top = _start(resized[0], width, preprocessing), _start(resized[1], height, preprocessing)
    x, y = size[0] / resized[0], size[1] / resized[1]
    return left * x, top * y, (left + width) * x, (top + height) * y


def _resize(picture: Image.Image, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """Return the pixels (height, width, channels) in another size (width, height), or the picture's own in the same.

    Filters that torchvision's tensors lack, or have otherwise than Pillow, are Pillow's.
    """
    if size != picture.size and interpolation in _PILLOW_FILTERS:
        picture = picture.resize(size, _PILLOW_FILTERS[interpolation])
    channels = len(picture.getbands())
    pixels = pixel_view(picture)
    if size != picture.size:
        # As torchvision does it where the processor has AVX2 or is an ARM; without importing it, which takes a second.
        # With Pillow's fourth byte: that is faster than three, which torch would copy to four and back.
        batch = pixels[None].permute(0, 3, 1, 2)
        resized = functional.interpolate(batch, size=(size[1], size[0]), mode=interpolation, antialias=True)
        pixels = resized[0].permute(1, 2, 0)
    return pixels[:, :, :channels]


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


def _surroundings(height: int, width: int, preprocessing: Preprocessing) -> torch.Tensor:
    """Return what shows around a picture that is smaller than the crop: black, or the mean colour with `border`."""
    if preprocessing.crop_mode != "border":
        return torch.zeros(height, width, preprocessing.channels, dtype=torch.uint8)
    colour = [min(255, max(0, round(value / preprocessing.scale))) for value in preprocessing.mean]
    return torch.tensor(colour, dtype=torch.uint8).repeat(height, width, 1)


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
    mean, std = (_by_channel(tuple(values), batch.device) for values in (preprocessing.mean, preprocessing.std))
    # Divided, as torchvision does: the product with 1/255 differs in the last bit.
    return batch.float().div_(1 / preprocessing.scale).sub_(mean).div_(std)


@functools.cache
def _by_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return one value for each channel; kept, because nothing can be sent to a card while its work is recorded."""
    return torch.tensor(values, device=device).view(-1, 1, 1)
