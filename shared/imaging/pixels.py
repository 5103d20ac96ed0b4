"""Decoded pixels become 8 bits of `RGB` or `L`: deep grey is scaled, transparency is laid on a background, and colours
are converted by their profile."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any, cast

from PIL import Image, ImageChops, ImageCms

Colour = tuple[int, int, int]

_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
_PROFILED = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of a profile -> the mode of the pixels that it describes."""


def converted(image: Image.Image, mode: str, *, depth: int, background: Colour | None, profile: bool) -> Image.Image:
    """Return the pixels in `mode`; `depth` is the bits of one sample in the file, as transparent colours count in them.

    Without a background and a profile, equal to Pillow's `convert` except for deep grey: alpha is dropped, as
    torchvision does it.
    """
    image = image.convert(_PREMULTIPLIED[image.mode]) if image.mode in _PREMULTIPLIED else image
    alpha = _alpha(image, depth) if background is not None else None
    source = image.info.get("icc_profile") if profile else None
    if alpha is None and not source:
        return _in_mode(eight_bit(image), mode)
    colours = _colours(eight_bit(image))
    if source:
        colours = _to_srgb(colours, source)
    if alpha is not None and background is not None:
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(_in_mode(colours, "RGB"), mask=alpha)
        colours = canvas
    return _in_mode(colours, mode)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return the picture in `mode`; the same object if it is, where Pillow's `convert` would copy it."""
    return image if image.mode == mode else image.convert(mode)


def eight_bit(image: Image.Image) -> Image.Image:
    """Convert grey of 16 or 32 bits or floats, scaled by the smallest usual white (1, 255, 65535) that is not
    exceeded; other pictures are returned as they are."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    if image.mode != "F" and (image.mode != "I" or image.format == "PPM"):
        white = 65535.0
    else:
        high = cast(float, image.getextrema()[1])
        whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((white for white in whites if high <= white), high)
    # Converted to `I` first, because Pillow cannot compute in big-endian `I;16B`.
    wide = image if image.mode == "F" else image.convert("I")
    return wide.point(lambda value: value * (255.0 / white)).convert("L")


def _alpha(image: Image.Image, depth: int) -> Image.Image | None:
    """Return how opaque each pixel is, in mode `L`; None if the picture has no transparency."""
    if image.mode in ("RGBA", "LA"):
        return image.getchannel("A")
    key = image.info.get("transparency")
    if image.mode == "PA" or (image.mode == "P" and key is not None):
        return image.convert("RGBA").getchannel("A")
    return None if key is None else _keyed(image, key, depth)


def _keyed(image: Image.Image, key: Any, depth: int) -> Image.Image | None:
    """Return the alpha of a picture in which one colour is transparent."""
    if image.mode == "RGB" and isinstance(key, tuple):
        # Pillow keeps the upper 8 bits of 16 in the pixels, but all 16 in the key.
        return _differs(image.split(), [value >> 8 if depth == 16 else value for value in key])
    if not isinstance(key, int):
        return None
    if image.mode.startswith("I"):
        table = [255] * 65536
        table[key & 0xFFFF] = 0
        return image.convert("I").point(table, "L")
    scale = 255 // (2**depth - 1) if image.mode == "L" and depth < 8 else 1
    return _differs([image.convert("L")], [key * scale])


def _differs(channels: Sequence[Image.Image], key: Sequence[int]) -> Image.Image:
    """Return 0 for the pixels of exactly this colour, and 255 for all others."""
    masks = [
        channel.point([0 if level == value else 255 for level in range(256)])
        for channel, value in zip(channels, key, strict=True)
    ]
    return functools.reduce(ImageChops.lighter, masks)


def _colours(image: Image.Image) -> Image.Image:
    """Return the picture without alpha and palette, in a mode that a profile can describe."""
    if image.mode in ("1", "L", "LA"):
        return _in_mode(image, "L")
    return image if image.mode == "CMYK" else _in_mode(image, "RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours by their profile; as they are if the profile is damaged, or is for another kind of pixels.

    Relative colorimetric with black point compensation: what sRGB can show stays exact, as browsers and editors show
    it. The perceptual intent would shift all colours of a wide gamut, to make room for those outside of sRGB.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _PROFILED.get(source.profile.xcolor_space.strip()) != image.mode:
            return image
        transform = ImageCms.buildTransform(
            source,
            _srgb(),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
