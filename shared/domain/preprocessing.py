"""Preprocessing defines how a picture is prepared for a network, where that is known from, and how an import asks for
it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from shared.errors import BadOption

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash", "border")
MODES = {"RGB": 3, "L": 1}
"""Pillow's mode -> channels."""
CHANNEL_ORDERS = ("RGB", "BGR")
CROP_OFFSETS = ("round", "floor")
COLOR_PROFILES = ("ignore", "apply")
MAX_SIDE = 1024
"""Maximum side of the input in pixels: beyond it one batch of a ResNet-50 takes gigabytes, and the kernel kills the
worker."""
_REQUIRED = ("resize", "crop", "mean", "std")
_COLOURS = {"white": "#ffffff", "black": "#000000"}
_SPELLINGS = {("crop_mode", "centre"): "center", ("background", "none"): ""}

Size = int | tuple[int, int]
"""Pixels of both sides, or (height, width) where they differ."""


def sides(size: Size) -> tuple[int, int]:
    """Return (height, width) of a size."""
    return (size, size) if isinstance(size, int) else size


def as_size(height: int, width: int) -> Size:
    """Return the size of a height and a width; one number if they are equal."""
    return height if height == width else (height, width)


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a decoded picture to the input of a network; with `center` they are torchvision's
    `ImageClassification` preset, with the other crop modes timm's evaluation transform."""

    resize: Size
    """Pixels of the shorter side after resizing; of both sides with `squash`, of the longer one with `border`. Where
    height and width differ, `center` fills that rectangle, and `border` fits into it."""
    crop: Size
    """Pixels of the sides of the central part that is kept, the input of the network."""
    mean: tuple[float, ...]
    """Per channel of the network's input, of scaled values."""
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    """One of INTERPOLATIONS, Pillow's filters."""
    mode: str = "RGB"
    """Pillow's mode that the picture is converted to, one of MODES."""
    crop_mode: str = "center"
    """`center` keeps proportions and cuts the sides off, `squash` distorts, `border` pads with the mean colour."""
    channel_order: str = "RGB"
    """One of CHANNEL_ORDERS; `BGR` for networks that were trained on pictures as OpenCV reads them."""
    scale: float = 1 / 255
    """Factor for pixels 0 to 255, before mean and standard deviation."""
    crop_offset: str = "round"
    """Where the crop begins if the margin is odd: `round` as torchvision and timm, half to even; `floor` as
    transformers."""
    background: str = ""
    """Colour `#rrggbb` that transparent pictures are laid on; empty for none: transparency is dropped, as torchvision's
    reference does, and the stored colours show."""
    color_profile: str = "ignore"
    """`apply` converts pictures to sRGB by their embedded ICC profile."""

    @property
    def channels(self) -> int:
        """The number of channels of the network's input."""
        return MODES[self.mode]


def check_values(made: Preprocessing) -> None:
    """Raise BadOption if the values cannot be used, wherever they come from: a config may hold anything."""
    for name, most in (("resize", 2 * MAX_SIDE), ("crop", MAX_SIDE)):  # a crop of a half is the least that is usual
        if not all(isinstance(side, int) and 1 <= side <= most for side in sides(getattr(made, name))):
            raise BadOption(f"{name} must be 1 to {most} pixels, not {getattr(made, name)}")
    for name in ("mean", "std"):
        numbers = getattr(made, name)
        if len(numbers) != made.channels or not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            raise BadOption(f"{name} must be {made.channels} numbers, not {numbers}")
    if not all(made.std) or not (math.isfinite(made.scale) and made.scale):
        raise BadOption(f"std and scale must not be 0, not {made.std} and {made.scale}")
    for name, choices in _CHOICES.items():
        if getattr(made, name) not in choices:
            raise BadOption(f"{name} must be one of {', '.join(choices)}, not {getattr(made, name)!r}")


