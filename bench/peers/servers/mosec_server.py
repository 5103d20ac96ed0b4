"""Mosec: the body of the request is the picture, and a stage of its own runs the model in batches."""

from __future__ import annotations

import os
from typing import Any

import mosec

from bench.peers.servers.classifier import BATCH, PATIENCE, WAIT, Answer, Classifier, settings


class Inference(mosec.Worker):
    """Decodes the pictures of a batch and runs it."""

    def __init__(self) -> None:
        super().__init__()
        self._classifier = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        """Return the picture."""
        return data

    def forward(self, data: list[bytes]) -> list[Answer]:
        """Return the answers of a batch."""
        inputs: list[Any] = [self._classifier.prepare(picture) for picture in data]
        return self._classifier.answer(inputs)


if __name__ == "__main__":
    os.environ |= {"MOSEC_PORT": str(settings().port), "MOSEC_ADDRESS": "127.0.0.1", "MOSEC_LOG_LEVEL": "warning"}
    os.environ["MOSEC_TIMEOUT"] = str(1000 * PATIENCE)
    server = mosec.Server()
    server.append_worker(
        Inference, num=settings().workers, max_batch_size=BATCH, max_wait_time=int(1000 * WAIT), timeout=PATIENCE
    )
    server.run()
