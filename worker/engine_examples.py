"""The example set of a version: pictures on which another runtime or precision must give the answers of the plain
network.

For a version that was trained here they are stored pictures of its validation and test. For others they are made up,
since nothing else is at hand: clouds of colour with shapes on them and noise, in the sizes of photographs. They are a
substitute for photographs, of which bfloat16 moved a score of the default model by 0.08 at most, and of these by 0.06.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from shared.domain.engines import EngineErrors
from shared.domain.preprocessing import Preprocessing
from worker import preprocess

Answers = tuple[torch.Tensor, torch.Tensor]
"""Logits (N, classes) and features (N, dimension)."""
COUNT = 48
"""Pictures of the set; they take seconds of a processor each time that a worker tries a candidate."""
_SIZES = ((400, 300), (300, 400), (500, 375), (375, 500))
_ENLARGED = (1, 1, 3, 5)
"""Factors to the sizes of photographs as a phone takes them, which `fast` decodes to a smaller size."""
_OCTAVES = range(2, 8)
_TINT = np.array([[1.0, 0.8, 0.7], [0.0, 0.6, 0.3], [0.0, 0.0, 0.6]])
"""Mixes three independent clouds into channels that resemble each other, as those of photographs do."""


def made_up(*, enlarged: bool = True) -> Iterator[bytes]:
    """Yield COUNT pictures as JPEG, always the same; `enlarged` makes half of them as large as phones make them."""
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        picture = _with_noise(_with_shapes(_clouds(rng, *_SIZES[number % len(_SIZES)]), rng), rng)
        factor = _ENLARGED[number % len(_ENLARGED)] if enlarged else 1
        file = io.BytesIO()
        larger = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
        larger.save(file, "JPEG", quality=90)
        yield file.getvalue()


def own(example_png: bytes, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the crops with which every set begins: the version's example, also turned over, darker and inverted."""
    (crop,) = crops([example_png], preprocessing, scaled=False)
    return preprocess.stack([crop, crop.flip(1), crop.flip(2), crop // 3, 255 - crop])


def errors(found: Answers, plain: Answers, scores: Callable[[torch.Tensor], torch.Tensor]) -> EngineErrors:
    """Return what changes from the plain network's logits and features to those that were found; `scores` computes
    scores of logits."""
    (logits, features), (plain_logits, plain_features) = found, plain
    if not (torch.isfinite(logits).all() and torch.isfinite(features).all()):
        return EngineErrors(difference=1.0, score_difference=1.0, agreement=0.0)
    return EngineErrors(
        difference=min(1.0, max(_relative(logits, plain_logits), _relative(features, plain_features))),
        score_difference=(scores(logits) - scores(plain_logits)).abs().max().item(),
        agreement=(logits.argmax(1) == plain_logits.argmax(1)).float().mean().item(),
    )


def _relative(mine: torch.Tensor, plain: torch.Tensor) -> float:
    return ((mine - plain).abs().max() / plain.abs().max().clamp(min=1e-12)).item()


def crops(pictures: Sequence[bytes], preprocessing: Preprocessing, *, scaled: bool) -> torch.Tensor:
    """Return the prepared pictures, uint8 (N, channels, height, width); `scaled` decodes JPEGs to a smaller size."""
    decoded = (preprocess.decode(data, preprocessing, scaled=scaled) for data in pictures)
    return preprocess.stack([preprocess.crop(picture, preprocessing) for picture in decoded])


def _clouds(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return noise of all sizes, of which the larger is the stronger, as in photographs."""
    total = np.zeros((height, width, 3))
    for octave in _OCTAVES:
        cells = 2**octave
        coarse = rng.normal(0, 1, (max(1, cells * height // width), cells, 3)) @ _TINT
        for channel in range(3):
            layer = Image.fromarray(coarse[:, :, channel].astype(np.float32))
            total[:, :, channel] += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC)) / 1.75**octave
    total = (total - total.mean()) / total.std()
    return Image.fromarray((128 + 60 * total).clip(0, 255).astype(np.uint8))


def _with_shapes(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Draw up to eight filled shapes of one colour each, for edges."""
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    for _ in range(rng.integers(1, 9)):
        corners = [(int(x), int(y)) for x, y in zip(rng.integers(0, width, 5), rng.integers(0, height, 5), strict=True)]
        (left, right), (top, bottom) = sorted(x for x, _ in corners[:2]), sorted(y for _, y in corners[:2])
        red, green, blue = rng.integers(0, 256, 3).tolist()
        match int(rng.integers(0, 4)):
            case 0:
                draw.ellipse((left, top, right, bottom), fill=(red, green, blue))
            case 1:
                draw.rectangle((left, top, right, bottom), fill=(red, green, blue))
            case 2:
                draw.polygon(corners, fill=(red, green, blue))
            case _:
                draw.line(corners, fill=(red, green, blue), width=int(rng.integers(2, 20)))
    return picture


def _with_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add grain of up to twelve levels."""
    pixels = np.asarray(picture, np.float64)
    grain = rng.normal(0, rng.uniform(0, 12), (picture.height, picture.width, 1))
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))
