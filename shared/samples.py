"""Sample photographs from two installed packages, for the front page, `inferq demo` and `inferq samples`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

INSTALL = "pip install '.[demo]' in the checkout"


@dataclass(frozen=True)
class Photo:
    """One photograph inside an installed package."""

    name: str
    """The file name in the output; it names the subject."""
    package: str
    file: str
    """The path inside the package."""
    terms: str
    """The photographer and the licence."""


PHOTOS = (
    Photo("cat.png", "skimage", "data/chelsea.png", "Stefan van der Walt, CC0"),
    Photo("coffee.png", "skimage", "data/coffee.png", "Rachel Michetti, CC0"),
    Photo("rocket.jpg", "skimage", "data/rocket.jpg", "SpaceX, public domain"),
    Photo("motorcycle.png", "skimage", "data/motorcycle_left.png", "Middlebury stereo 2014, as scikit-image has it"),
    Photo("palace.jpg", "sklearn", "datasets/images/china.jpg", "Daniel Büchele, CC BY 2.0"),
)


def installed() -> dict[str, Path]:
    """Return name -> path of the installed photographs; empty without the extra `demo`."""
    paths = {photo.name: folder / photo.file for photo in PHOTOS if (folder := _folder(photo.package))}
    return {name: path for name, path in paths.items() if path.is_file()}


def _folder(package: str) -> Path | None:
    """Return the folder of a package, or None; it is not imported, since importing these takes seconds."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) if folders else None
