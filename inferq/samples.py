"""The pictures that ship with the code, and the model that they suit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

MODEL = "digits"
"""Ships with the code as well; the default model where nothing better is to be had."""


def pictures() -> list[Path]:
    """The sample pictures, sorted by name; none where they were not installed."""
    # Found, not imported: the worker's package brings torch.
    found = importlib.util.find_spec("worker")
    roots = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    return sorted(picture for root in roots for picture in (root / "families/digits/samples").glob("*.png"))
