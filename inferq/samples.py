"""Photographs to try the service with, as two installed packages bring them; none is part of this project."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

INSTALL = "pip install 'inferq[demo]'"


@dataclass(frozen=True)
class Photo:
    """One photograph inside an installed package."""

    name: str
    """The file name that it is shown by; it says what a person sees."""
    package: str
    file: str
    """Its path inside the package."""
    terms: str
    """Who took it, and on which terms it may be used."""


PHOTOS = (
    Photo("cat.png", "skimage", "data/chelsea.png", "Stefan van der Walt, CC0"),
    Photo("coffee.png", "skimage", "data/coffee.png", "Rachel Michetti, CC0"),
    Photo("rocket.jpg", "skimage", "data/rocket.jpg", "SpaceX, public domain"),
    Photo("motorcycle.png", "skimage", "data/motorcycle_left.png", "Middlebury stereo 2014, as scikit-image has it"),
    Photo("palace.jpg", "sklearn", "datasets/images/china.jpg", "Daniel Büchele, CC BY 2.0"),
)


def installed() -> dict[str, Path]:
    """Name to path of the photographs that are there; none where the extra `demo` is not installed."""
    paths = {photo.name: folder / photo.file for photo in PHOTOS if (folder := _folder(photo.package))}
    return {name: path for name, path in paths.items() if path.is_file()}


def _folder(package: str) -> Path | None:
    """Where a package lies; it is found, not imported, because importing these takes seconds."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) if folders else None
