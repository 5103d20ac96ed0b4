"""OpenVINO runs a network on the CPU faster than torch does; it is converted once, and taken only where it proves to be
equal and faster.

    plain network ──trace──> OpenVINO model, stored ──compile──> equal within 1e-3? faster? ──> serves

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
import math
import sys
import threading
import zipfile
from typing import Any

import numpy as np
import safetensors.torch
import torch

GRAPH, WEIGHTS, REFERENCE = "model.xml", "model.bin", "reference.safetensors"
"""The members of a stored network: OpenVINO's two files, and the answers of the plain network for some pictures."""
_TOLERANCE = 1e-3
"""Allowed difference from the plain network, as a fraction of the largest value."""


class OpenVinoNetwork:
    """A compiled network: pixels (N, channels, height, width) in, logits or features out, for one caller at a time."""

    def __init__(self, stored: bytes, threads: int) -> None:
        """Compile what a conversion stored; raises RuntimeError if this OpenVINO cannot read it."""
        openvino = library()
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            graph, values = archive.read(GRAPH), archive.read(WEIGHTS)
            self._reference = safetensors.torch.load(archive.read(REFERENCE))
        core = openvino.Core()
        model = core.read_model(graph, openvino.Tensor(np.frombuffer(values, np.uint8)))
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # else the first thread of every worker is pinned to the first core
        }
        self._request: Any = core.compile_model(model, "CPU", options).create_infer_request()
        self._alone = threading.Lock()
        self.bytes = len(values)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes)."""
        return self._run(pixels)[0]

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the input of the head (N, dimension), averaged over height and width if it is 4-D."""
        return self._run(pixels)[1]

    def difference(self) -> float:
        """Return the largest difference from the plain network, as a fraction of its largest logit or feature.

        It is infinite if an answer is not finite. The plain network's answers are then forgotten.
        """
        logits, features = self._run(self._reference["pixels"])
        pairs = ((logits, self._reference["logits"]), (features, self._reference["features"]))
        found = torch.stack(
            [(mine - plain).abs().max() / plain.abs().max().clamp(min=1e-12) for mine, plain in pairs]
        )  # not Python's max, which passes over NaN
        self._reference = {}
        return found.max().item() if torch.isfinite(found).all() else math.inf

    def _run(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        with self._alone:  # a request that is busy raises an error; torch's networks are run under a lock as well
            answers = self._request.infer({0: pixels.contiguous().numpy()}, share_inputs=True)
            return [torch.from_numpy(np.array(answer)) for answer in answers.values()]


def keeps_contract(difference: float) -> bool:
    """Return True if a difference is within rounding."""
    return difference <= _TOLERANCE


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
