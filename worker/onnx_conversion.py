"""A process that converts one network from torch to ONNX: `python -m worker.onnx_conversion FOLDER`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing, sides
from shared.errors import BadWeights
from worker import conversions, examination
from worker.conversions import Job
from worker.families.onnx import open_graph

CONVERTED = "model.onnx"
_OPSET = 18
"""Old enough for the runtimes of the last years; torch writes it without converting it again."""
_TOLERANCE = 1e-3
"""Allowed difference of logits, as a fraction of the largest of them."""
_INPUT, _OUTPUT = "pixels", "logits"


def work(job: Job, folder: Path) -> None:
    """Convert the network, and compare the result with it; raises BadWeights."""
    network = job.network()
    convert(network, job.preprocessing, folder / CONVERTED)
    compare(network, job.preprocessing, (folder / CONVERTED).read_bytes(), job.example, job.logits)


def convert(network: nn.Module, preprocessing: Preprocessing, target: Path) -> None:
    """Write the network as ONNX for any number of pictures; raises BadWeights if torch cannot."""
    pictures = torch.randn(2, preprocessing.channels, *sides(preprocessing.crop))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the exporter's own workings
            torch.onnx.export(
                network, (pictures,), str(target), input_names=[_INPUT], output_names=[_OUTPUT], opset_version=_OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # tracing can raise any kind of exception, depending on the control flow
        cause = error.__cause__ or error
        line = next(iter(str(cause).strip().splitlines()), "")
        raise BadWeights(f"torch cannot write it ({type(cause).__name__}: {line[:300]})") from error


def compare(
    network: nn.Module, preprocessing: Preprocessing, data: bytes, example_png: bytes, expected: Sequence[float]
) -> None:
    """Raise BadWeights unless ONNX Runtime gives the example's logits, and torch's for random pictures."""
    config: dict[str, Any] = {"input": _INPUT, "output": _OUTPUT, "layout": "NCHW", "type": "float32", "batch": 0}
    graph = open_graph(data, config)
    logits = examination.plain_logits(graph, preprocessing, example_png)
    _must_equal(logits[: len(expected)], torch.tensor(expected), "its example")
    pictures = torch.randn(3, preprocessing.channels, *sides(preprocessing.crop))
    with torch.inference_mode():
        _must_equal(graph(pictures), network(pictures), "random pictures")


def _must_equal(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    difference = (found - expected).abs().max().item()
    if not difference <= _TOLERANCE * expected.abs().max().item():
        raise BadWeights(f"ONNX Runtime gives other logits than torch for {what}; one is off by {difference:.2g}")


if __name__ == "__main__":
    conversions.main(work)
