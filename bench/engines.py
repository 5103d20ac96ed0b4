"""The engine that a worker chooses, beside the others that could run the network: `python -m bench.engines resnet50`.

Each runs the network alone, in float32, with random weights and on one thread, in batches of 1, 4 and 8 pictures, of
which its best counts. All take turns, and the seconds are those of the processor, so that other load on the machine
meets all of them alike.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from bench import limit, material
from shared.domain.preprocessing import Preprocessing, sides
from worker import families, onnx_conversion, weights
from worker.engine import Loaded
from worker.openvino_network import library

Run = Callable[[torch.Tensor], object]

BATCHES = (1, 4, 8)
ROUNDS, SECONDS = 9, 0.25
CHOSEN = "chosen"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("architectures", nargs=-1, required=True)
def main(architectures: Sequence[str]) -> None:
    """Measure the engine that a worker chooses beside eager and compiled torch, ONNX Runtime and OpenVINO."""
    torch.set_num_threads(1)
    console = Console()
    for architecture in architectures:
        with tempfile.TemporaryDirectory(prefix="inferq-bench-") as name:
            runs, inputs = _prepare(architecture, Path(name))
            with torch.inference_mode():
                rates = measure(runs, inputs)
        table = Table("pictures per second of CPU", *(f"batch {size}" for size in BATCHES), title=architecture)
        for engine, sizes in rates.items():
            table.add_row(engine, *(f"{rate:.1f}" for rate in sizes.values()))
        console.print(table)
        console.print(f"chosen ÷ best of the others: {ratio(rates):.3f}")


def measure(
    runs: Mapping[str, Run], inputs: Sequence[torch.Tensor], clock: Callable[[], float] = time.process_time
) -> dict[str, dict[int, float]]:
    """Return engine -> batch size -> pictures per second, the median of ROUNDS in turn."""
    turns = list(itertools.product(runs, inputs))
    found: dict[str, dict[int, list[float]]] = {name: {len(batch): [] for batch in inputs} for name in runs}
    for name, batch in turns:
        runs[name](batch)  # compiles, or chooses its kernels, for this shape
    for _ in range(ROUNDS):
        for name, batch in turns:
            began, done = clock(), 0
            while not done or clock() - began < SECONDS:
                runs[name](batch)
                done += len(batch)
            found[name][len(batch)].append(done / (clock() - began))
    return {name: {size: statistics.median(rates) for size, rates in sizes.items()} for name, sizes in found.items()}


def ratio(rates: Mapping[str, Mapping[int, float]]) -> float:
    """Return the best rate of the chosen engine divided by the best rate of the others."""
    others = [max(sizes.values()) for name, sizes in rates.items() if name != CHOSEN]
    return max(rates[CHOSEN].values()) / max(others)


def _prepare(architecture: str, folder: Path) -> tuple[dict[str, Run], list[torch.Tensor]]:
    """Return the engines of a network with random weights, and their inputs."""
    path = folder / "weights.safetensors"
    family = families.find(architecture)
    preprocessing = family.preprocessing(architecture)
    weights.write(family.build(architecture, material.LABELS, preprocessing.crop).state_dict(), path)
    plain = weights.restore(family, architecture, preprocessing, path.read_bytes(), {})
    inputs = [torch.randn(size, preprocessing.channels, *sides(preprocessing.crop)) for size in BATCHES]
    runs: dict[str, Run] = {
        CHOSEN: _pieces(limit.load(architecture, path)),
        "eager": plain,
        "compiled": _compiled(weights.restore(family, architecture, preprocessing, path.read_bytes(), {})),
        "onnxruntime": _onnx(plain, preprocessing, folder / "model.onnx"),
        "openvino": _openvino(plain, preprocessing),
    }
    return runs, inputs


def _pieces(model: Loaded) -> Run:
    """Return a run in the pieces in which a worker runs a batch."""
    size = len(model.trial_batch())
    return lambda batch: [model.run(piece) for piece in batch.split(size)]


def _compiled(network: nn.Module) -> Run:
    network = network.to(memory_format=torch.channels_last)
    run = torch.compile(network, dynamic=False)
    return lambda batch: run(batch.contiguous(memory_format=torch.channels_last))


def _onnx(network: nn.Module, preprocessing: Preprocessing, path: Path) -> Run:
    onnx_conversion.convert(network, preprocessing, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return lambda batch: session.run(None, {taken.name: batch.numpy()})


def _openvino(network: nn.Module, preprocessing: Preprocessing) -> Run:
    """Return the network as OpenVINO's documentation converts it, without the features that a worker needs as well."""
    openvino: Any = library()
    example = torch.randn(2, preprocessing.channels, *sides(preprocessing.crop))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the converter's own workings
        model = openvino.convert_model(network, example_input=example, input=[[-1, *example.shape[1:]]])
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(model, "CPU", options | {"ENABLE_CPU_PINNING": False})
    request = compiled.create_infer_request()
    return lambda batch: request.infer({0: batch.numpy()}, share_inputs=True)


if __name__ == "__main__":
    main()
