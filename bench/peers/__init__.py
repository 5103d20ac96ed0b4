"""The peers: other ways to serve a model over HTTP, each with the best of what its documentation advises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """One peer: what is installed, what runs, and how a picture is sent to it."""

    name: str
    module: str
    """Below bench.peers.servers."""
    requirements: tuple[str, ...]
    path: str
    body: str
    """As `bench.ways.peer` takes it."""
    needs_redis: bool = False

    @property
    def distributions(self) -> list[str]:
        """The names whose versions are noted."""
        return [requirement.partition("[")[0] for requirement in self.requirements]


LITSERVE = Peer("LitServe", "litserve_server", ("litserve",), "/predict", "base64 image_data")
PEERS = (
    LITSERVE,
    Peer("Mosec", "mosec_server", ("mosec",), "/inference", "raw"),
    Peer("BentoML", "bentoml_server", ("bentoml",), "/classify", "form images"),
    Peer("Ray Serve", "ray_server", ("ray[serve]",), "/", "raw"),
    Peer("Flask + Celery", "flask_celery_server", ("flask", "celery[redis]", "gunicorn"), "/", "raw", needs_redis=True),
)
