"""LitServe: batching, several workers per device, and the fast queue, as its documentation advises."""

from __future__ import annotations

import base64
from typing import Any

import litserve

from bench.peers.servers.classifier import BATCH, PATIENCE, WAIT, Answer, Classifier, settings


class Service(litserve.LitAPI):
    """One picture per request, in base64, as in the documentation's guide to fast servers."""

    def setup(self, device: str) -> None:
        """Load the model; LitServe calls this in each worker."""
        self._classifier = Classifier()

    # LitServe takes annotations of the next function and of `encode_response` for types that it has to check.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """Return the input of the network."""
        return self._classifier.prepare(base64.b64decode(request["image_data"]))

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Return the inputs as they are; the classifier stacks them."""
        return inputs

    def predict(self, inputs: list[Any]) -> list[Answer]:
        """Return the answers of a batch."""
        return self._classifier.answer(inputs)

    def unbatch(self, answers: list[Answer]) -> list[Answer]:
        """Return the answers, one for each request."""
        return answers

    def encode_response(self, answer):  # type: ignore[no-untyped-def]
        """Return the body of the response."""
        return {"predictions": answer}


if __name__ == "__main__":
    service = Service(max_batch_size=BATCH, batch_timeout=WAIT)
    server = litserve.LitServer(
        service, accelerator="cpu", workers_per_device=settings().workers, timeout=PATIENCE, fast_queue=True
    )
    server.run(host="127.0.0.1", port=settings().port, generate_client_file=False, log_level="warning")
