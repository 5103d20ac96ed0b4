"""The pictures that the client takes: what of a file, an image or an array is sent, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inferq.client import pictures
from inferq.errors import InferqError

COLOUR = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_file_is_read_from_where_it_stands_and_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "duck.png").write_bytes(b"--quack")
    with (tmp_path / "duck.png").open("rb") as file:
        file.seek(2)
        assert pictures.part(1, file) == ("duck.png", b"quack")


def test_a_file_without_a_name_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "duck.png").write_bytes(b"quack")
    assert pictures.part(4, io.BytesIO(b"quack")) == ("picture-4", b"quack")
    with io.FileIO(str(tmp_path / "duck.png")) as file, open(file.fileno(), "rb", closefd=False) as bare:
        assert pictures.part(4, bare) == ("picture-4", b"quack")


def test_a_file_in_text_mode_is_refused() -> None:
    with pytest.raises(InferqError, match="picture 2 is a file in text mode; open it with mode 'rb'"):
        pictures.part(2, io.StringIO("quack"))  # type: ignore[arg-type]


@pytest.mark.parametrize("array", [COLOUR, GREY, COLOUR[::2, ::-1], np.asfortranarray(COLOUR), COLOUR[:1, :1]])
def test_the_png_of_an_array_has_its_values(array: Any) -> None:
    name, data = pictures.part(1, array)
    assert name == "picture-1"
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert np.array_equal(pixels(data), array)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (COLOUR / 255, "an array of float64; it must be uint8, with values from 0 to 255"),
        (COLOUR.transpose(2, 0, 1), r"an array of 3 × 5 × 7; .* send array.transpose\(1, 2, 0\)"),
        (np.zeros((5, 7, 4), np.uint8), "5 × 7 × 4; it must be height × width, or height × width × 3"),
        (np.zeros((1, 5, 7, 3), np.uint8), "1 × 5 × 7 × 3"),
        (np.zeros((0, 7, 3), np.uint8), "0 × 7 × 3"),
        (np.uint8(1), "an array of nothing"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_with_what_it_must_be(array: Any, reason: str) -> None:
    with pytest.raises(InferqError, match=f"picture 3 is .*{reason}"):
        pictures.part(3, array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_png_of_an_image_has_its_pixels_and_its_mode(mode: str) -> None:
    image = Image.new("I;16", (7, 5), 300) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    _, data = pictures.part(1, image)
    sent = Image.open(io.BytesIO(data))
    assert (sent.mode, sent.size) == (mode, image.size)
    assert sent.tobytes() == image.tobytes()


def test_the_photo_of_a_camera_that_was_turned_is_still_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, "JPEG", exif=exif)
    _, data = pictures.part(1, Image.open(file))
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 6


def test_an_image_in_a_mode_that_png_has_not_is_refused() -> None:
    with pytest.raises(InferqError, match=r"picture 1 has the mode CMYK, which PNG has not; send image.convert"):
        pictures.part(1, Image.fromarray(COLOUR).convert("CMYK"))


@pytest.mark.parametrize("value", [None, 7, [b"x"], {"url": "x"}])
def test_what_is_no_picture_is_refused_by_its_number(value: Any) -> None:
    with pytest.raises(
        InferqError, match="picture 9 must be a path, a URL, bytes, a tuple of name and bytes, a binary"
    ):
        pictures.part(9, value)
