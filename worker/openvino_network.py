"""OpenVINO runs a network on the CPU faster than torch does; it is converted once, and taken only where it proves to be
equal and faster.

    plain network ──trace──> OpenVINO model, stored ──compile──> same answers? faster? ──> serves

Images per second of one thread (AVX-512, float32, batches of four, in one run):

                              torch, fused and packed    OpenVINO
    tf_efficientnet_lite0                          72         197
    mobilenet_v2                                  175         224
    resnet50                                       21          25
    squeezenet1_1                                 198         229
    vit_b_16                                      2.6         5.9
"""

from __future__ import annotations

import importlib.util
import io
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import safetensors.torch
import torch

from shared.domain.engines import EngineErrors
from shared.domain.preprocessing import Preprocessing
from worker import engine_examples, preprocess

GRAPH, WEIGHTS, EXAMPLES = "model.xml", "model.bin", "examples.safetensors"
"""The members of a stored network: OpenVINO's two files, and the example set with the answers of the plain network."""
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_PIECE = 4
"""Pictures of the example set that run at once, as many as when it serves."""


class OpenVinoNetwork:
    """A compiled network: pixels (N, channels, height, width) in, logits, features or BOTH out, for one caller at a
    time."""

    def __init__(self, stored: bytes, threads: int, numbers: str = "float32") -> None:
        """Compile what a conversion stored, to compute with `float32` or `bfloat16`; raises RuntimeError if this
        OpenVINO cannot read it."""
        openvino = library()
        self.numbers = numbers
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            graph, values = archive.read(GRAPH), archive.read(WEIGHTS)
        core = openvino.Core()
        model = core.read_model(graph, openvino.Tensor(np.frombuffer(values, np.uint8)))
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[numbers],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # else the first thread of every worker is pinned to the first core
        }
        self._request: Any = core.compile_model(model, "CPU", options).create_infer_request()
        self._alone = threading.Lock()
        self.bytes = len(values)

    def __call__(self, pixels: torch.Tensor, task: str = "classify") -> torch.Tensor:
        """Return logits (N, classes); or features, the input of the head (N, dimension), averaged over height and width
        if it is 4-D; or BOTH."""
        logits, features = self._run(pixels)
        return logits if task == "classify" else features if task == "features" else torch.cat([logits, features], 1)

    def errors(
        self, examples: Examples, scores: Callable[[torch.Tensor], torch.Tensor], *, scaled: bool = False
    ) -> EngineErrors:
        """Return what this network changes on the example set; `scaled` takes the crops of JPEGs that were decoded to a
        smaller size, and `scores` computes scores of logits."""
        found = [self._run(piece) for piece in examples.pieces(scaled=scaled)]
        logits, features = (torch.cat(parts) for parts in zip(*found, strict=True))
        return engine_examples.errors((logits, features), (examples.logits, examples.features), scores)

    def _run(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        with self._alone:  # a request that is busy raises an error; torch's networks are run under a lock as well
            answers = self._request.infer({0: pixels.contiguous().numpy()}, share_inputs=True)
            return [torch.from_numpy(np.array(answer)) for answer in answers.values()]


class Examples:
    """The example set of a version with the plain network's answers, as its conversion stored it."""

    def __init__(self, stored: bytes, preprocessing: Preprocessing) -> None:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            self._tensors = safetensors.torch.load(archive.read(EXAMPLES))
        self._preprocessing = preprocessing
        self.logits, self.features = self._tensors["logits"], self._tensors["features"]

    def __len__(self) -> int:
        return len(self.logits)

    def pieces(self, *, scaled: bool) -> Iterator[torch.Tensor]:
        """Yield normalised pictures (N, channels, height, width), as many as run at once."""
        for piece in self._tensors["scaled" if scaled else "full"].split(_PIECE):
            yield preprocess.normalise(piece, self._preprocessing)


def has_bfloat16() -> bool:
    """Return True if OpenVINO computes with bfloat16 on this processor, rather than emulates it."""
    return "BF16" in library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def library() -> Any:
    """Import OpenVINO without its telemetry, which reports each import and conversion to its maker over the network.

    Without that package OpenVINO uses a stand-in of its own. An environment variable to the same effect does not exist,
    and the file by which a user refuses lies in the user's home.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # such an entry makes imports fail
    import openvino

    return openvino


def version() -> str:
    """Return the version of OpenVINO, `2026.4.1`; its files are made again for each."""
    from importlib import metadata

    return metadata.version("openvino")


def is_available() -> bool:
    """Return True if OpenVINO is installed; it has no wheels for some machines."""
    return importlib.util.find_spec("openvino") is not None
