"""All of torchvision's classification networks, by torchvision's own names."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

import torch
from torch import nn
from torchvision import models

from shared.domain.preprocessing import Preprocessing, Size
from worker.families import NO_CONFIG, Config, Pretrained, square

HOLLOW = True
FORMAT = "safetensors"
_TRAINING_ONLY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Auxiliary classifiers for training; inference never runs them, but published files contain them."""

_OLD_NAMES = (
    (re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$"), r"\1\2"),
    (re.compile(r"^(.*encoder_layer_\d+\.mlp)\.linear_1\.(.*)$"), r"\1.0.\2"),
    (re.compile(r"^(.*encoder_layer_\d+\.mlp)\.linear_2\.(.*)$"), r"\1.3.\2"),
)
"""Names in the published DenseNet and ViT files that torchvision has changed since."""


@lru_cache(maxsize=1)
def architectures() -> list[str]:
    """Return the names in torchvision's classification registry; quantized, detection and video models are in
    others."""
    return models.list_models(module=models)


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Build the network with `classes` outputs. A ViT's position table fits inputs of `crop` pixels and no others."""
    options: dict[str, Any] = {"num_classes": classes}
    if architecture in _TRAINING_ONLY:
        # The published weights expect the input scaled as in TensorFlow; `get_model(weights=...)` sets this too.
        options |= {"transform_input": True, "aux_logits": False, "init_weights": False}
    if architecture.startswith("vit_"):
        options["image_size"] = square(architecture, crop)
    network: nn.Module = models.get_model(architecture, weights=None, **options)
    return network


def preprocessing(architecture: str) -> Preprocessing:
    """Return that of torchvision's default weights for the architecture."""
    return _preprocessing(models.get_model_weights(architecture).DEFAULT)


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return one preset per release of the architecture's weights: `IMAGENET1K_V1` and so on, the default last."""
    releases = models.get_model_weights(architecture)
    ordered = sorted(releases, key=lambda weights: weights is releases.DEFAULT)
    return {weights.name: _preprocessing(weights) for weights in ordered}


def find_preset(name: str) -> Preprocessing | None:
    """Return that of any architecture's weights by torchvision's full name, `ResNet50_Weights.IMAGENET1K_V1`,
    or None."""
    return next((_preprocessing(weights) for _, weights in _published() if str(weights) == name), None)


def imagenet_labels() -> tuple[str, ...]:
    """Return ImageNet's thousand labels."""
    return tuple(models.ResNet50_Weights.DEFAULT.meta["categories"])


def pretrained(architecture: str) -> Pretrained | None:
    """Return torchvision's default weights for the architecture."""
    return _pretrained(models.get_model_weights(architecture).DEFAULT)


def identify(sha256: str) -> Pretrained | None:
    """Return the published file with that SHA-256, or None: resnet50's two releases need different preprocessing."""
    return next((_pretrained(weights) for start, weights in _published() if sha256.startswith(start)), None)


def adapt(architecture: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename old names to new ones, and remove classifiers that only training uses."""
    unused = _TRAINING_ONLY.get(architecture, ())
    return {_rename(name): tensor for name, tensor in state.items() if not (unused and name.startswith(unused))}


def _rename(name: str) -> str:
    for pattern, new in _OLD_NAMES:
        name = pattern.sub(new, name)
    return name


@cache
def _published() -> list[tuple[str, Any]]:
    everything = (weights for name in architectures() for weights in models.get_model_weights(name))
    return [(_sha256_prefix(weights.url), weights) for weights in everything]


def _sha256_prefix(url: str) -> str:
    """Return the first digits of the SHA-256, which torchvision puts into the file name: `resnet50-11ad3fa6.pth`."""
    return url.rpartition("-")[2].partition(".")[0]


def _pretrained(weights: Any) -> Pretrained:
    return Pretrained(
        labels=tuple(weights.meta["categories"]),
        preprocessing=_preprocessing(weights),
        weights_name=weights.name,
        url=weights.url,
        sha256_prefix=_sha256_prefix(weights.url),
    )


def _preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    return Preprocessing(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
