"""Other libraries' transforms for Pillow's pictures, with the one step exchanged that differs: torch resizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast
from unittest import mock

from PIL import Image
from torchvision.transforms import _functional_pil
from torchvision.transforms.v2 import functional


@contextmanager
def tensors_resized() -> Iterator[None]:
    """Let torchvision and timm, whose transforms end in one function of torchvision, resize as they do for tensors.

    Sizes, margins, colours and normalisation stay theirs. Filters that tensors have not are Pillow's.
    """
    by_pillow = _functional_pil.resize

    def resize(image: Image.Image, size: Sequence[int], interpolation: int) -> Image.Image:
        if interpolation not in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
            return cast(Image.Image, by_pillow(image, size, interpolation))
        pixels = functional.resize(functional.pil_to_tensor(image), list(size), interpolation, antialias=True)
        return cast(Image.Image, functional.to_pil_image(pixels))

    with mock.patch.object(_functional_pil, "resize", resize):
        yield
