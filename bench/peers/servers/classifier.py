"""The classifier as a user of torchvision writes it, with the settings of a peer's server."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

from PIL import Image

BATCH = 4
"""Most pictures in one batch. On a CPU, torch does most pictures per second with two to four of them: with 16 it is
slower by a third, which would put the peers at a disadvantage."""
WAIT = 0.001
"""Seconds that a batch waits for more pictures. The examples of the documentations have 10 ms and more, which costs a
single caller as much, and brings a saturated server nothing: there, pictures wait for the batch."""
PATIENCE = 60
"""Seconds after which a request may fail; a saturated server is slow and not broken."""
Answer = list[dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """What the benchmark decides."""

    port: int
    workers: int
    """Processes that run the model."""
    threads: int
    """Threads of torch in each of them."""
    architecture: str
    weights: str
    """Path of the .safetensors file; empty for a server that only reads the request."""
    redis_url: str
    """For the server that needs one."""


def settings() -> Settings:
    """Return the settings from the environment."""
    return Settings(
        port=int(os.environ["PEER_PORT"]),
        workers=int(os.environ["PEER_WORKERS"]),
        threads=int(os.environ["PEER_THREADS"]),
        architecture=os.environ["PEER_ARCHITECTURE"],
        weights=os.environ["PEER_WEIGHTS"],
        redis_url=os.environ["PEER_REDIS"],
    )


class Classifier:
    """A torchvision network with the transforms that belong to it; without weights it answers with a constant."""

    def __init__(self) -> None:
        self._weights = settings().weights
        if not self._weights:
            return
        import safetensors.torch
        import torch
        import torchvision

        torch.set_num_threads(settings().threads)
        architecture = settings().architecture
        state = safetensors.torch.load_file(self._weights)
        self._network = torchvision.models.get_model(architecture, weights=None).eval()
        self._network.load_state_dict(state)
        self._transforms = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()

    def prepare(self, data: bytes) -> Any:
        """Return the input of the network for the bytes of a picture."""
        return self.transform(Image.open(io.BytesIO(data))) if self._weights else data

    def transform(self, image: Image.Image) -> Any:
        """Return the input of the network for a picture, which is decoded only now."""
        return self._transforms(image.convert("RGB")) if self._weights else image

    def answer(self, inputs: list[Any]) -> list[Answer]:
        """Return the five likeliest classes of each picture."""
        if not self._weights:
            return [[{"class": 0, "score": 1.0}] for _ in inputs]
        import torch

        with torch.inference_mode():
            scores, classes = self._network(torch.stack(inputs)).softmax(dim=1).topk(5)
        rows = zip(scores.tolist(), classes.tolist(), strict=True)
        return [[{"class": c, "score": s} for s, c in zip(*row, strict=True)] for row in rows]
