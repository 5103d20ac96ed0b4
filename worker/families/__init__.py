"""A model family builds networks by architecture name; one file or folder here is one family, found by listing.

A family is a module with these functions (there is no registry to edit):

    architectures() -> list[str]                      the names it can build
    build(architecture, classes, crop) -> Module      random weights; `crop` is the side of the input in pixels
    preprocessing(architecture) -> Preprocessing      what a picture must look like where nothing else is known
    presets(architecture) -> dict[str, Preprocessing] the published alternatives by name
    pretrained(architecture) -> Pretrained | None     the weights that belong to the name
    identify(sha256) -> Pretrained | None             the published file with that checksum
    adapt(architecture, state) -> state               renames what published checkpoints call differently
    HOLLOW                                            False where networks must be built with memory, see `hollow`
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from shared.domain.preprocessing import Preprocessing
from shared.errors import BadOption

Weights = dict[str, torch.Tensor]
"""Parameter name -> tensor; torch calls it a state dict."""


@dataclass(frozen=True)
class Pretrained:
    """Published weights and what belongs to them; they come from `url`, or lie at `path` where they are installed.

    With neither, the weights themselves cannot be had here; what is known about them serves a file that is imported.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    weights_name: str
    """What the publisher calls them: `IMAGENET1K_V2`."""
    url: str = ""
    sha256_prefix: str = ""
    """The first hex digits of the file's SHA-256, or all of them."""
    path: Path | None = None


class Family(Protocol):
    """What a module in this folder offers; the page above says what each function means."""

    __name__: str
    HOLLOW: bool

    def architectures(self) -> list[str]: ...
    def build(self, architecture: str, classes: int, crop: int) -> nn.Module: ...
    def preprocessing(self, architecture: str) -> Preprocessing: ...
    def presets(self, architecture: str) -> dict[str, Preprocessing]: ...
    def pretrained(self, architecture: str) -> Pretrained | None: ...
    def identify(self, sha256: str) -> Pretrained | None: ...
    def adapt(self, architecture: str, state: Weights) -> Weights: ...


def names() -> list[str]:
    """All families, by listing this folder; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Family:
    """The family of that name. Only this family is imported: torchvision costs a second that `digits` need not pay."""
    if name not in names():
        raise BadOption(f"There is no model family {name!r}; there are {', '.join(names())}.")
    return cast(Family, importlib.import_module(f"{__name__}.{name}"))


def name_of(family: Family) -> str:
    """`worker.families.torchvision` -> `torchvision`, as model versions store it."""
    return family.__name__.rpartition(".")[2]


@lru_cache(maxsize=1)
def architectures() -> dict[str, str]:
    """Every architecture and the family that builds it; torchvision, the last, has what timm has by the same name."""
    return {architecture: name for name in names() for architecture in load(name).architectures()}


def find(architecture: str) -> Family:
    """The family that builds `architecture`; BadOption names the nearest matches where there is none."""
    if architecture in names():  # a family may be named after its one architecture: then no other is imported
        return load(architecture)
    if architecture.startswith("timm/"):
        return load("timm")
    known = architectures()
    if architecture in known:
        return load(known[architecture])
    if architecture.partition(".")[0] in known:  # only timm's names have a tag
        return load("timm")
    near = difflib.get_close_matches(architecture.lower(), known, n=5, cutoff=0.5) or ["efficientnet_b0", "resnet50"]
    raise BadOption(f"There is no architecture {architecture!r}. Near it are: {', '.join(near)}.")


def pretrained(architecture: str) -> Pretrained | None:
    """The weights that belong to an architecture's name; None where there are none, BadOption for an unknown name."""
    return find(architecture).pretrained(architecture)


def torchvision_preset(name: str) -> Preprocessing | None:
    """The preprocessing of torchvision's weights of that full name; torchvision is imported only to look."""
    from worker.families import torchvision

    return torchvision.find_preset(name)


def head(network: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the layer that gives the logits: the last Linear or Conv2d (SqueezeNet's head is a Conv2d)."""
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1]


def penultimate(network: nn.Module) -> nn.Module:
    """The layer whose input is the feature vector of a picture; average over space where that input is 4-D."""
    return head(network)[1]


class _Hollow(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@contextmanager
def hollow(family: Family | None = None) -> Iterator[None]:
    """Networks built inside have layers without memory, to be filled from a file; saves the random start values.

    It changes nothing for a `family` that is not HOLLOW.
    Not `torch.device("meta")`: the RegNets and Swins compute their shapes and index tables with small real tensors.
    """
    with nullcontext() if family and not family.HOLLOW else _Hollow():
        yield