def to_values(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return the values as JSON holds them, without those that are the defaults.

    Older releases read rows, and lack fields that were added later.
    """
    defaults = {each.name: each.default for each in fields(Preprocessing) if each.default is not MISSING}
    kept = ("interpolation", "mode")
    values = asdict(preprocessing)
    return {name: value for name, value in values.items() if name in kept or value != defaults.get(name, MISSING)}


def from_values(values: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that `to_values` wrote."""
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Preprocessing(**{**values, **lists})


class Origin(StrEnum):
    """The origin of a version's preprocessing."""

    PUBLISHED = "published"
    """It was published with the weights that were fetched or installed."""
    RECOGNISED = "recognised"
    """The checksum of the imported file is that of published weights."""
    INCLUDED = "included"
    """It lies beside the imported weights, in the same folder or file."""
    REQUESTED = "requested"
    """The import named it."""
    ASSUMED = "assumed"
    """The import named none, so it is that of the architecture's newest published weights."""


@dataclass(frozen=True)
class Preset:
    """The published preprocessing that a version has, or that its values are based on."""

    name: str
    """The publisher's name, `IMAGENET1K_V2`; empty if the values come from no preset."""
    origin: Origin
    available: tuple[str, ...] = ()
    """The names of the architecture's presets."""
    changed: tuple[str, ...] = ()
    """The fields of Preprocessing that the import gave instead of the preset's."""


@dataclass(frozen=True)
class PreprocessingRequest:
    """The preprocessing that an import asks for: a preset by name, with or without some values replaced, or all
    values."""

    preset: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Field of Preprocessing -> value. `mean` and `std` are lists of one number per channel, or of one for all."""

    @property
    def complete(self) -> bool:
        """True if the values suffice without a preset."""
        return not self.missing

    @property
    def missing(self) -> list[str]:
        """The values that are needed without a preset, and are not given."""
        return [name for name in _REQUIRED if name not in self.values]

    def apply(self, base: Preprocessing | None) -> Preprocessing:
        """Replace values of `base` by the requested values; raises BadOption if `mean` or `std` fit no channel
        count."""
        merged = (asdict(base) if base else {}) | dict(self.values)
        mode = merged.get("mode", "RGB")
        channels = MODES[mode]
        for name in ("resize", "crop"):
            merged[name] = merged[name] if isinstance(merged[name], int) else as_size(*merged[name])
        for name in ("mean", "std"):
            numbers = tuple(merged[name])
            merged[name] = numbers * channels if len(numbers) == 1 else numbers
            if len(merged[name]) != channels:
                raise BadOption(f"{name} has {len(numbers)} numbers; a picture in mode {mode} has {channels} channels")
        if merged.get("channel_order", "RGB") != "RGB" and mode != "RGB":
            raise BadOption("channel_order is for pictures in mode RGB; grey ones have a single channel")
        return Preprocessing(**merged)


def parse_request(preprocessing: object, single_values: Mapping[str, object]) -> PreprocessingRequest | None:
    """Read the preprocessing of an import; returns None if it gives none. Raises BadOption naming the field.

    `preprocessing` is a preset's name, or values as a mapping or as JSON text, where `preset` may name their base.
    `single_values` override both.
    """
    content = _read_json(preprocessing) if isinstance(preprocessing, str) else preprocessing
    if content is not None and not isinstance(content, (str, Mapping)):
        raise BadOption("preprocessing must be the name of a preset, or an object of values")
    values = dict(content) if isinstance(content, Mapping) else {}
    preset = content if isinstance(content, str) else values.pop("preset", "")
    if not isinstance(preset, str):
        raise BadOption("preset must be the name of a preset")
    values |= {name: value for name, value in single_values.items() if value not in (None, "")}
    if not preset and not values:
        return None
    read = {name: _read_value(name, value) for name, value in values.items()}
    _check_range(read)
    return PreprocessingRequest(preset, read)


def _check_range(values: Mapping[str, Any]) -> None:
    """Raise BadOption for a mean or deviation above white: it is meant for pixels that are scaled otherwise."""
    scale = values.get("scale", 1 / 255)
    for name in ("mean", "std"):
        if any(number > 255 * scale * 1.001 for number in values.get(name, ())):
            raise BadOption(
                f"{name} must be {'above 0' if name == 'std' else 'from 0'} to {255 * scale:g}, since pixels are "
                f"scaled to 0..{255 * scale:g} (times {scale:.4g}), not {values[name]!r}. If it is for pixels from 0 "
                "to 255, give scale=1 as well"
            )


def _read_json(text: str) -> object:
    if not text.lstrip().startswith(("{", "[")):
        return text.strip()
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"preprocessing is not valid JSON: {error}") from None
    return value


_CHOICES = {
    "interpolation": INTERPOLATIONS,
    "crop_mode": CROP_MODES,
    "mode": tuple(MODES),
    "channel_order": CHANNEL_ORDERS,
    "crop_offset": CROP_OFFSETS,
    "color_profile": COLOR_PROFILES,
}


def _read_value(name: str, value: object) -> object:
    if name in ("resize", "crop"):
        return _read_size(name, value)
    if name in ("mean", "std"):
        return _read_numbers(name, value)
    if name == "scale":
        return _read_scale(value)
    value = _SPELLINGS.get((name, value), value) if isinstance(value, str) else value
    if name == "background":
        return _read_colour(value)
    if name not in _CHOICES:
        names = ", ".join(field.name for field in fields(Preprocessing))
        raise BadOption(f"preprocessing has no value {name!r}; it has preset, {names}")
    if value not in _CHOICES[name]:
        raise BadOption(f"{name} must be one of {', '.join(_CHOICES[name])}, not {value!r}")
    return value


def _read_size(name: str, value: object) -> Size:
    """Read `256`, `"256"`, `[288, 384]` or `"288x384"`: pixels of both sides, or height and width."""
    parts: Any = re.split(r"[x, ]+", value.strip()) if isinstance(value, str) else value
    items = list(parts) if isinstance(parts, (list, tuple)) else [parts]
    try:
        numbers = [int(item) if isinstance(item, str) else item for item in items]
    except ValueError:
        numbers = []
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if len(numbers) not in (1, 2) or not whole or not all(1 <= number <= MAX_SIDE for number in numbers):
        raise BadOption(
            f"{name} must be a whole number of pixels, 1 to {MAX_SIDE}, or height and width as 288x384, not {value!r}"
        )
    return as_size(numbers[0], numbers[-1])


def _read_numbers(name: str, value: object) -> list[float]:
    parts: Any = value.replace(",", " ").split() if isinstance(value, str) else value
    items = parts if isinstance(parts, (list, tuple)) else [parts]
    try:
        numbers = [float(item) for item in items if not isinstance(item, bool)]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != len(items) or len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise BadOption(f"{name} must be one number, or three for red, green and blue, not {value!r}")
    if not all(number > 0 if name == "std" else number >= 0 for number in numbers):
        raise BadOption(f"{name} must be {'above 0' if name == 'std' else 'at least 0'}, not {value!r}")
    return numbers


def _read_scale(value: object) -> float:
    """Read a factor as a number, or as a fraction: `1/255`."""
    text = str(value)
    top, _, bottom = text.partition("/")
    try:
        number = float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if isinstance(value, bool) or not 1e-6 <= number <= 1e3:
        raise BadOption(f"scale must be a factor for pixels from 0 to 255, such as 1/255 or 1, not {value!r}")
    return number


def _read_colour(value: object) -> str:
    text = str(value).lower()
    text = _COLOURS.get(text, text)
    if text and not re.fullmatch("#[0-9a-f]{6}", text):
        raise BadOption(f"background must be white, black, none or a colour as #rrggbb, not {value!r}")
    return text
