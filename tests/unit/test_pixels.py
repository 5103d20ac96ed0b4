"""pixels.py: transparency is laid on a background, and colours follow their profile, where that is asked for."""

from __future__ import annotations

import io
import struct
import zlib
from typing import cast

import pytest
from PIL import Image, ImageCms

from shared.imaging import images

WHITE = (255, 255, 255)
BLUE = (10, 20, 250)


def saved(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def png(depth: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes], width: int = 2) -> bytes:
    """Return a PNG with one row of two pixels, of any depth and kind of colour."""
    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def palette_with_two_alphas() -> bytes:
    return png(8, 3, b"\0\1", (b"PLTE", bytes((0, 0, 0, 200, 100, 50))), (b"tRNS", b"\0\xff"))


def palette_with_alpha() -> bytes:
    picture = Image.frombytes("PA", (2, 1), bytes((0, 0, 1, 255)))
    picture.putpalette(bytes((0, 0, 0, 200, 100, 50)))
    return saved(picture, "TIFF")


# Each is a transparent pixel and an opaque one, which is not the background.
TRANSPARENT = {
    "RGBA": saved(Image.frombytes("RGBA", (2, 1), bytes((9, 9, 9, 0, 200, 100, 50, 255)))),
    "RGBA as WebP": saved(
        Image.frombytes("RGBA", (2, 1), bytes((9, 9, 9, 0, 200, 100, 50, 255))), "WEBP", lossless=True
    ),
    "RGBA as TIFF": saved(Image.frombytes("RGBA", (2, 1), bytes((9, 9, 9, 0, 200, 100, 50, 255))), "TIFF"),
    "LA": saved(Image.frombytes("LA", (2, 1), bytes((9, 0, 100, 255)))),
    "PA as TIFF": palette_with_alpha(),
    "P with alphas": palette_with_two_alphas(),
    "P with one key, as GIF": saved(Image.frombytes("P", (2, 1), b"\0\1"), "GIF", transparency=0),
    "RGB with a key": png(8, 2, bytes((9, 8, 7, 200, 100, 50)), (b"tRNS", struct.pack(">HHH", 9, 8, 7))),
    "RGB of 16 bits with a key": png(
        16,
        2,
        struct.pack(">6H", 2304, 2049, 1800, 51200, 25600, 12800),
        (b"tRNS", struct.pack(">HHH", 2304, 2049, 1800)),
    ),
    "L with a key": png(8, 0, bytes((9, 100)), (b"tRNS", struct.pack(">H", 9))),
    "L of 4 bits with a key": png(4, 0, b"\x96", (b"tRNS", struct.pack(">H", 9))),
    "L of 2 bits with a key": png(2, 0, b"\x60", (b"tRNS", struct.pack(">H", 1))),
    "L of 1 bit with a key": png(1, 0, b"\x80", (b"tRNS", struct.pack(">H", 1))),
    "L of 16 bits with a key": png(16, 0, struct.pack(">HH", 40_000, 30_000), (b"tRNS", struct.pack(">H", 40_000))),
    "L of 16 bits with alpha": png(16, 4, struct.pack(">4H", 40_000, 0, 30_000, 65_535)),
    "RGB of 16 bits with alpha": png(16, 6, struct.pack(">8H", 1, 2, 3, 0, 51_200, 25_600, 12_800, 65_535)),
}


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("kind", TRANSPARENT)
def test_every_kind_of_transparency_shows_the_background_and_nothing_else_does(kind: str) -> None:
    decoded = images.decode(TRANSPARENT[kind], exif=True, mode="RGB", background=BLUE)
    plain = images.decode(TRANSPARENT[kind], exif=True, mode="RGB")
    assert decoded.getpixel((0, 0)) == BLUE
    assert decoded.getpixel((1, 0)) == plain.getpixel((1, 0)) != BLUE
    grey = images.decode(TRANSPARENT[kind], exif=True, mode="L", background=WHITE)
    assert grey.getpixel((0, 0)) == 255
    assert grey.mode == "L"


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_by_default_alpha_is_dropped_as_pillow_does(kind: str) -> None:
    if "L of 16 bits with a key" in kind:
        return  # more than 8 bits are scaled instead
    for mode in ("RGB", "L"):
        reference = Image.open(io.BytesIO(TRANSPARENT[kind])).convert(mode)
        assert images.decode(TRANSPARENT[kind], exif=True, mode=mode).tobytes() == reference.tobytes()


def test_half_transparent_pixels_are_mixed() -> None:
    data = saved(Image.new("RGBA", (1, 1), (0, 0, 0, 51)))
    assert images.decode(data, exif=True, mode="RGB", background=(200, 100, 0)).getpixel((0, 0)) == (160, 80, 0)


def test_ink_on_a_transparent_ground_is_seen_on_white() -> None:
    ink = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    ink.paste((0, 0, 0, 255), (10, 4, 18, 24))
    assert images.decode(saved(ink), exif=True, mode="L").getextrema() == (0, 0)
    assert images.decode(saved(ink), exif=True, mode="L", background=WHITE).getextrema() == (0, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "I;16"])
