"""BentoML: a batchable API, whose size and window adapt to the load, in several workers."""

from __future__ import annotations

import os
import sys

import bentoml
from PIL.Image import Image

from bench.peers.servers.classifier import BATCH, PATIENCE, Answer, Classifier, settings


@bentoml.service(workers=settings().workers, traffic={"timeout": PATIENCE}, logging={"access": {"enabled": False}})
class Service:
    """Answers a request that carries a list of pictures; the server joins the lists of several requests."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=1000 * PATIENCE)
    def classify(self, images: list[Image]) -> list[Answer]:
        """Return the answers of a batch."""
        return self._classifier.answer([self._classifier.transform(image) for image in images])


if __name__ == "__main__":
    where = ("bench.peers.servers.bentoml_server:Service", "--host", "127.0.0.1", "--port", str(settings().port))
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", *where])
