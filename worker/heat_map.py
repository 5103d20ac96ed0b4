"""Heat maps: a picture with the heat of its explanation blended over it, as a PNG of bounded size."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

LONGEST_SIDE = 1024
"""Pixels; a larger picture is drawn smaller, and no picture larger than it is."""
MOST_BYTES = 300_000
"""Bytes of the PNG."""
_SIDES = (LONGEST_SIDE, 724, 512)
"""Longest sides that are tried; at the last one even noise in 256 colours is below MOST_BYTES."""
_COLD, _HOT = (255.0, 235.0, 0.0), (225.0, 0.0, 0.0)
"""The colours of little and of all heat. Where there is none, the picture stays as it is; a map of colours from blue to
red, as is usual, would colour it everywhere."""
_OPAQUE = 0.65
"""The share of the colour where the heat is highest."""
_UNSEEN = 0.35
"""The brightness that is left of what the network does not see, because it is cut off."""


def draw(picture: Image.Image, heat: torch.Tensor, shown: tuple[float, float, float, float]) -> bytes:
    """Return a PNG of an RGB picture under its heat, (rows, columns) from 0 to 1, which lies over the part `shown`:
    left, top, right and bottom in pixels of the picture."""
    for side in _SIDES:
        scale = min(1.0, side / max(picture.size))
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0) if scale < 1 else picture
        places = tuple(value * size[axis % 2] / picture.size[axis % 2] for axis, value in enumerate(shown))
        png = _png(_blended(small, heat, places))
        if len(png) <= MOST_BYTES:
            break
    return png


def _blended(picture: Image.Image, heat: torch.Tensor, shown: tuple[float, ...]) -> Image.Image:
    left, top, right, bottom = shown
    rows, columns = heat.shape
    width, height = picture.size
    x, y = columns / (right - left), rows / (bottom - top)
    extent = (-left * x, -top * y, (width - left) * x, (height - top) * y)  # the picture, in cells of the map
    # Beyond its edges the map goes on as at its edges, since Pillow blends with nothing there.
    padded = Image.fromarray(np.pad(heat.numpy().astype(np.float32), 1, mode="edge"))
    whole = padded.transform(
        picture.size, Image.Transform.EXTENT, tuple(place + 1 for place in extent), Image.Resampling.BILINEAR
    )
    across, down = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    seen = ((across > left) & (across < right) & (down > top) & (down < bottom))[:, :, None]
    hot = np.asarray(whole).clip(0, 1)[:, :, None]
    pixels = np.asarray(picture, dtype=np.float32)
    colour = np.asarray(_COLD, np.float32) * (1 - hot) + np.asarray(_HOT, np.float32) * hot
    blended = np.where(seen, pixels + _OPAQUE * hot * (colour - pixels), _UNSEEN * pixels)
    return Image.fromarray(blended.round().astype(np.uint8))


def _png(picture: Image.Image) -> bytes:
    """Return the PNG in all colours if it is small enough as it is, else in 256.

    They are chosen by an octree: the median cut takes 0.9 s for 1024 x 768 pixels, and this 6 ms.
    """
    if picture.width * picture.height * 3 > MOST_BYTES:
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
