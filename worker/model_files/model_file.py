"""A model file is what an imported file or folder holds, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.domain.preprocessing import Preprocessing, Size
from worker.families import Config, Weights


@dataclass(frozen=True)
class ModelFile:
    """The contents of an imported file or folder; what it does not say is empty."""

    sets: Mapping[str, Weights] = field(default_factory=dict)
    """The tensors by name, by the key of their set in the file; the only set of a plain file has an empty key."""
    graph: Path | None = None
    """The ONNX file, in place of `sets`."""
    family: str = ""
    architecture: str = ""
    config: Config = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    origin: str = ""
    """The file that `preprocessing` was read from, for people."""
    problem_type: str = ""
    thresholds: tuple[float, ...] = ()
    normalised: bool = False
    """True if `sets` are the names of the network as it is built, without any prefix."""
    input_size: Size | None = None
    """The size of the pictures, for a graph that takes no other."""
    mode: str = ""
    """Pillow's mode of the pictures, for a graph."""
