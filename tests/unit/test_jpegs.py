"""jpeg.py: what lies behind the end of a photo does not count, and a missing end mark is no damage."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import time
from typing import Any

import pytest
from PIL import Image

from shared.domain.pictures import Limits
from shared.errors import BrokenPicture, PictureTooLarge
from shared.imaging import images

LIMITS = Limits(max_bytes=50_000_000, max_pixels=1_000_000, max_aspect=50, max_files=3, max_unpacked=1_000_000)
SCAN = b"\xff\xda"
END = b"\xff\xd9"


def photo(mode: str = "RGB", size: tuple[int, int] = (61, 43), **options: Any) -> bytes:
    grey = Image.linear_gradient("L").resize(size)
    noise = Image.frombytes("L", size, random.Random(0).randbytes(size[0] * size[1]))
    picture = Image.merge("RGB", (grey, noise, Image.radial_gradient("L").resize(size))).convert(mode)
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)
    return out.getvalue()


def with_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until there are `count` scans."""
    data = photo(progressive=True)
    last = data[data.rindex(SCAN) : -2]
    return data[:-2] + last * (count - data.count(SCAN)) + END


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def pixels(data: bytes) -> bytes:
    return images.decode(data, exif=True, mode="RGB").tobytes()


@pytest.mark.parametrize(
    "behind", [SCAN * 500, with_scans(60) * 3, b"ftypmp42" + SCAN * 101 + END, b"\xff" * 1000 + SCAN * 200]
)
def test_bytes_behind_the_end_of_a_photo_are_no_scans(behind: bytes) -> None:
    data = photo() + behind
    assert images.check("motion.jpg", data, LIMITS).width == 61
    assert pixels(data) == pixels(photo())


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xFE])
def test_bytes_in_the_metadata_of_a_photo_are_no_scans(marker: int) -> None:
    thumbnails = segment(marker, with_scans(40)[:30_000] + SCAN * 200 + END)
    plain = photo()
    data = plain[:2] + thumbnails * 2 + plain[2:]
    assert images.check("a.jpg", data, LIMITS).width == 61
    assert pixels(data) == pixels(plain)


def test_a_photo_with_as_many_scans_as_are_allowed_is_taken() -> None:
    assert images.check("a.jpg", with_scans(100), LIMITS).width == 61


@pytest.mark.parametrize(
    "disguise",
    [
        lambda data: data,
        lambda data: data[:-2],
        lambda data: data[:2] + segment(0xE1, b"Exif\0\0" + END + photo()[:500]) + data[2:],
        lambda data: data[:2] + segment(0xFE, END) + data[2:],
        lambda data: data.replace(SCAN, b"\xff\xff\xff" + SCAN),
        lambda data: data.replace(SCAN, b"\xff\xd0" + SCAN),
        lambda data: data[:900] + data[900:].replace(SCAN, b"\xff\x01" + SCAN),
        lambda data: data.replace(SCAN, b"\xff\xff\0" + SCAN),
        lambda data: data.replace(SCAN, b"garbage" + SCAN),
        lambda data: data.replace(SCAN, b"\xff\xfe\0\0" + SCAN),
        lambda data: data.replace(SCAN, segment(0xFE, b"\xff") + SCAN),
    ],
)
def test_too_many_scans_are_refused_in_any_disguise(disguise: object) -> None:
    with pytest.raises(PictureTooLarge, match="more than 100 scans"):
        images.check("a.jpg", disguise(with_scans(101)), LIMITS)  # type: ignore[operator]


@pytest.mark.parametrize(
    "filling", [segment(0xFE, b""), b"\xff", SCAN, b"\xff\0", b"\xff\xd0", b"\xff\xff\0"], ids=lambda part: part.hex()
)
def test_a_hostile_jpeg_is_counted_in_little_time(filling: bytes) -> None:
    data = photo()[:-2] + filling * (8_000_000 // len(filling)) + SCAN * 101
    begun = time.monotonic()
    with contextlib.suppress(PictureTooLarge):
        images.check("a.jpg", data, LIMITS)
    assert time.monotonic() - begun < 2


VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "best quality": {"quality": 100, "subsampling": 0},
    "optimised": {"quality": 20, "optimize": True},
    "progressive": {"progressive": True},
    "progressive, best quality": {"progressive": True, "quality": 98},
    "restart marks": {"restart_marker_blocks": 1},
    "restart marks in each row": {"restart_marker_rows": 1},
    "progressive with restart marks": {"progressive": True, "restart_marker_blocks": 2},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_photo_without_its_end_mark_has_all_its_pixels(variant: str, mode: str) -> None:
    data = photo(mode, **VARIANTS[variant])
    assert data.endswith(END)
    for cut in (1, 2):
        assert pixels(data[:-cut]) == pixels(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cut_anywhere_else_a_photo_is_damaged_or_has_all_its_pixels(variant: str, mode: str) -> None:
    data = photo(mode, **VARIANTS[variant])
    whole = pixels(data)
    marks = [at + step for at in range(len(data)) if data[at] == 0xFF for step in (0, 1, 2)]
    for end in {*range(2, len(data), 11), *range(len(data) - 40, len(data)), *marks}:
        try:
            decoded = pixels(data[:end])
        except BrokenPicture:
            assert end < len(data) - 2
        else:
            assert decoded == whole


def test_a_truncated_photo_is_refused_in_the_same_words_as_ever() -> None:
    with pytest.raises(BrokenPicture, match=r"damaged and cannot be decoded \(image file is truncated \(\d+ bytes"):
        pixels(photo()[:-300])


@pytest.mark.parametrize("padding", [1, 63, 64, 5000])
def test_a_truncated_photo_that_is_filled_up_with_zeros_stays_damaged(padding: int) -> None:
    with pytest.raises(BrokenPicture):
        pixels(photo("L", progressive=True)[:-300] + bytes(padding))


def test_the_orientation_of_a_photo_without_its_end_mark_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = photo(exif=exif)[:-2]
    assert images.decode(data, exif=True, mode="RGB").size == (43, 61)
    assert images.decode(data, exif=False, mode="RGB").size == (61, 43)


def test_an_ordinary_photo_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("shared.imaging.jpeg.completed")
    monkeypatch.delattr("shared.imaging.jpeg._segments")
    images.check("a.jpg", photo(), LIMITS)
    assert pixels(photo())
