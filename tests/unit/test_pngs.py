"""png.py: text and profiles of any size are no damage, and cost nothing."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from shared.domain.pictures import Limits
from shared.errors import BrokenPicture
from shared.imaging import images

LIMITS = Limits(max_bytes=50_000_000, max_pixels=1_000_000, max_aspect=50, max_files=3, max_unpacked=1_000_000)
LARGE = zlib.compress(bytes(3_000_000))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


CHUNKS = {
    "zTXt": chunk(b"zTXt", b"parameters\0\0" + LARGE),
    "iTXt": chunk(b"iTXt", b"prompt\0\1\0en\0Prompt\0" + LARGE),
    "iCCP": chunk(b"iCCP", b"display\0\0" + LARGE),
    "tEXt in all": chunk(b"tEXt", b"workflow\0" + b"x" * 3_000_000) * 6,
    "zTXt in all": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 1_000_000)) * 70,
}


def plain(**options: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((30, 20)).save(out, "PNG", **options)
    return out.getvalue()


def before_the_pixels(data: bytes, more: bytes) -> bytes:
    at = data.index(b"IDAT") - 4
    return data[:at] + more + data[at:]


def behind_the_pixels(data: bytes, more: bytes) -> bytes:
    at = data.rindex(b"IEND") - 4
    return data[:at] + more + data[at:]


@pytest.mark.parametrize("place", [before_the_pixels, behind_the_pixels])
@pytest.mark.parametrize("kind", CHUNKS)
def test_a_text_or_profile_of_any_size_is_no_damage(kind: str, place: Callable[[bytes, bytes], bytes]) -> None:
    data = place(plain(), CHUNKS[kind])
    assert images.check("a.png", data, LIMITS).width == 30
    assert images.decode(data, exif=True, mode="L").tobytes() == images.decode(plain(), exif=True, mode="L").tobytes()


def test_many_texts_that_unpack_to_gigabytes_take_little_memory() -> None:
    bomb = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(20_000_000), 9))
    data = before_the_pixels(plain(), bomb * 200)
    tracemalloc.start()
    try:
        images.check("a.png", data, LIMITS)
        images.decode(data, exif=True, mode="L")
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + 8_000_000
    finally:
        tracemalloc.stop()


def test_a_small_text_beside_a_large_one_still_gives_the_orientation() -> None:
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    small = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    data = before_the_pixels(plain(), CHUNKS["zTXt"] + small + CHUNKS["iTXt"])
    assert images.decode(data, exif=True, mode="L").size == (20, 30)


def test_a_png_of_endless_chunks_is_not_read_twice() -> None:
    data = before_the_pixels(plain(), CHUNKS["zTXt"] + chunk(b"prVt", b"") * 100_001)
    with pytest.raises(BrokenPicture, match="header cannot be read"):
        images.check("a.png", data, LIMITS)


@pytest.mark.parametrize("cut", [40, 60, 200])
def test_a_large_text_hides_no_damage(cut: int) -> None:
    data = before_the_pixels(plain(compress_level=0), CHUNKS["zTXt"])
    assert images.check("a.png", data, LIMITS).width == 30
    with pytest.raises(BrokenPicture):
        images.decode(data[:-cut], exif=True, mode="L")


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"name", b"name\0", b"name\0\1", b"name\0\0broken", b"name\0\1\0\0\0x"]
)
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP"])
def test_an_odd_text_beside_a_large_one_does_no_harm(kind: bytes, content: bytes) -> None:
    odd = chunk(kind, content)
    alone, beside = before_the_pixels(plain(), odd), before_the_pixels(plain(), odd + CHUNKS["zTXt"])
    try:
        images.check("a.png", alone, LIMITS)
    except BrokenPicture:
        return  # damaged in any company
    assert images.decode(beside, exif=True, mode="L").size == (30, 20)


def test_a_png_without_texts_is_not_searched_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("shared.imaging.png.without_large_texts")
    assert images.decode(plain(), exif=True, mode="L").size == (30, 20)
