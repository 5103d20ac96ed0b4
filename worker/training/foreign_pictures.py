"""Foreign pictures: what no training picture shows, drawn here, to see whether a version turns it away."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 256
"""Pixels of a side."""
EACH = 16
"""Pictures of each kind."""
_WORDS = ("invoice", "total", "amount", "page", "chapter", "receipt", "number", "street", "please", "sign", "here")


def draw() -> dict[str, list[bytes]]:
    """Return kind -> PNG files: `noise`, `text`, `plain` and `gradient`; the same ones in every call."""
    chance = random.Random(0)  # noqa: S311 - nothing secret
    kinds: dict[str, Callable[[random.Random], Image.Image]] = {
        "noise": _noise, "text": _text, "plain": _plain, "gradient": _gradient,
    }  # fmt: skip
    return {kind: [_png(make(chance)) for _ in range(EACH)] for kind, make in kinds.items()}


def _noise(chance: random.Random) -> Image.Image:
    generator = np.random.default_rng(chance.randrange(2**32))
    grain = chance.choice((SIZE, 64, 16))
    pixels = generator.integers(0, 256, (grain, grain, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.NEAREST)


def _text(chance: random.Random) -> Image.Image:
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    size = chance.choice((12, 18, 26))
    font = ImageFont.load_default(size)
    for top in range(8, SIZE, size + 6):
        line = " ".join(chance.choices(_WORDS, k=8))
        ImageDraw.Draw(picture).text((8, top), line, fill="black", font=font)
    return picture


def _plain(chance: random.Random) -> Image.Image:
    return Image.new("RGB", (SIZE, SIZE), _colour(chance))


def _gradient(chance: random.Random) -> Image.Image:
    first, last = (np.array(_colour(chance), dtype=float) for _ in range(2))
    along = np.linspace(0, 1, SIZE)[:, None, None]
    pixels = np.broadcast_to(first + (last - first) * along, (SIZE, SIZE, 3)).astype(np.uint8)
    return Image.fromarray(pixels).rotate(chance.choice((0, 90, 180, 270)))


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
