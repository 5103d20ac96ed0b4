"""Head replacement puts a trained linear classifier into a network, so that the network computes exactly its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from shared.errors import BadOption
from worker import families, optimise

_EXACT = 1e-3
"""Allowed difference of the network's logits, relative to the largest."""
_MARGIN = 0.5
"""Safety margin below the lowest value seen in training, relative to the range of values."""


def has_bias(network: nn.Module) -> bool:
    """Return True if the head can hold a bias; MaxViT's cannot."""
    return families.penultimate(network).bias is not None


def replace_head(
    network: nn.Module,
    weight: torch.Tensor,
    bias: torch.Tensor,
    batches: Callable[[], Iterable[torch.Tensor]],
    *,
    may_raise: bool = True,
) -> None:
    """Make weight (C, D) and bias (C,) the head, in place; raises BadOption if the network computes more after its
    head.

    `batches` yields prepared, normalised training pictures, (N, channels, crop, crop) each, on the network's device.
    One batch is needed to check the result, and all of them for a head that works on maps, as SqueezeNet's does. There
    a ReLU comes between head and average, but the classifier was trained on averages. So that it clips nothing, all
    biases are raised by the same number, which does not change softmax; the number follows from the values on the maps.
    It would change sigmoids: with `may_raise` false the biases stay, and a network that clips is refused.
    """
    name, old = families.head(network)
    if bias.any() and old.bias is None:
        raise BadOption("The head of this network has no bias: train the classifier without one.")
    if isinstance(old, nn.Conv2d):
        if old.kernel_size != (1, 1) or old.groups != 1:
            raise BadOption("The head of this network is a convolution over space; train on another base model.")
        if may_raise:
            bias = bias + _raised(network, weight, bias, batches())
    _put(network, name, weight, bias)
    for batch in batches():
        try:
            _check(network, batch)
        except RuntimeError as error:  # for example if the logits of two heads are added, and only one has new labels
            raise BadOption("This network has more than one head; train on another base model.") from error
        return


def _put(network: nn.Module, name: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Put a new layer of the same kind in place of the old head."""
    old = network.get_submodule(name)
    classes, width = weight.shape
    biased = old.bias is not None
    new: nn.Module = (
        nn.Conv2d(width, classes, 1, bias=biased)
        if isinstance(old, nn.Conv2d)
        else nn.Linear(width, classes, bias=biased)
    )
    values = {"weight": weight.view_as(new.weight)} | ({"bias": bias} if biased else {})  # type: ignore[arg-type]
    new.load_state_dict(values)
    device = next(old.parameters()).device
    network.set_submodule(name, new.to(device).eval().requires_grad_(False))


def features(network: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input of the head for a batch, (N, D) or (N, D, H, W), and the logits (N, C)."""
    captured: list[torch.Tensor] = []
    hook = families.penultimate(network).register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
    try:
        with optimise.ALONE, torch.inference_mode():
            logits = network(batch)
    finally:
        hook.remove()
    return captured[0], logits


def _raised(network: nn.Module, weight: torch.Tensor, bias: torch.Tensor, batches: Iterable[torch.Tensor]) -> float:
    lowest, highest = 0.0, 0.0
    for batch in batches:
        maps, _ = features(network, batch)
        places = torch.einsum("cd,ndhw->nchw", weight.to(maps), maps) + bias.to(maps).view(1, -1, 1, 1)
        lowest, highest = min(lowest, float(places.min())), max(highest, float(places.max()))
    return _MARGIN * (highest - lowest) - lowest


def _check(network: nn.Module, batch: torch.Tensor) -> None:
    """Compare the logits with the head's weights applied to the averaged features; raises BadOption if they differ."""
    entered, logits = features(network, batch)
    head = families.penultimate(network)
    flat = entered.mean(dim=(2, 3)) if entered.ndim == 4 else entered
    expected = flat @ head.weight.detach().flatten(1).T  # type: ignore[operator]
    if head.bias is not None:
        expected = expected + head.bias.detach()  # type: ignore[operator]
    wrong = float((logits - expected).abs().max()) if logits.shape == expected.shape else float("inf")
    if not wrong <= _EXACT * max(1.0, float(expected.abs().max())):
        raise BadOption("This network does more after its last layer than averaging; train on another base model.")
