"""HEIC: pictures as phones make them are recognised, measured and decoded, and damaged ones are refused at once."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from typing import cast

import pillow_heif
import pytest
from PIL import Image

from shared.domain.pictures import Limits
from shared.errors import BadPicture, BrokenPicture, NotAPicture, PictureTooLarge, WrongFormat
from shared.imaging import images

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1_000_000, max_aspect=50, max_files=3, max_unpacked=1_000_000)


def marked(mode: str = "RGB", size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Return a dark picture with a light upper left corner."""
    picture = Image.new("RGB", size, (20, 40, 60))
    picture.paste((240, 240, 240), (0, 0, 32, 32))
    return picture.convert(mode)


def heic(picture: Image.Image | None = None, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    (picture or marked()).save(out, "HEIF", quality=90, **options)
    return out.getvalue()


def read(data: bytes) -> Image.Image:
    images.check("a.heic", data, LIMITS)
    return images.decode(data, exif=True, mode="RGB")


def with_brands(data: bytes, major: bytes, *others: bytes) -> bytes:
    """Return the file with other brands, in a list as long as before, so that nothing behind it moves."""
    size = int.from_bytes(data[:4], "big")
    room = (size - 16) // 4
    brands = b"".join(others[:room]) + b"miaf" * (room - len(others))
    return data[:8] + major + data[12:16] + brands + data[size:]


def light_corner(picture: Image.Image) -> tuple[bool, bool]:
    """Return whether the light corner is (right, below)."""
    grey, (width, height) = picture.convert("L"), picture.size
    corners = {
        (right, below): grey.getpixel((width - 5 if right else 5, height - 5 if below else 5))
        for right in (False, True)
        for below in (False, True)
    }
    return max(corners, key=lambda corner: cast(int, corners[corner]))


@pytest.mark.parametrize(
    ("major", "others", "media_type"),
    [
        (b"heic", (b"mif1", b"heic"), "image/heic"),
        (b"heix", (b"mif1", b"heix"), "image/heic"),
        (b"heim", (b"mif1", b"heim"), "image/heic"),
        (b"heis", (b"mif1", b"heis"), "image/heic"),
        (b"hevc", (b"hevc", b"heic"), "image/heic-sequence"),
        (b"hevx", (b"hevx", b"heix"), "image/heic-sequence"),
        (b"mif1", (b"mif1", b"heic"), "image/heif"),
        (b"mif1", (b"mif1",), "image/heif"),
    ],
)
def test_every_usual_brand_is_recognised_and_decodes(major: bytes, others: tuple[bytes, ...], media_type: str) -> None:
    data = with_brands(heic(), major, *others)
    picture = images.check("a.heic", data, LIMITS)
    assert (picture.format, picture.width, picture.height) == ("HEIC", 96, 64)
    assert images.media_type(data) == media_type
    assert light_corner(images.decode(data, exif=True, mode="RGB")) == (False, False)


def test_a_sequence_is_recognised_by_its_structure() -> None:
    data = with_brands(heic(), b"msf1", b"msf1", b"hevc")
    assert images.media_type(data) == "image/heif-sequence"
    with pytest.raises(BrokenPicture, match="begins like HEIC"):  # the pictures of one lie elsewhere
        images.check("a.heics", data, LIMITS)


def test_an_avif_whose_first_brand_is_its_structure_stays_an_avif() -> None:
    out = io.BytesIO()
    marked().save(out, "AVIF")
    data = with_brands(out.getvalue(), b"mif1", b"mif1", b"avif")
    assert images.check("a.avif", data, LIMITS).format == "AVIF"
    assert images.media_type(data) == "image/avif"
    assert images.media_type(with_brands(data, b"mif1", b"mif1")) == "image/avif"  # by its codec
    assert images.decode(data, exif=True, mode="RGB").size == (96, 64)


def test_a_video_with_another_brand_is_no_picture() -> None:
    with pytest.raises(NotAPicture):
        images.check("a", b"\0\0\0\x18ftypzzzz\0\0\0\0zzzzyyyy" + bytes(100), LIMITS)


def test_a_wire_without_heic_refuses_it_by_name() -> None:
    narrow = Limits(1_000_000, 1_000_000, 50, 3, 1_000_000, formats=frozenset({"JPEG", "PNG"}))
    with pytest.raises(WrongFormat, match=r"is a HEIC picture\. Send one of JPEG, PNG\."):
        images.check("a.heic", heic(), narrow)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [
        (1, (False, False)),
        (2, (True, False)),
        (3, (True, True)),
        (4, (False, True)),
        (5, (False, False)),
        (6, (True, False)),
        (7, (True, True)),
        (8, (False, True)),
    ],
)
@pytest.mark.parametrize("exif", [True, False])
def test_the_orientation_is_applied_exactly_once(orientation: int, corner: tuple[bool, bool], exif: bool) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = heic(exif=tags.tobytes())
    assert (b"irot" in data or b"imir" in data) is (orientation > 1)  # as phones write it, beside the EXIF
    picture = images.decode(data, exif=exif, mode="RGB")
    assert picture.size == ((96, 64) if orientation < 5 else (64, 96))
    assert light_corner(picture) == corner
    checked = images.check("a.heic", data, LIMITS)
    assert (checked.width, checked.height) == picture.size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_grey_and_alpha_are_decoded(mode: str) -> None:
    data = heic(marked(mode))
    for wanted in ("RGB", "L"):
        assert light_corner(images.decode(data, exif=True, mode=wanted)) == (False, False)


