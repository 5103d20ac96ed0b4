"""A conversion turns the network of a version into another form, in a process of its own.

While torch traces a network no other may run in the same process, so serving would stop for seconds or minutes, and the
watchdog would end the worker. The process gets a folder with what the version stores, and puts the result into it, or
the reason for which there is none.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from shared import errors
from shared.container import Container
from shared.domain.models import ModelVersion
from shared.domain.preprocessing import Preprocessing, from_values, to_values
from worker import families, scratch, weights

log = logging.getLogger(__name__)

JOB, WEIGHTS, EXAMPLE, FAILURE = "job.json", "weights.safetensors", "example.png", "failure.txt"
_PICTURES = "picture-*"
_ONE_BY_ONE = threading.Lock()
"""A conversion takes more memory than serving the network does, so a worker runs one at a time."""
_SECONDS = 1800.0
"""Seconds that a conversion may take; the largest networks take some minutes."""
_POLITE = 10
"""Added to the niceness of the process, so that it does not slow down the pictures that run meanwhile."""


class Interrupted(errors.Conflict):
    """The process of a conversion was killed or found no room; the network may be convertible all the same."""


def run(container: Container, version: ModelVersion, module: str, result: str, pictures: Iterable[bytes] = ()) -> bytes:
    """Run `python -m module FOLDER` for a version, and return the file `result`; `pictures` are those of the version
    that the job has. Raises Conflict with the reason, Interrupted, Unavailable."""
    if version.preprocessing is None or version.example is None:
        raise errors.Conflict("it has no example that the result could be compared with; import it again")
    job = {
        "family": version.family,
        "architecture": version.architecture,
        "config": dict(version.config),
        "preprocessing": to_values(version.preprocessing),
        "logits": list(version.example.logits),
        "threads": container.settings.torch_threads,
    }
    with scratch.folder() as folder:
        (folder / JOB).write_text(json.dumps(job))
        (folder / EXAMPLE).write_bytes(container.storage.read(version.example.blob))
        container.storage.fetch_to(version.weights, str(folder / WEIGHTS))
        for number, picture in enumerate(pictures):
            (folder / _PICTURES.replace("*", f"{number:04d}")).write_bytes(picture)
        command = [sys.executable, "-m", module, str(folder)]
        root = Path(__file__).parent.parent
        with _ONE_BY_ONE:
            done = subprocess.run(command, cwd=root, capture_output=True, timeout=_SECONDS, check=False)
        if done.returncode:
            log.warning("%s of %s: %s", module, version.name, done.stderr.decode(errors="replace")[-2000:])
            failure = folder / FAILURE
            if failure.exists():
                raise errors.Conflict(failure.read_text())
            raise Interrupted(f"the conversion ended with {done.returncode}")
        return (folder / result).read_bytes()


class Job:
    """The version in the folder of a conversion, as its process reads it."""

    def __init__(self, folder: Path) -> None:
        job = json.loads((folder / JOB).read_text())
        torch.set_num_threads(job["threads"])
        self.preprocessing: Preprocessing = from_values(job["preprocessing"])
        self.logits: list[float] = job["logits"]
        self.example: bytes = (folder / EXAMPLE).read_bytes()
        self.pictures: list[bytes] = [path.read_bytes() for path in sorted(folder.glob(_PICTURES))]
        self._values, self._folder = job, folder

    def network(self) -> nn.Module:
        """Return the plain network on the CPU; raises BadWeights, BadOption."""
        job = self._values
        family = families.load(job["family"])
        data = (self._folder / WEIGHTS).read_bytes()
        return weights.restore(family, job["architecture"], self.preprocessing, data, job["config"])


def main(work: Callable[[Job, Path], None]) -> NoReturn:
    """Run `work` for the folder on the command line, as the main function of a process, and exit."""
    os.nice(_POLITE)
    sys.exit(attempt(work, Path(sys.argv[1])))


def attempt(work: Callable[[Job, Path], None], folder: Path) -> int:
    """Run `work` for the job in the folder; returns the exit code of the process."""
    try:
        work(Job(folder), folder)
    except errors.InferqError as error:
        (folder / FAILURE).write_text(error.message)
        return 1
    return 0
