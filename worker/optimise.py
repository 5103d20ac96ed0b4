"""Optimisation makes a network faster without changing its answers by more than rounding.

Pictures per second of one thread (AVX-512, torch 2.15, float32, 224 pixels), all in one run:

    batch                       1      4     16     32
    mobilenet_v2   plain       81     67     43     27
                   fused      112    128    128     91    channels last, batch norms folded
                   engine     158    217    218    205    packed too, and never more than four pictures at once
    squeezenet1_1  plain       69     80     66     51
                   fused      144    175    178    123
                   engine     209    238    241    239
    resnet50       plain       14     14     13     10
                   fused       15     16     20     18
                   engine      26     27     27     27

`torch.jit.optimize_for_inference` is as fast as packing for two of them, slower than `fused` for squeezenet1_1, and
deprecated. torch.compile needs a compiler and 20 s, and is no faster here.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

log = logging.getLogger(__name__)
ALONE = threading.RLock()
"""A lock held while a network is traced, and while a network runs: during tracing, torch.fx installs hooks in every
module of the process, and a network that runs in another thread meanwhile fails because of them."""


def fused(network: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it; returns the network unchanged if it cannot be traced."""
    try:
        with ALONE:
            return fuse(network, inplace=True)
    except Exception as error:  # noqa: BLE001  # tracing can raise any kind of exception, depending on the control flow
        log.info("%s cannot be traced, so batch norms are not folded: %s", type(network).__name__, error)
        return network


class PackedConvolution(nn.Module):
    """A convolution whose weights are stored once in oneDNN's layout, instead of converted again for each batch."""

    def __init__(self, plain: nn.Conv2d, input_shape: torch.Size) -> None:
        """Pack a convolution. `input_shape` is a typical (N, C, H, W); other batch sizes and sides give the same
        answers."""
        super().__init__()
        geometry: tuple[Any, ...] = (list(plain.padding), list(plain.stride), list(plain.dilation), plain.groups)
        weight = plain.weight.detach()
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(input_shape))  # noqa: SLF001
        self.bias = plain.bias
        self.geometry = geometry
        self.register_buffer("weight", weight.new_empty(0), persistent=False)  # networks look up its type and device

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of `x` (N, C, H, W)."""
        convolution = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001
        result: torch.Tensor = convolution(x, self.packed, self.bias, *self.geometry, "none", [], "")
        return result


def pack(network: nn.Module, batch: torch.Tensor) -> None:
    """Replace the convolutions, in place, by packed convolutions for inputs like `batch`; for the CPU, in float32."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Any:
        return lambda module, inputs: shapes.setdefault(name, inputs[0].shape) and None

    # No subclasses: timm's Conv2dSame, for example, pads differently before the convolution.
    plain = {name: m for name, m in network.named_modules() if type(m) is nn.Conv2d and _packable(m)}
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in plain.items()]
    network(batch)
    for hook in hooks:
        hook.remove()
    for name, shape in shapes.items():
        network.set_submodule(name, PackedConvolution(plain[name], shape))
    try:
        network(batch)
    except (RuntimeError, AttributeError, TypeError) as error:
        log.info("%s uses the weights of its convolutions, so they are not packed: %s", type(network).__name__, error)
        for name in shapes:
            network.set_submodule(name, plain[name])


def _packable(plain: nn.Conv2d) -> bool:
    return plain.padding_mode == "zeros" and not isinstance(plain.padding, str)


def can_pack() -> bool:
    """Return True if this build of torch has oneDNN and its packing."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
