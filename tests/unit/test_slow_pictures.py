"""Pictures that are built to be slow: none takes much longer than the largest ordinary one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from shared.domain.pictures import Limits, Upload
from shared.errors import BrokenPicture, PictureTooLarge
from shared.imaging import images

LIMITS = Limits(max_bytes=32 << 20, max_pixels=64_000_000, max_aspect=100, max_files=3, max_unpacked=1 << 30)
MANY = 300_000


def saved(kind: str, size: tuple[int, int] = (8, 8), mode: str = "L", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(many: bytes, *, behind: bool = False) -> bytes:
    """Return a PNG with many parts between its header and its pixels, or behind them."""
    data = saved("PNG")
    at = len(data) - 12 if behind else 33
    return data[:at] + many * MANY + data[at:]


def jpeg(many: bytes) -> bytes:
    data = saved("JPEG")
    return data[:2] + many * MANY + data[2:]


def gif(many: bytes) -> bytes:
    data = saved("GIF")
    at = data.index(b",", 13)
    return data[:at] + many * MANY + data[at:]


def tiff(tags: Sequence[tuple[int, int, Sequence[int]]]) -> bytes:
    """Return a little-endian TIFF of tags (number, type 3 or 4, values), with zeros for pixels."""
    entries, values = b"", b""
    begin = 8 + 2 + 12 * len(tags) + 4
    for number, kind, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, values = struct.pack("<I", begin + len(values)), values + packed
        entries += struct.pack("<HHI", number, kind, len(numbers)) + packed.ljust(4, b"\0")
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + values + bytes(2000)


def tiles(side: int, whole: int) -> bytes:
    """Return a TIFF of so many small tiles, which all lie at the same place."""
    count = (whole // side) ** 2
    return tiff(
        [(256, 4, [whole]), (257, 4, [whole]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (277, 3, [1]),
         (322, 4, [side]), (323, 4, [side]), (324, 4, [8] * count), (325, 4, [side * side] * count)]
    )  # fmt: skip


def big_tiff() -> bytes:
    entries = b"".join(struct.pack("<HHQ8x", 1 + number % 65000, 99, 1) for number in range(MANY))
    return b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + struct.pack("<Q", MANY) + entries + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(chunk(b"abCd")), id="chunks of a PNG"),
        pytest.param(png(chunk(b"tEXt")), id="texts of a PNG"),
        pytest.param(jpeg(b"\xff\xfe\0\2"), id="comments of a JPEG"),
        pytest.param(jpeg(b"\xff\xe1\0\2"), id="segments of a JPEG"),
        pytest.param(jpeg(b"\xff"), id="padding of a JPEG"),
        pytest.param(jpeg(b"\xff\0"), id="stuffing of a JPEG"),
        pytest.param(jpeg(b"\xff\xd0"), id="restarts of a JPEG"),
        pytest.param(gif(b"!\xfe\1a\0"), id="comments of a GIF"),
        pytest.param(gif(b"!\xf9\4\0\0\0\0\0"), id="extensions of a GIF"),
        pytest.param(gif(b"\0"), id="padding of a GIF"),
        pytest.param(b"P6 " + b"#\n" * MANY + b"8 8 255\n" + bytes(192), id="comments of a PPM"),
        pytest.param(tiles(2, 1000), id="tiles of a TIFF"),
        pytest.param(big_tiff(), id="tags of a TIFF"),
    ],
)
def test_a_picture_of_endless_small_parts_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(PictureTooLarge, match="'slow' consists of too many small parts to be read quickly"):
        images.check("slow", data, LIMITS)
    with pytest.raises(BrokenPicture, match="too many small parts"):  # also where it was stored before the check
        images.decode(data, exif=True, mode="RGB")


@pytest.mark.parametrize("many", [chunk(b"abCd"), chunk(b"tEXt", b"a\0b")])
def test_a_header_in_a_hundred_parts_is_read_and_one_in_many_thousand_is_not(many: bytes) -> None:
    data = saved("PNG")
    assert images.check("a.png", data[:33] + many * 100 + data[33:], LIMITS).width == 8
    with pytest.raises(PictureTooLarge, match="too many small parts"):
        images.check("a.png", data[:33] + many * 5_000 + data[33:], LIMITS)


@pytest.mark.parametrize(("count", "is_taken"), [(3, True), (4, False)])
def test_the_headers_of_one_request_take_a_limited_time_in_all(
    monkeypatch: pytest.MonkeyPatch, count: int, is_taken: bool
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("time.thread_time", lambda: float(next(clock)))  # each header takes a second
    monkeypatch.setattr(images, "CHECKING", 3.0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", saved("PNG"))
    file.seek(0)
    pictures = images.pictures([Upload("a.zip", file)], replace(LIMITS, max_files=100))
    if is_taken:
        assert len(list(pictures)) == count
    else:
        with pytest.raises(PictureTooLarge, match=r"before '3\.png' take 3 s to read"):
            list(pictures)


@pytest.mark.parametrize("many", [chunk(b"abCd"), chunk(b"tEXt"), chunk(b"IDAT")])
def test_endless_parts_behind_the_header_fail_the_picture(many: bytes) -> None:
    data = png(many, behind=True)
    images.check("slow.png", data, LIMITS)
    with pytest.raises(BrokenPicture, match="too many small parts"):
        images.decode(data, exif=True, mode="RGB")


def test_a_large_png_in_the_usual_pieces_is_read() -> None:
    data = saved("PNG")
    pixels = zlib.compress(bytes(9 * 8), 0)
    pieces = b"".join(chunk(b"IDAT", pixels[at : at + 1]) for at in range(len(pixels)))
    small = data[:33] + pieces + chunk(b"IDAT") * 20_000 + chunk(b"IEND")
    images.check("a.png", small, LIMITS)
    assert images.decode(small, exif=True, mode="L").size == (8, 8)


def scans(count: int, side: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until there are `count` scans."""
    data = saved("JPEG", (side, side), "RGB", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - data.count(b"\xff\xda")) + b"\xff\xd9"


@pytest.mark.parametrize(("side", "most"), [(500, 100), (4000, 75)])
def test_the_larger_a_jpeg_the_fewer_scans_it_may_have(side: int, most: int) -> None:
    assert images.check("a.jpg", scans(most, side), LIMITS).width == side
    with pytest.raises(PictureTooLarge, match=f"is a JPEG of {side} x {side} pixels in more than {most} scans"):
        images.check("a.jpg", scans(most + 1, side), LIMITS)


@pytest.mark.parametrize(("pixels", "most"), [(1, 100), (12_000_000, 100), (64_000_000, 18), (170_000_000, 16)])
def test_the_usual_scans_are_taken_at_any_size(pixels: int, most: int) -> None:
    assert images._max_scans(pixels) == most
