"""Grad-CAM says where in a picture the evidence for a label lies, by the gradients of a network's last map of features.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (2017),
equations 1 and 2. The network is plain torch, in eval mode; its weights need no gradients.

    pixels ──> layers ──> last map of features ──> layers ──> logit of the label
                                  ▲                                │
                                  └────── gradient, averaged ──────┘   one weight for each channel
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from worker import families

_LEADING = 5
"""Most tokens before those of the grid: of the class, and of a teacher or four registers."""
_FEWEST = 2
"""Rows and columns of the smallest map that says where something is."""


class CannotExplain(Exception):
    """The network has no map of features that says where the evidence lies; the message says why."""


@dataclass(frozen=True)
class FeatureMap:
    """Where a network puts out its last map of features, and how the map lies in that tensor."""

    module: str
    call: int
    """Which call of the module in a pass, as networks use some of them several times; 0 is the first."""
    layout: str
    """`NCHW`, `NHWC`, or `tokens`, which is (N, tokens, C)."""
    grid: tuple[int, int]
    """Rows and columns."""
    leading: int = 0
    """Tokens before those of the grid."""

    def as_map(self, output: torch.Tensor) -> torch.Tensor:
        """Return an output of the module as (N, C, rows, columns)."""
        if self.layout == "NCHW":
            return output
        if self.layout == "tokens":
            output = output[:, self.leading :].unflatten(1, self.grid)
        return output.permute(0, 3, 1, 2)


def find_map(network: nn.Module, pixels: torch.Tensor) -> FeatureMap:
    """Return the last map of features on which the answer to a normalised picture, (1, channels, height, width),
    depends: of convolutions before they are pooled, of transformers the tokens of the last block that are mixed.

    Raises CannotExplain.
    """
    outputs: list[tuple[str, int, torch.Tensor]] = []
    with torch.enable_grad(), _noted(network, outputs):
        logits = network(pixels.detach().requires_grad_())
    best = logits[0].max()
    width = _head_width(network)
    stem = next((output.shape[2:] for _, _, output in outputs if output.ndim == 4), pixels.shape[2:])
    unplaced = 0
    for name, call, output in reversed(outputs):
        found = _placed(name, call, output, stem, width)
        if found is None:
            unplaced = unplaced or (output.shape[1] if output.ndim == 3 else 0)
            continue
        if unplaced and found.layout != "tokens":  # what tokens became of the map since cannot be followed
            raise CannotExplain(f"Its {unplaced} tokens cannot be arranged as rows and columns of the picture.")
        (gradient,) = torch.autograd.grad(best, output, retain_graph=True, allow_unused=True)
        # The last tokens of many transformers have none: only that of the class reaches the head.
        if gradient is not None and found.as_map(gradient).any():
            return found
    raise CannotExplain("None of its layers puts out a map of features, with rows and columns.")


def heat(network: nn.Module, at: FeatureMap, pixels: torch.Tensor, outputs: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the heat of each normalised picture for one of its `outputs`, the one with the highest logit: (N, rows,
    columns), float32 from 0 to 1 on the CPU. It is 0 everywhere if nothing speaks for the label.

    The graph of gradients begins at the map, so that a pass costs little more than one without gradients.
    """
    maps: list[torch.Tensor] = []
    calls = Counter[str]()

    def cut(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        calls[at.module] += 1
        if calls[at.module] - 1 != at.call:
            return None
        maps.append(output.detach().requires_grad_())
        return maps[0].clone()  # layers that follow may change it in place, which a leaf forbids

    hook = network.get_submodule(at.module).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = network(pixels)
    finally:
        hook.remove()
    chosen = [row[list(some)].max() for row, some in zip(logits, outputs, strict=True)]
    (gradient,) = torch.autograd.grad(torch.stack(chosen).sum(), maps[0])  # pictures do not affect each other
    weights = at.as_map(gradient).mean(dim=(2, 3), keepdim=True)
    found = (weights * at.as_map(maps[0].detach())).sum(dim=1).relu()
    most = found.amax(dim=(1, 2), keepdim=True)
    return torch.where(most > 0, found / most, 0.0).float().cpu()


@contextmanager
def _noted(network: nn.Module, outputs: list[tuple[str, int, torch.Tensor]]) -> Iterator[None]:
    """Note, inside the block, each output that may be a map: module, call, and the tensor.

    What is inside attention is left out: its weights have the shape of maps. So are the results of pooling, which are
    coarser than what was pooled.
    """
    calls = Counter[str]()
    pooled: list[torch.Tensor] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] += 1
            if not isinstance(output, torch.Tensor) or output.ndim not in (3, 4) or len(output) != 1:
                return
            if type(module).__module__ == nn.MaxPool2d.__module__:
                pooled.append(output)
            if not any(output is result for result in pooled):
                outputs.append((name, calls[name] - 1, output))

        return hook

    attention = [f"{name}." for name, module in network.named_modules() if _is_attention(module)]
    hooks = [
        module.register_forward_hook(note(name))
        for name, module in network.named_modules()
        if name and not name.startswith(tuple(attention))
    ]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def _is_attention(module: nn.Module) -> bool:
    return any(word in type(module).__name__.lower() for word in ("attention", "attn"))


def _placed(name: str, call: int, output: torch.Tensor, stem: Sequence[int], width: int) -> FeatureMap | None:
    """Return how an output lies as a map; None if it is no map. `stem` is rows and columns of the first map of the
    pass, `width` the number of features that reach the head."""
    if output.ndim == 3:
        placed = _tokens(output.shape[1], stem)
        return FeatureMap(name, call, "tokens", *placed) if placed else None
    last = output.shape[3] == width != output.shape[1]
    rows, columns = (output.shape[1:3]) if last else output.shape[2:]
    if min(rows, columns) < _FEWEST:
        return None
    return FeatureMap(name, call, "NHWC" if last else "NCHW", (rows, columns))


def _tokens(count: int, stem: Sequence[int]) -> tuple[tuple[int, int], int] | None:
    """Return ((rows, columns), leading tokens) of a sequence of tokens; None if they are not those of a grid.

    The grid is that of the stem, behind some leading tokens, or one with the same ratio where they were merged.
    """
    rows, columns = stem
    if 0 <= count - rows * columns <= _LEADING:
        return (rows, columns), count - rows * columns
    for leading in (0, 1):
        factor = (rows * columns / max(1, count - leading)) ** 0.5
        grid = round(rows / factor), round(columns / factor)
        if grid[0] * grid[1] == count - leading and min(grid) >= _FEWEST:
            return grid, leading
    return None


def _head_width(network: nn.Module) -> int:
    """Return the number of features that the head takes."""
    layer = families.penultimate(network)
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)  # type: ignore[arg-type]
