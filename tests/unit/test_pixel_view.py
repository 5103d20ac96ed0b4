"""Pixels that torch reads in Pillow's memory: they are the picture's, without a copy, and outlive it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import shared.imaging.images  # noqa: F401  # which sets how Pillow gets its memory
from worker.pixel_view import pixel_view


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (501, 3), (3, 502), (4032, 3024)])  # the last one in more than 16 MB
def test_pixels_are_seen_in_rows_and_channels(size: tuple[int, int], mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    seen = pixel_view(picture)[:, :, : len(mode)]
    assert torch.equal(seen, torch.from_numpy(np.array(picture)).view(seen.shape))


def test_nothing_is_copied() -> None:
    picture = Image.new("RGB", (30, 20))
    seen = pixel_view(picture)
    picture.paste((1, 2, 3), (0, 0, 30, 20))
    assert seen[19, 29, :3].tolist() == [1, 2, 3]


def test_a_view_outlives_its_picture() -> None:
    seen = pixel_view(Image.new("L", (640, 480), 7))
    others = [Image.new("L", (640, 480), 9) for _ in range(4)]
    assert len(others) == 4
    assert torch.equal(seen, torch.full((480, 640, 1), 7))


def test_memory_that_is_used_again_holds_nothing_of_the_picture_before() -> None:
    """Decoders leave out what a damaged file lacks: the picture of another tenant must not show there."""
    Image.new("L", (4000, 4000), 9).close()
    assert vars(Image)["core"].new("L", (4000, 4000)).getextrema() == (0, 0)