@pytest.mark.parametrize("wanted", ["RGB", "L"])
def test_opaque_pictures_are_the_same_on_any_background(mode: str, wanted: str) -> None:
    source = Image.linear_gradient("L").resize((16, 16))
    data = saved(source.convert("RGB").convert(mode) if mode != "I;16" else source.convert(mode), "TIFF")
    plain = images.decode(data, exif=True, mode=wanted)
    decoded = images.decode(data, exif=True, mode=wanted, background=BLUE, apply_profile=True)
    assert decoded.tobytes() == plain.tobytes()


def test_a_picture_is_turned_after_its_background_is_laid() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.frombytes("RGBA", (2, 1), bytes((9, 9, 9, 0, 200, 100, 50, 255))), exif=exif)
    decoded = images.decode(data, exif=True, mode="RGB", background=BLUE)
    assert (decoded.size, decoded.getpixel((0, 0))) == ((1, 2), BLUE)


# Profiles.


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in (x, y, z)))


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return a display profile, version 2, of these tags."""
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"a\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"x\0\0\0", b"wtpt": xyz(0.9642, 1.0, 0.8249)} | tags
    table, body = b"", b""
    offset = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


WIDE = icc(
    b"RGB ",
    {
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),  # Adobe RGB (1998), adapted to D50
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(2.2)),
    },
)
LINEAR_GREY = icc(b"GRAY", {b"kTRC": curve(1.0)})


def decoded(data: bytes, apply_profile: bool = True, mode: str = "RGB", **options: object) -> Image.Image:
    return images.decode(data, exif=True, mode=mode, apply_profile=apply_profile, **options)  # type: ignore[arg-type]


def colour(picture: Image.Image, x: int = 0, y: int = 0) -> tuple[int, ...]:
    return cast(tuple[int, ...], picture.getpixel((x, y)))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_colours_of_a_wide_gamut_become_those_of_srgb(format: str) -> None:
    picture = Image.new("RGB", (16, 16), (120, 180, 120))
    data = saved(picture, format, icc_profile=WIDE, **({"lossless": True} if format == "WEBP" else {}))
    red, green, _ = colour(decoded(data), 8, 8)
    assert red < 100  # Adobe RGB's green is more saturated than the same numbers in sRGB
    assert abs(green - 181) < 4
    red, green, _ = colour(decoded(data, apply_profile=False), 8, 8)
    assert abs(red - 120) < 4


def test_the_white_and_the_grey_of_a_profile_stay_neutral() -> None:
    data = saved(Image.frombytes("RGB", (3, 1), bytes((0, 0, 0, 128, 128, 128, 255, 255, 255))), icc_profile=WIDE)
    pixels = [colour(decoded(data), x) for x in range(3)]
    assert all(max(pixel) - min(pixel) <= 2 for pixel in pixels)
    assert (pixels[0], min(pixels[2])) == ((0, 0, 0), 255)


def test_a_grey_profile_is_applied_to_grey() -> None:
    data = saved(Image.new("L", (4, 4), 128), icc_profile=LINEAR_GREY)
    assert decoded(data, mode="L").getpixel((0, 0)) in range(186, 190)  # half of the light
    assert decoded(data, mode="RGB").getpixel((0, 0))[2] in range(186, 190)
    assert decoded(data, apply_profile=False, mode="L").getpixel((0, 0)) == 128


def test_a_palette_is_converted_by_its_profile() -> None:
    data = saved(
        Image.new("RGB", (8, 8), (120, 180, 120)).convert("P", palette=Image.Palette.ADAPTIVE), icc_profile=WIDE
    )
    assert decoded(data).getpixel((0, 0))[0] < 100


def test_a_profile_is_applied_before_the_background_which_is_srgb() -> None:
    picture = Image.frombytes("RGBA", (2, 1), bytes((9, 9, 9, 0, 120, 180, 120, 255)))
    result = decoded(saved(picture, icc_profile=WIDE), background=(120, 180, 120))
    assert result.getpixel((0, 0)) == (120, 180, 120)
    assert result.getpixel((1, 0))[0] < 100


@pytest.mark.parametrize("profile", [b"", b"no profile", WIDE[:200], WIDE[:128] + bytes(200), LINEAR_GREY])
def test_a_broken_or_foreign_profile_changes_nothing(profile: bytes) -> None:
    data = saved(Image.new("RGB", (4, 4), (120, 180, 120)), icc_profile=profile)
    assert decoded(data).getpixel((0, 0)) == (120, 180, 120)


@pytest.mark.parametrize("profile", [None, WIDE])
def test_cmyk_without_a_profile_for_it_is_converted_as_pillow_does(profile: bytes | None) -> None:
    data = saved(Image.new("CMYK", (4, 4), (200, 100, 20, 10)), "TIFF", **({"icc_profile": profile} if profile else {}))
    assert decoded(data).tobytes() == decoded(data, apply_profile=False).tobytes()


def test_a_picture_that_is_srgb_already_stays_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(Image.radial_gradient("L").resize((32, 32)).convert("RGB"), icc_profile=profile)
    pairs = zip(decoded(data).tobytes(), decoded(data, apply_profile=False).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= 1
