"""Thumbnails: every format becomes a small upright JPEG on white, and what would cost too much is not decoded."""

from __future__ import annotations

import io
import random

import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageFile

from shared.errors import BrokenPicture, PictureTooLarge
from shared.imaging import images, jpeg, thumbnails
from tests.picture_files import small, truncated_png


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def drawn(data: bytes, side: int = 64) -> Image.Image:
    with Image.open(io.BytesIO(thumbnails.draw(data, side))) as picture:
        assert picture.format == "JPEG"
        return picture.convert("RGB")


@pytest.mark.parametrize("name", small())
def test_every_format_becomes_a_jpeg_no_larger_than_the_picture(name: str) -> None:
    assert drawn(small()[name]).size == (24, 16)
    assert drawn(small()[name], 12).size == (12, 8)


def test_heic_becomes_a_jpeg() -> None:
    pillow_heif.register_heif_opener()
    assert drawn(saved(Image.new("RGB", (96, 64), "navy"), "HEIF")).size == (64, 43)


def test_a_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert drawn(saved(Image.new("RGB", (96, 48)), "JPEG", exif=exif)).size == (32, 64)


def test_transparency_is_white() -> None:
    assert drawn(saved(Image.new("RGBA", (9, 9), (200, 0, 0, 0)), "PNG")).getpixel((4, 4)) == (255, 255, 255)


def test_a_long_strip_keeps_a_pixel_of_its_short_side() -> None:
    assert drawn(saved(Image.new("L", (4000, 40)), "PNG")).size == (64, 1)


def test_a_large_jpeg_is_decoded_to_a_fraction_and_another_large_picture_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = Image.new("RGB", (800, 600), "teal")
    decoded: list[tuple[int, int]] = []
    genuine = images.decode

    def watched(data: bytes, **options: object) -> Image.Image:
        picture = genuine(data, **options)  # type: ignore[arg-type]
        decoded.append(picture.size)
        return picture

    monkeypatch.setattr(images, "decode", watched)
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 800 * 600 - 1)
    assert drawn(saved(large, "JPEG")).size == (64, 48)
    assert decoded == [(100, 75)]
    with pytest.raises(PictureTooLarge, match="Of 800 x 600 pixels no thumbnail is made"):
        thumbnails.draw(saved(large, "PNG"), 64)
    assert len(decoded) == 1


@pytest.mark.parametrize("data", [truncated_png(), truncated_png()[:20], b"nothing"])
def test_a_damaged_picture_has_none(data: bytes) -> None:
    with pytest.raises(BrokenPicture):
        thumbnails.draw(data, 64)


def test_a_large_jpeg_without_its_end_mark_is_not_decoded_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same noise in each run: of some draws Pillow reads all pixels and misses no end mark.
    noise = Image.frombytes("L", (200, 100), random.Random(1).randbytes(200 * 100))
    torn = saved(noise, "JPEG")[:-2]
    completions: list[int] = []
    genuine = jpeg.completed

    def watched(data: bytes) -> ImageFile.ImageFile | None:
        completions.append(len(data))
        return genuine(data)

    monkeypatch.setattr(jpeg, "completed", watched)
    assert drawn(torn).size == (64, 32)
    assert completions == [len(torn)]
    monkeypatch.setattr(thumbnails, "MOST_MENDED", 200 * 100 - 1)
    with pytest.raises(BrokenPicture):
        thumbnails.draw(torn, 64)
    assert len(completions) == 1


@pytest.mark.parametrize(("mode", "profile"), [("RGB", True), ("RGBA", False), ("LA", False)])
def test_a_picture_whose_colours_are_converted_may_have_fewer_pixels(
    monkeypatch: pytest.MonkeyPatch, mode: str, *, profile: bool
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if profile else None
    monkeypatch.setattr(thumbnails, "MOST_CONVERTED", 90 * 60 - 1)
    with pytest.raises(PictureTooLarge):
        thumbnails.draw(saved(Image.new(mode, (90, 60)), "PNG", icc_profile=srgb), 64)
    assert drawn(saved(Image.new("RGB", (90, 60)), "PNG")).size == (64, 43)


def test_a_jpeg_is_judged_by_the_pixels_that_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 800 * 70 - 1)
    assert drawn(saved(Image.new("RGB", (800, 600)), "JPEG")).size == (64, 48)
    with pytest.raises(PictureTooLarge):  # a strip keeps all its pixels, so that its short side has enough
        thumbnails.draw(saved(Image.new("RGB", (800, 70)), "JPEG"), 64)
