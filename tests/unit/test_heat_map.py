"""Heat maps: a PNG of the picture, of bounded size, hot where the map is and dark where the network does not look."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from shared.domain.preprocessing import Preprocessing
from worker import heat_map, preprocess

PLAIN = Preprocessing(64, 56, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
GREY = (128, 128, 128)


def drawn(picture: Image.Image, heat: torch.Tensor, shown: tuple[float, float, float, float] | None = None) -> bytes:
    return heat_map.draw(picture, heat, shown or (0, 0, *picture.size))


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.convert("RGB")


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (301, 200), (7, 900)])
def test_a_picture_keeps_its_size(size: tuple[int, int]) -> None:
    assert opened(drawn(Image.new("RGB", size, GREY), torch.ones(7, 7))).size == size


@pytest.mark.parametrize(("size", "expected"), [((4000, 3000), (1024, 768)), ((1500, 3000), (512, 1024))])
def test_a_large_picture_is_drawn_with_at_most_1024_pixels_a_side(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert opened(drawn(Image.new("RGB", size, GREY), torch.ones(7, 7))).size == expected


@pytest.mark.parametrize("size", [(1024, 1024), (700, 700), (3000, 900), (512, 512)])
def test_even_noise_stays_below_the_bytes_of_a_heat_map(size: tuple[int, int]) -> None:
    png = drawn(noise(*size), torch.rand(7, 7))
    assert len(png) <= heat_map.MOST_BYTES
    assert max(opened(png).size) >= min(512, max(size))


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_only_the_hot_quarter_changes_its_colour(place: tuple[int, int]) -> None:
    heat = torch.zeros(4, 4)
    heat[place[0] * 3, place[1] * 3] = 1
    changed = np.abs(np.asarray(opened(drawn(Image.new("RGB", (80, 40), GREY), heat)), int) - 128).sum(axis=2)
    quarters = {(y, x): changed[y * 20 : y * 20 + 20, x * 40 : x * 40 + 40].sum() for y in (0, 1) for x in (0, 1)}
    assert quarters[place] > 0.99 * sum(quarters.values()) > 0


def test_without_heat_the_picture_stays_as_it_is() -> None:
    picture = noise(40, 30)
    assert np.array_equal(np.asarray(opened(drawn(picture, torch.zeros(7, 7)))), np.asarray(picture))


def test_the_hottest_place_is_red() -> None:
    red, green, blue = np.asarray(opened(drawn(Image.new("RGB", (50, 50), GREY), torch.ones(3, 3))))[25, 25]
    assert red > 180
    assert max(green, blue) < 60


def test_what_the_network_does_not_see_is_dark_and_never_hot() -> None:
    pixels = np.asarray(opened(drawn(Image.new("RGB", (100, 50), GREY), torch.ones(3, 3), (25, 0, 75, 50))))
    outside = np.concatenate([pixels[:, :25], pixels[:, 75:]], axis=1)
    assert (outside == outside[0, 0]).all()
    assert outside[0, 0].max() < 64
    assert (pixels[:, 25:75, 0] > 180).all()


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (64, 64), (333, 111)])
@pytest.mark.parametrize(
    "preprocessing",
    [PLAIN, replace(PLAIN, crop_mode="squash"), replace(PLAIN, crop=(56, 28)), replace(PLAIN, crop=96)],
    ids=["centre", "squashed", "oblong", "padded"],
)
def test_the_part_shown_is_what_the_network_gets(size: tuple[int, int], preprocessing: Preprocessing) -> None:
    width, height = size
    left, top, right, bottom = preprocess.part_shown(size, preprocessing)
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    seen, unseen = (
        preprocess.crop(Image.fromarray(part.astype(np.uint8) * 255).convert("RGB"), preprocessing).float().sum().item()
        for part in (inside, ~inside)
    )
    assert seen > 0
    assert unseen < 0.03 * seen  # what resizing blends over the edge
    if preprocessing.crop != 96:  # a crop without surroundings is white all over
        assert seen > 0.97 * 255 * 3 * preprocess.crop(Image.new("RGB", size), preprocessing)[0].numel()
