"""Networks in ONNX files, run by ONNX Runtime; they come in as files only, never by name."""

from __future__ import annotations

from torch import nn

from shared.domain.preprocessing import Preprocessing, Size
from shared.errors import BadOption
from worker.families import NO_CONFIG, Config, Pretrained, Weights

HOLLOW = True
FORMAT = "onnx"


def open_graph(data: bytes, config: Config) -> nn.Module:
    """Return the network of an ONNX file; raises BadWeights."""
    raise NotImplementedError


def architectures() -> list[str]:
    """Return no names: the file is the network."""
    return []


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Refuse: the file is the network."""
    raise BadOption("A network in an ONNX file cannot be built without the file.")


def preprocessing(architecture: str) -> Preprocessing:
    """Refuse: the file or the import says how to prepare pictures."""
    raise BadOption("The ONNX file does not say how to prepare pictures: give --resize, --crop, --mean and --std.")


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return no presets."""
    return {}


def pretrained(architecture: str) -> Pretrained | None:
    """Return None: none are published for a name."""
    return None


def identify(sha256: str) -> Pretrained | None:
    """Return None: the file says what it is."""
    return None


def adapt(architecture: str, state: Weights) -> Weights:
    """Return the state unchanged."""
    return state