def test_alpha_is_laid_on_a_background() -> None:
    picture = marked("RGBA")
    picture.putalpha(0)
    decoded = images.decode(heic(picture), exif=True, mode="RGB", background=(255, 0, 0))
    assert decoded.getpixel((90, 60)) == (255, 0, 0)


def test_pixels_of_10_bits_become_8() -> None:
    grey = struct.pack("<H", 32768)
    for mode in ("RGB;16", "I;16"):
        size = 64 * 64 * (3 if mode == "RGB;16" else 1)
        out = io.BytesIO()
        deep = pillow_heif.from_bytes(mode, (64, 64), grey * size)
        deep.save(out, quality=95)
        assert pillow_heif.open_heif(io.BytesIO(out.getvalue()), convert_hdr_to_8bit=False).info["bit_depth"] == 10
        for wanted in ("RGB", "L"):
            decoded = images.decode(out.getvalue(), exif=True, mode=wanted)
            middle = decoded.convert("L").getpixel((32, 32))
            assert middle in range(125, 132)


def test_of_several_pictures_the_primary_one_counts() -> None:
    file = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]
    for size, colour in (((64, 64), "red"), ((96, 80), "lime"), ((128, 64), "blue")):
        file.add_from_pillow(Image.new("RGB", size, colour))
    out = io.BytesIO()
    file.save(out, primary_index=1)
    assert images.check("a.heic", out.getvalue(), LIMITS).height == 80
    decoded = images.decode(out.getvalue(), exif=True, mode="RGB")
    assert decoded.size == (96, 80)
    assert decoded.getpixel((40, 40))[1] > 240


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = heic(Image.new("RGB", (1200, 1000)))
    begun = time.monotonic()
    with pytest.raises(PictureTooLarge, match="1200 x 1000 pixels"):
        images.check("a.heic", data, LIMITS)
    with pytest.raises(PictureTooLarge, match="one side may be at most 50 times"):
        images.check("a.heic", heic(Image.new("RGB", (4000, 64))), LIMITS)
    assert time.monotonic() - begun < 5


def test_pixels_beyond_the_declared_size_are_not_decoded() -> None:
    data = heic(Image.new("RGB", (2000, 2000)))
    lying = data.replace(struct.pack(">II", 2000, 2000), struct.pack(">II", 8, 8))
    assert images.check("a.heic", lying, LIMITS).width == 8
    with pytest.raises(BrokenPicture, match="damaged and cannot be decoded"):
        images.decode(lying, exif=True, mode="RGB")


def tiled(size: tuple[int, int] = (320, 256)) -> bytes:
    return heic(marked(size=size), tile_size=64)


@pytest.mark.parametrize("size", [(320, 256), (65, 65), (1000, 700)])
def test_a_picture_of_tiles_as_phones_make_it_is_put_together(size: tuple[int, int]) -> None:
    assert b"grid" in tiled(size)
    picture = read(tiled(size))
    assert (picture.size, light_corner(picture)) == (size, (False, False))


def test_parts_with_many_more_pixels_than_the_picture_are_refused_before_they_are_decoded() -> None:
    data = tiled()
    lying = data.replace(struct.pack(">II", 64, 64), struct.pack(">II", 8000, 8000))
    assert lying != data
    begun = time.monotonic()
    with pytest.raises(BrokenPicture, match=r"begins like HEIC.*many more pixels than the whole"):
        images.check("a.heic", lying, LIMITS)
    with pytest.raises(BrokenPicture, match="many more pixels than the whole"):
        images.decode(lying, exif=True, mode="RGB")
    assert time.monotonic() - begun < 0.5


def test_one_part_that_is_used_for_ever_is_refused() -> None:
    data = tiled()
    at = data.index(b"dimg")
    parent, tile = struct.unpack(">H", data[at + 4 : at + 6])[0], struct.unpack(">H", data[at + 8 : at + 10])[0]
    more = 40_000
    reference = struct.pack(">I4sHH", 12 + 2 * more, b"dimg", parent, more) + struct.pack(">H", tile) * more
    iref = data.index(b"iref") - 4
    grown = bytearray(data[: at - 4] + reference + data[at - 4 :])
    for box in (data.index(b"meta") - 4, iref):
        grown[box : box + 4] = struct.pack(">I", int.from_bytes(data[box : box + 4], "big") + len(reference))
    with pytest.raises(BrokenPicture, match="many more pixels than the whole"):
        images.check("a.heic", bytes(grown), LIMITS)


def test_a_part_of_itself_is_refused() -> None:
    data = tiled()
    at = data.index(b"dimg")
    with pytest.raises(BrokenPicture):
        images.check("a.heic", data[: at + 8] + data[at + 4 : at + 6] + data[at + 10 :], LIMITS)


def test_cut_anywhere_a_heic_is_refused_quickly() -> None:
    data = heic(Image.effect_noise((96, 64), 60).convert("RGB"))
    begun = time.monotonic()
    for end in range(1, len(data), max(1, len(data) // 100)):
        with pytest.raises(BadPicture) as caught:
            read(data[:end])
        assert "0x" not in caught.value.message
        assert "\n" not in caught.value.message
    assert time.monotonic() - begun < 10


def test_damage_anywhere_in_a_heic_ends_in_an_answer() -> None:
    whole = heic(Image.effect_noise((64, 64), 60).convert("RGB"))
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        data = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        try:
            read(data)
        except BadPicture:
            continue


def test_libheif_is_loaded_with_the_first_heic_only() -> None:
    code = "import sys; from shared.imaging import images; print('pillow_heif' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
