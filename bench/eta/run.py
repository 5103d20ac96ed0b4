"""One measurement of `eta` in its order: for each model what the service bears, then a steady backlog of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import material
from bench.eta.result import Accuracy, Look, Steady
from bench.models import Model, register, wait_for_workers, warm_up
from bench.service import Service, measure_own
from inferq.client import Client
from inferq.errors import InferqError
from inferq.stack import stack

LIGHT = "digits"
"""The catalogue's smallest model, whose batches are over in milliseconds."""
BACKLOG = 12.0
"""Seconds of work that wait in the steady load."""
AT_ONCE = 16
"""Jobs that make up the backlog."""
LOOK_EVERY = 1.5
"""Seconds between two looks at a job."""
SETTLED = 8.0
"""Seconds at the beginning of a load in which no look counts: the workers' rates are of other batches."""
TRIED = 100
"""Pictures by which the rate is found."""
_MOST = 2000
"""Most pictures of a job."""
_GIVEN_UP = 300.0
"""Seconds after the load in which its jobs must have ended."""


@dataclass
class _Watched:
    """A job that has not ended, and what it was told so far: (stage, Unix seconds, told)."""

    look_at: float
    looks: list[tuple[str, float, float | None]] = field(default_factory=list)

    def add(self, stage: str, eta: str | None) -> None:
        now = time.time()  # `eta` is a time of the service, which runs on this machine
        self.looks.append((stage, now, _unix(eta) - now if eta else None))
        self.look_at = now + LOOK_EVERY


def measure(
    result: Accuracy, model: Model, seconds: float, scratch: Path, say: Callable[[str], None]
) -> Accuracy:  # fmt: skip
    """Start a stack in the folder, load it for `seconds` with each model, fill the result in, and return it.

    Raises InferqError and KeyboardInterrupt.
    """
    options = stack.StackOptions(scratch / "data", port=0, workers=result.workers, default_model=LIGHT)
    light = sorted(material.DIGITS.glob("*.png"))
    heavy = sorted(model.pictures.glob("*.jpg"))

    def measured(service: Service) -> Accuracy:
        with Client(service.url, service.key, timeout=120.0) as client:
            wait_for_workers(client, result.workers)
            # Warm up first: a model may get a faster engine soon after it is loaded, and `eta` went by the old rate.
            for name, folder, pictures in (
                (LIGHT, material.DIGITS, light), (register(client, model), model.pictures, heavy),
            ):  # fmt: skip
                say(f"warming {name} up, until its engine is chosen")
                warm_up(client, name, folder)
                result.steady.append(_steady(client, name, pictures, seconds, scratch, say))
        return result

    say("starting the service")
    return measure_own(options, measured)


def _steady(
    client: Client, model: str, pictures: Sequence[Path], seconds: float, scratch: Path, say: Callable[[str], None]
) -> Steady:
    archive = scratch / "job.tar"
    rate = 0.0
    for _ in range(2):  # the first also loads the model
        material.archive(archive, list(pictures), TRIED)
        began = time.monotonic()
        client.jobs.wait(client.jobs.submit(archive, model=model), timeout=_GIVEN_UP)
        rate = TRIED / (time.monotonic() - began)
    count = min(_MOST, max(1, round(rate * BACKLOG / AT_ONCE)))
    say(f"{model}: about {rate:.0f} pictures/s; {AT_ONCE} jobs of {count} pictures wait or run for {seconds:g} s")
    material.archive(archive, list(pictures), count)
    steady = Steady(model, 0.0, count, AT_ONCE)
    load = _Load(client, model, archive)
    began = time.time()
    ended = load.run(began + seconds)
    for finished_at, looks in ended:
        steady.looks += [
            Look(stage, asked - began, told, finished_at - asked)
            for stage, asked, told in looks
            if asked >= began + SETTLED and finished_at > asked
        ]
    within = sum(began + SETTLED <= finished_at < began + seconds for finished_at, _ in ended)
    steady.rate = within * count / max(1.0, seconds - SETTLED)
    return steady


class _Load:
    """Jobs that are sent so that always AT_ONCE of them wait or run, and looked at until they end."""

    def __init__(self, client: Client, model: str, archive: Path) -> None:
        self._client, self._model, self._archive = client, model, archive
        self._live: dict[str, _Watched] = {}

    def run(self, until: float) -> list[tuple[float, Sequence[tuple[str, float, float | None]]]]:
        """Send jobs until a time (Unix seconds) and look at them until the last has ended; return when each ended, and
        what it was told before. Raises InferqError."""
        ended: list[tuple[float, Sequence[tuple[str, float, float | None]]]] = []
        while self._live or time.time() < until:
            if time.time() > until + _GIVEN_UP:
                raise InferqError(f"{len(self._live)} jobs have not ended {_GIVEN_UP:g} s after the load")
            while len(self._live) < AT_ONCE and time.time() < until:
                self._submit()
            for job_id, watched in list(self._live.items()):
                if watched.look_at <= time.time() and (finished_at := self._look(job_id, watched)):
                    ended.append((finished_at, watched.looks))
                    del self._live[job_id]
            time.sleep(0.02)
        return ended

    def _submit(self) -> None:
        job = self._client.jobs.submit(self._archive, model=self._model)
        self._live[job.id] = watched = _Watched(0.0)
        watched.add("submitted", job.eta)

    def _look(self, job_id: str, watched: _Watched) -> float | None:
        """Record the job's present `eta`, or return the time at which the job ended (Unix seconds).

        Raises InferqError if it has failed.
        """
        job: Any = self._client.jobs.get(job_id)
        if not job.terminal:
            watched.add(job.status, job.eta)
            return None
        if job.status != "DONE":
            raise InferqError(f"job {job_id} is {job.status}: {job.error}")
        return _unix(job.finished_at)


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
