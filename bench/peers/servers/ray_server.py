"""Ray Serve: a deployment with replicas, whose batches are formed by `serve.batch`."""

from __future__ import annotations

import signal
from typing import Any

import ray
from ray import serve

from bench.peers.servers.classifier import BATCH, WAIT, Answer, Classifier, settings


@serve.deployment(
    num_replicas=settings().workers,
    ray_actor_options={"num_cpus": settings().threads},
    max_ongoing_requests=4 * BATCH,  # more than a batch, else no batch is ever full
)
class Service:
    """The body of the request is the picture."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT)
    async def classify(self, pictures: list[bytes]) -> list[Answer]:
        """Return the answers of a batch."""
        return self._classifier.answer([self._classifier.prepare(picture) for picture in pictures])

    async def __call__(self, request: Any) -> Answer:
        """Answer one request."""
        return await self.classify(await request.body())


if __name__ == "__main__":
    # Ray counts CPUs that a deployment asks for, and the proxy needs none of them.
    ray.init(num_cpus=settings().workers * settings().threads, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": settings().port})
    serve.run(Service.bind())  # type: ignore[attr-defined]  # mypy does not see what the decorator makes of it
    signal.pause()
