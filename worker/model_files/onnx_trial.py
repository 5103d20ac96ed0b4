"""An imported ONNX graph is run on random pictures, to find out what its answer is and how it may be run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from shared.domain.preprocessing import Size, sides
from shared.errors import BadWeights
from worker.families import Config
from worker.families.onnx import Graph, open_graph
from worker.model_files.onnx_ends import Activation

_USUAL = (224, 32, 64, 128, 256, 299, 384)
"""Sides of pictures that are tried on a graph that takes any size."""
_EQUAL, _EQUAL_REDUCED = 1e-4, 2e-2
"""Allowed difference of scores, for float32 and for less exact graphs."""
_SUM = 1e-2
"""Allowed difference of the sum of scores from 1."""


def complete(
    data: bytes, config: Config, activation: Activation | None, features: str, size: Size | None, channels: int
) -> dict[str, Any]:
    """Return the config with the batch that works, the number of classes, and the way from the answer to logits.

    Raises BadWeights if the graph does not run, or does not answer with a row of numbers for each picture.
    """
    plain = dict(config)
    pictures, answer = _run(data, plain, [size] if size else _USUAL, channels)
    plain["classes"] = answer.shape[1]
    complete = _with_logits(data, plain, activation, pictures, answer)
    return _with_features(data, complete, features, pictures)


def _run(
    data: bytes, config: dict[str, Any], sizes: Iterable[Size], channels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two pictures and the graph's own answer for them; changes `batch` to 1 if it takes no more.

    Exporters write a dynamic batch also into graphs that mix up the pictures of one.
    """
    failures: list[Exception] = []
    graph = open_graph(data, config)
    for size in sizes:
        pictures = torch.randn(2, channels, *sides(size), generator=torch.Generator().manual_seed(0))
        try:
            single = _checked(graph(pictures[:1]), 1)
        except RuntimeError as error:
            failures.append(error)
            continue
        if not config["batch"] and not _takes_two(graph, pictures, single):
            config["batch"] = 1
        return pictures, _checked(graph(pictures), 2)
    raise BadWeights(f"ONNX Runtime cannot run the graph on a picture: {failures[0]}")


def _takes_two(graph: Graph, pictures: torch.Tensor, single: torch.Tensor) -> bool:
    try:
        both = graph(pictures)
    except RuntimeError:
        return False
    return both.shape == (2, single.shape[1]) and torch.allclose(both[:1], single, rtol=1e-2, atol=1e-3)


def _checked(answer: torch.Tensor, count: int) -> torch.Tensor:
    if answer.ndim != 2 or len(answer) != count:
        raise BadWeights(
            f"The ONNX graph answers with the shape {tuple(answer.shape)} for {count} pictures, not with logits "
            "(batch, classes)."
        )
    if not torch.isfinite(answer).all():
        raise BadWeights("The ONNX graph answers a random picture with NaN or infinite numbers.")
    return answer


def _with_logits(
    data: bytes, config: dict[str, Any], activation: Activation | None, pictures: torch.Tensor, answer: torch.Tensor
) -> dict[str, Any]:
    """Return the config that passes over the activation, if the scores are the same then; else that of logarithms.

    Whether a softmax is over the classes depends on shapes and the opset, so it is tried, not read off the graph.
    """
    allowed = _EQUAL_REDUCED if config["reduced"] else _EQUAL
    if activation is not None:
        bypassing = config | {"bypassed": list(activation.tensors)}
        scores = _FUNCTIONS[activation.kind](open_graph(data, bypassing)(pictures))
        if (scores - answer).abs().max().item() <= allowed:
            return bypassing
    if answer.min() >= 0 and (answer.sum(dim=1) - 1).abs().max() <= _SUM and answer.shape[1] > 1:
        return config | {"softmaxed": True}
    if activation is not None:
        raise BadWeights(
            f"The {activation.kind} at the end of the ONNX graph is not over the classes. Export it without that."
        )
    return config


_FUNCTIONS = {
    "Softmax": lambda logits: logits.softmax(dim=1),
    "LogSoftmax": lambda logits: logits.log_softmax(dim=1),
    "Sigmoid": torch.sigmoid,
}


def _with_features(data: bytes, config: dict[str, Any], features: str, pictures: torch.Tensor) -> dict[str, Any]:
    """Return the config with the tensor of the features, if that is a row for each picture."""
    if not features:
        return config
    having = config | {"features": features}
    try:
        found = open_graph(data, having).features(pictures)
    except (RuntimeError, BadWeights):
        return config
    return having if found.ndim == 2 and len(found) == len(pictures) else config
