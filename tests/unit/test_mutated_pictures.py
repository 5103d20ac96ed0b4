"""Pictures with random damage are refused or fail with a reason; nothing else comes out of any decoder."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from shared.domain.pictures import ALL_FORMATS, Limits
from shared.errors import BadPicture, BrokenPicture
from shared.imaging import images

# As images.py itself does where pytest does not set the filters anew for each test.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1_000_000, max_aspect=50, max_files=3, max_unpacked=1_000_000)
ROUNDS = 150
"""Damaged pictures of each format."""


def whole(kind: str) -> bytes:
    register_heif_opener()
    file = io.BytesIO()
    mode = "P" if kind == "GIF" else "RGB"
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIC") else {}
    picture = Image.radial_gradient("L").resize((40, 30)).convert(mode)
    picture.save(file, {"HEIC": "HEIF"}.get(kind, kind), **options)
    return file.getvalue()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with up to four changes: one overwritten, cut out, doubled or inserted."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(max(1, len(changed)))
        size = chance.choice((1, 2, 4, 16, len(changed) // 4))
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at : at + size] = chance.choice((b"\0", b"\xff", b"\x7f")) * min(size, 8)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size]
            case _:
                changed[at:at] = chance.randbytes(min(size, 16))
    return bytes(changed)


@pytest.mark.parametrize("kind", sorted(ALL_FORMATS))
def test_a_damaged_picture_is_refused_or_decoded_and_never_a_surprise(kind: str) -> None:
    data = whole(kind)
    assert images.check("whole", data, LIMITS).format == kind
    chance = random.Random(kind)
    for number in range(ROUNDS):
        broken = damaged(data, chance)
        try:
            picture = images.check("broken", broken, LIMITS)
            came = images.decode(picture.data, exif=True, mode="RGB", background=(1, 2, 3), apply_profile=True).mode
        except (BadPicture, BrokenPicture) as error:
            came = error.message
        assert came, (kind, number)
