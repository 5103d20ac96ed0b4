"""Model families build networks by architecture name; each file or folder here is a family, found by listing.

A family is a module with these functions (there is no registry to edit):

    architectures() -> list[str]                      the names it can build
    build(architecture, classes, crop, config)        random weights; `crop` is the size of the input in pixels,
                                                      `config` is what lies beside the weights, if the family reads that
    preprocessing(architecture) -> Preprocessing      the default, where nothing else is known
    presets(architecture) -> dict[str, Preprocessing] the published alternatives by name
    pretrained(architecture) -> Pretrained | None     the weights that belong to the name
    identify(sha256) -> Pretrained | None             the published file with that checksum
    adapt(architecture, state) -> state               renames tensors of published checkpoints
    HOLLOW                                            False if networks must be built with memory, see `hollow`
    FORMAT                                            `safetensors`, or `onnx` where a file holds the network itself
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from shared.domain.preprocessing import Preprocessing, Size, sides
from shared.errors import BadOption, BadWeights

Weights = dict[str, torch.Tensor]
"""Parameter name -> tensor; torch calls it a state dict."""
Config = Mapping[str, Any]
"""What a family reads beside the architecture, JSON: the arguments of a network, or a `config.json`."""
NO_CONFIG: Config = MappingProxyType({})


@dataclass(frozen=True)
class Pretrained:
    """Published weights and their metadata; they are downloaded from `url`, or are installed at `path`.

    With neither, the weights cannot be obtained here; the metadata is used for a file that is imported.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    weights_name: str
    """The publisher's name: `IMAGENET1K_V2`."""
    url: str = ""
    sha256_prefix: str = ""
    """The first hex digits of the file's SHA-256, or all of them."""
    path: Path | None = None


class Family(Protocol):
    """The interface of a module in this folder; the module docstring explains each function."""

    __name__: str
    HOLLOW: bool
    FORMAT: str

    def architectures(self) -> list[str]: ...
    def build(self, architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module: ...
    def preprocessing(self, architecture: str) -> Preprocessing: ...
    def presets(self, architecture: str) -> dict[str, Preprocessing]: ...
    def pretrained(self, architecture: str) -> Pretrained | None: ...
    def identify(self, sha256: str) -> Pretrained | None: ...
    def adapt(self, architecture: str, state: Weights) -> Weights: ...


def names() -> list[str]:
    """Return the names of all families, by listing this folder; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Family:
    """Import the family of that name and no other: importing torchvision takes a second that `digits` need not wait
    for."""
    if name not in names():
        raise BadOption(f"There is no model family {name!r}; there are {', '.join(names())}.")
    return cast(Family, importlib.import_module(f"{__name__}.{name}"))


def name_of(family: Family) -> str:
    """Return the name of a family as model versions store it: `worker.families.torchvision` -> `torchvision`."""
    return family.__name__.rpartition(".")[2]


@lru_cache(maxsize=1)
def architectures() -> dict[str, str]:
    """Return architecture -> family. Where timm and torchvision have the same name, torchvision wins, as it is listed
    last."""
    return {architecture: name for name in names() for architecture in load(name).architectures()}


def find(architecture: str) -> Family:
    """Return the family that builds `architecture`; if there is none, BadOption names the nearest matches."""
    if architecture in names():  # a family may be named after its only architecture: then no other is imported
        return load(architecture)
    if architecture.startswith("timm/"):
        return load("timm")
    families = architectures()
    if architecture in families:
        return load(families[architecture])
    if architecture.partition(".")[0] in families:  # only timm's names have a tag
        return load("timm")
    near = difflib.get_close_matches(architecture.lower(), families, n=5, cutoff=0.5) or ["efficientnet_b0", "resnet50"]
    raise BadOption(f"There is no architecture {architecture!r}. Near it are: {', '.join(near)}.")


def pretrained(architecture: str) -> Pretrained | None:
    """Return the weights that belong to an architecture; None if there are none, BadOption for an unknown name."""
    return find(architecture).pretrained(architecture)


def torchvision_preset(name: str) -> Preprocessing | None:
    """Return the preprocessing of torchvision's weights of that full name, or None; torchvision is imported
    only here."""
    from worker.families import torchvision

    return torchvision.find_preset(name)


def check_size(build: Callable[[], nn.Module], held: int) -> None:
    """Raise BadWeights if a network has many more parameters than the `held` ones of its file.

    A config may describe a network that fills the memory of the machine; it is built without memory here. Networks that
    cannot be built so are not checked.
    """
    try:
        with torch.device("meta"):
            wanted = sum(parameter.numel() for parameter in build().parameters())
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return
    if wanted > _LARGER * held + _HEAD:
        raise BadWeights(
            f"The network has {wanted} parameters, and the file holds {held} numbers; they do not belong together."
        )


def check_depth(config: Config, tensors: int) -> None:
    """Raise BadWeights if a config describes more layers than its file has tensors.

    To build a network takes time and memory for each of its layers, even without memory for its weights.
    """
    for name, value in _walk(config):
        if _REPEATED.search(name.lower()):
            numbers = value if isinstance(value, list) else [value]
            layers = sum(number for number in numbers if isinstance(number, int) and not isinstance(number, bool))
            if layers > max(tensors, _FEW):
                raise BadWeights(f"config.json has {name} {value!r}, and the weights hold {tensors} tensors only.")


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of everything in nested objects."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name), inner
            yield from _walk(inner)


_REPEATED = re.compile(r"(layers|depths?|blocks|repeats)$")
"""The ends of the names of values that say how often something is built."""
_FEW = 200
_LARGER = 2
_HEAD = 10_000_000
"""Parameters of a head with a thousand outputs, which the weights may not have."""


def square(architecture: str, crop: Size) -> int:
    """Return the side of a square input; raises BadOption if height and width differ."""
    height, width = sides(crop)
    if height != width:
        raise BadOption(f"The architecture {architecture!r} takes square pictures only, not {height} x {width} pixels.")
    return height


def imagenet_labels() -> Sequence[str]:
    """Return ImageNet's thousand labels in torchvision's spelling; torchvision is imported only here."""
    from worker.families import torchvision

    return torchvision.imagenet_labels()


def head(network: nn.Module) -> tuple[str, nn.Module]:
    """Return name and module of the layer that outputs the logits: the last Linear or Conv2d (in SqueezeNet a
    Conv2d)."""
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1]


def penultimate(network: nn.Module) -> nn.Module:
    """Return the layer whose input is the feature vector of a picture; that input is averaged over space if it
    is 4-D."""
    return head(network)[1]


class _Hollow(TorchFunctionMode):
    """Creates the tensors of `torch.empty` on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@contextmanager
def hollow(family: Family | None = None) -> Iterator[None]:
    """Build networks inside the block without memory for their layers, to be filled from a file; saves random
    initialisation.

    It changes nothing for a `family` that is not HOLLOW. `torch.device("meta")` was rejected: the RegNets and Swins
    compute their shapes and index tables with small real tensors.
    """
    with nullcontext() if family and not family.HOLLOW else _Hollow():
        yield
