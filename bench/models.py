"""The models that are measured: registered, and warmed up until their runtime is chosen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from inferq.client import Client
from inferq.errors import InferqError

_LIMIT = 120.0
"""Seconds after which a model that is not ready is given up, and one whose runtime is not chosen is measured as it
is."""


@dataclass(frozen=True)
class Model:
    """The model of the comparison: registered in inferq, loaded from the file by the peers."""

    architecture: str
    weights: Path
    labels: Path
    pictures: Path
    """A folder of pictures to warm up with."""


def wait_for_workers(client: Client, count: int) -> None:
    """Wait until that many workers have started: a stack is ready with the first; raises InferqError."""
    until = time.monotonic() + _LIMIT
    while (running := len(client.workers.list().workers)) < count:
        if time.monotonic() > until:
            raise InferqError(f"{running} of {count} workers have started within {_LIMIT:g} s")
        time.sleep(0.2)


def register(client: Client, model: Model) -> str:
    """Register the model unless an earlier visit has, wait until it is ready, and return its name; raises
    InferqError."""
    name = f"bench-{model.architecture}"
    if name not in [known.name for known in client.models.list()]:
        client.models.upload(name, architecture=model.architecture, weights=model.weights, labels=model.labels)
    until = time.monotonic() + _LIMIT
    while (version := client.models.get_version(name, "1")).state != "ready":
        if version.state == "refused" or time.monotonic() > until:
            raise InferqError(f"the model is {version.state}: {version.reason}")
        time.sleep(0.2)
    return name


def warm_up(client: Client, name: str, folder: Path) -> None:
    """Send pictures until every worker has chosen its runtime: no conversion must run beside the measurement."""
    pictures = [path for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png")]
    until = time.monotonic() + _LIMIT
    while not _is_tuned(client, name) and time.monotonic() < until:
        for _ in range(4):
            client.jobs.classify(*pictures, model=name)


def _is_tuned(client: Client, name: str) -> bool:
    """Return True if every worker has chosen the runtime of the model."""
    version = client.models.get_version(name, "1")
    report = version.engine_report
    return report is not None and (version.engine or "").split()[0] == report.runtime and "," not in str(version.engine)
