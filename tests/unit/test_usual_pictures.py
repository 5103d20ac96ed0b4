"""Pictures as cameras, phones and tools make them: the network gets what torchvision gives for the decoded picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as torchvision

from shared.domain.pictures import ALL_FORMATS, Limits
from shared.domain.preprocessing import Preprocessing
from shared.errors import BrokenPicture
from shared.imaging import images
from worker import preprocess

pytestmark = pytest.mark.slow
pillow_heif.register_heif_opener()

RESIZE, CROP = 64, 56
PREPROCESSING = Preprocessing(RESIZE, CROP, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LIMITS = Limits(max_bytes=10_000_000, max_pixels=1_000_000, max_aspect=10, max_files=1, max_unpacked=1)


def photo(mode: str = "RGB") -> Image.Image:
    """Return a picture of 120 x 90 pixels whose halves, corners and channels differ."""
    ramp = np.linspace(0, 255, 120)[None, :] * np.ones((90, 1))
    down = np.linspace(0, 255, 90)[:, None] * np.ones((1, 120))
    picture = Image.fromarray(np.stack([ramp, down, 255 - ramp], axis=2).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(down.astype(np.uint8)))
    return picture.convert(mode)


def saved(format: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    photo(mode).save(out, format, **options)
    return out.getvalue()


def turned(format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(format, exif=exif)


def animated(format: str) -> bytes:
    return saved(format, save_all=True, append_images=[Image.new("RGB", (120, 90), "red")] * 3, duration=100)


def with_a_large_text() -> bytes:
    data = saved("PNG")
    chunk = b"zTXtprompt\0\0" + zlib.compress(bytes(3_000_000))
    return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def deep_png() -> bytes:
    """Return a PNG of 16 bits for each of three colours, which Pillow reads and does not write."""
    rows = np.asarray(photo()).astype(">u2") * 257
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 120, 90, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


AS_TORCHVISION: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: saved("JPEG"),
    "progressive JPEG": lambda: saved("JPEG", progressive=True),
    "grey JPEG": lambda: saved("JPEG", "L"),
    "CMYK JPEG": lambda: saved("JPEG", "CMYK"),
    "CMYK TIFF": lambda: saved("TIFF", "CMYK"),
    "motion photo": lambda: saved("JPEG") + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 500,
    "several pictures in a JPEG": lambda: saved("MPO", save_all=True, append_images=[Image.new("RGB", (120, 90))]),
    "PNG with a large text": with_a_large_text,
    "PNG of 16 bits for each colour": deep_png,
    "transparent PNG": lambda: saved("PNG", "RGBA"),
    "transparent grey PNG": lambda: saved("PNG", "LA"),
    "PNG with a palette": lambda: saved("PNG", "P"),
    "PNG of one bit": lambda: saved("PNG", "1"),
    "transparent WEBP": lambda: saved("WEBP", "RGBA", lossless=True),
    "animated GIF": lambda: animated("GIF"),
    "animated PNG": lambda: animated("PNG"),
    "animated WEBP": lambda: animated("WEBP"),
    "animated AVIF": lambda: animated("AVIF"),
    "TIFF of several pages": lambda: animated("TIFF"),
    "TIFF in strips": lambda: saved("TIFF", compression="tiff_lzw"),
    "BMP": lambda: saved("BMP"),
    "HEIC": lambda: saved("HEIF"),
    **{f"JPEG with orientation {turn}": partial(turned, "JPEG", turn) for turn in range(1, 9)},
    **{f"{kind} with orientation 6": partial(turned, kind, 6) for kind in ("PNG", "WEBP", "TIFF")},
}


@pytest.mark.parametrize("kind", AS_TORCHVISION)
def test_the_network_gets_what_torchvision_gives(kind: str) -> None:
    data = AS_TORCHVISION[kind]()
    reference = ImageOps.exif_transpose(_reference(data)).convert("RGB")
    assert torch.equal(network_input(data), expected(reference))


def _reference(data: bytes) -> Image.Image:
    """Return the picture as Pillow opens it, without the text that it refuses."""
    texts = data.find(b"zTXt")
    if texts > 0:
        length = int.from_bytes(data[texts - 4 : texts], "big")
        data = data[: texts - 4] + data[texts + 8 + length :]
    return Image.open(io.BytesIO(data))


def expected(reference: Image.Image) -> torch.Tensor:
    tensor = torchvision.pil_to_tensor(reference)
    cropped: torch.Tensor = torchvision.center_crop(torchvision.resize(tensor, [RESIZE], antialias=True), [CROP, CROP])
    return cropped


def network_input(data: bytes) -> torch.Tensor:
    assert images.check("a", data, LIMITS).format in ALL_FORMATS
    return preprocess.crop(preprocess.decode(data, PREPROCESSING), PREPROCESSING)


def test_a_jpeg_without_its_end_mark_is_as_with_it() -> None:
    whole = saved("JPEG", quality=90)
    assert torch.equal(network_input(whole[:-2]), network_input(whole))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(format: str) -> None:
    """torchvision's way, Pillow's `convert`, would make all that is brighter than 255 of 65535 white."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(photo("L")).astype(np.uint16) * 257).save(out, format)
    plain = expected(photo("L").convert("RGB")).int()
    assert (network_input(out.getvalue()).int() - plain).abs().max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG with a large text", "TIFF in strips", "HEIC"])
def test_a_picture_that_lacks_pixels_is_refused_in_words(kind: str) -> None:
    data = AS_TORCHVISION[kind]()
    with pytest.raises(BrokenPicture, match=r"damaged and cannot be decoded|header cannot be read"):
        network_input(data[: len(data) * 2 // 3])
