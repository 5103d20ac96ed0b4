"""Preprocessing defines how a picture is prepared for a network, where that is known from, and how an import asks for
it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from shared.errors import BadOption

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
CROP_MODES = ("center", "squash", "border")
MODES = {"RGB": 3, "L": 1}
"""Pillow's mode -> channels."""
MAX_SIDE = 1024
"""Maximum side of the input in pixels: beyond it one batch of a ResNet-50 takes gigabytes, and the kernel kills the
worker."""
_REQUIRED = ("resize", "crop", "mean", "std")


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a decoded picture to the input of a network; with `center` they are torchvision's
    `ImageClassification` preset, with the other crop modes timm's evaluation transform."""

    resize: int
    """Pixels of the shorter side after resizing; of both sides with `squash`, of the longer one with `border`."""
    crop: int
    """Pixels of the side of the central square that is kept."""
    mean: tuple[float, ...]
    """Per channel, of values scaled to 0..1."""
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    """One of INTERPOLATIONS."""
    mode: str = "RGB"
    """Pillow's mode that the picture is converted to, one of MODES."""
    crop_mode: str = "center"
    """`center` keeps proportions and cuts the sides off, `squash` distorts, `border` pads with the mean colour."""


class Origin(StrEnum):
    """The origin of a version's preprocessing."""

    PUBLISHED = "published"
    """It was published with the weights that were fetched or installed."""
    RECOGNISED = "recognised"
    """The checksum of the imported file is that of published weights."""
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
        return all(name in self.values for name in _REQUIRED)

    def apply(self, base: Preprocessing | None) -> Preprocessing:
        """Replace values of `base` by the requested values; raises BadOption if `mean` or `std` fit no channel
        count."""
        merged = (asdict(base) if base else {}) | dict(self.values)
        channels = MODES[merged.get("mode", "RGB")]
        for name in ("mean", "std"):
            numbers = tuple(merged[name])
            merged[name] = numbers * channels if len(numbers) == 1 else numbers
            if len(merged[name]) != channels:
                raise BadOption(f"{name} has {len(numbers)} numbers; a picture in mode {merged.get('mode', 'RGB')} "
                                f"has {channels} channels")  # fmt: skip
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
    return PreprocessingRequest(preset, {name: _read_value(name, value) for name, value in values.items()})


def _read_json(text: str) -> object:
    if not text.lstrip().startswith(("{", "[")):
        return text.strip()
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"preprocessing is not valid JSON: {error}") from None
    return value


def _read_value(name: str, value: object) -> object:
    if name in ("resize", "crop"):
        return _read_side(name, value)
    if name in ("mean", "std"):
        return _read_numbers(name, value)
    choices = {"interpolation": INTERPOLATIONS, "crop_mode": CROP_MODES, "mode": tuple(MODES)}
    if name not in choices:
        names = ", ".join(field.name for field in fields(Preprocessing))
        raise BadOption(f"preprocessing has no value {name!r}; it has preset, {names}")
    if value not in choices[name]:
        raise BadOption(f"{name} must be one of {', '.join(choices[name])}, not {value!r}")
    return value


def _read_side(name: str, value: object) -> int:
    try:
        side = int(value) if isinstance(value, str) else value
    except ValueError:
        side = None
    if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= MAX_SIDE:
        raise BadOption(f"{name} must be a whole number of pixels, 1 to {MAX_SIDE}, not {value!r}")
    return side


def _read_numbers(name: str, value: object) -> list[float]:
    parts: Any = value.replace(",", " ").split() if isinstance(value, str) else value
    items = parts if isinstance(parts, (list, tuple)) else [parts]
    try:
        numbers = [float(item) for item in items if not isinstance(item, bool)]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    smallest = math.ulp(0.0) if name == "std" else 0.0
    if len(numbers) != len(items) or len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise BadOption(f"{name} must be one number, or three for red, green and blue, not {value!r}")
    if not all(smallest <= number <= 1 for number in numbers):
        above = "above 0 and at most 1" if name == "std" else "from 0 to 1"
        raise BadOption(f"{name} must be {above}, since pixels are scaled to 0..1 (divide by 255), not {value!r}")
    return numbers
