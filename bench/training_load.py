"""The load of training, as a client sees it: a dataset is loaded, and models are trained on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import measure
from bench.measure import Pids
from bench.result import Step
from inferq.client import Client
from inferq.errors import InferqError, InferqHTTPError
from shared.schemas.datasets import Dataset
from shared.schemas.trainings import Training

LOADED = "archive loaded"
_LOOK = 0.1
"""Seconds between two polls of a dataset, which is ready in a few seconds."""
_PATIENCE = 60.0
"""Seconds for a trainer to begin with the archive; a service may have no trainer, and does not report that."""


class NoTrainer(Exception):
    """No trainer loads the dataset: the service has none, or it is busy."""


class TrainingLoad:
    """Training steps; `load` comes first. The end of the `with` block removes the models and the dataset."""

    def __init__(self, client: Client, base: str, pids: Pids, archive: Path) -> None:
        """`archive` is a tar of label folders, `pids` are the parts whose CPU is counted, as is this process's own."""
        self._client = client
        self._base = base
        self._pids = pids
        self._archive = archive
        self._dataset: int | None = None
        self._live: Training | None = None
        self._models: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()
        for name in self._models:
            self._client.models.remove(name)
        if self._dataset:
            with suppress(InferqHTTPError):  # one that no trainer has loaded stays: the report is worth more
                self._client.datasets.remove(self._dataset)

    def load(self) -> Step:
        """Upload the archive and wait until it can be trained on; raises NoTrainer, InferqError."""
        watch = _Stopwatch(self._pids)
        self._dataset = (dataset := self._client.datasets.create(f"{self._base}-lessons", self._archive)).id
        while dataset.state == "LOADING":
            if watch.seconds > _PATIENCE and not dataset.progress:
                raise NoTrainer(f"no trainer has loaded the dataset for {_PATIENCE:g} s: training is not measured")
            time.sleep(_LOOK)
            dataset = self._client.datasets.get(self._dataset)
        _require(dataset.state == "READY", dataset)
        return watch.step(LOADED)

    def train(self, name: str) -> Step:
        """Train another model with the default parameters; raises InferqError when that fails."""
        watch = _Stopwatch(self._pids)
        *_, training = self._client.trainings.stream(self._begin().id)
        _require(training.status == "DONE", training)
        evidence = training.evidence
        if evidence is None or training.started_at is None:
            raise InferqError(f"training {training.id} is DONE and has no evidence")
        created, started = (datetime.fromisoformat(when) for when in (training.created_at, training.started_at))
        stages = evidence.seconds | {"waiting": (started - created).total_seconds()}
        return watch.step(name, stages=stages, method=evidence.method, accuracy=evidence.accuracy)

    @contextmanager
    def training(self) -> Iterator[Callable[[], bool]]:
        """Run a long training during the block, then cancel it; yields a function that is true while it runs."""
        begun = self._begin(fine_tune="always")
        for now in self._client.trainings.stream(begun.id):
            _require(not now.terminal, now)
            if now.curve:  # the pictures have been read: the long part runs
                break
        yield lambda: not self._client.trainings.get(begun.id).terminal
        self._stop()

    def _begin(self, **parameters: Any) -> Training:
        self._stop()
        name = f"{self._base}-taught-{len(self._models) + 1}"
        self._live = self._client.trainings.start(self._dataset or "", name, base=self._base, **parameters)
        return self._live

    def _stop(self) -> None:
        """Cancel the active training; a model that it made is removed later."""
        if self._live:
            with suppress(InferqHTTPError):  # it has ended
                self._client.trainings.cancel(self._live.id)
            if self._client.trainings.get(self._live.id).status == "DONE":
                self._models.append(self._live.name)
        self._live = None


class _Stopwatch:
    """Time and CPU since its creation."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._before, self._own = measure.cpu_seconds(pids), time.process_time()
        self._machine = measure.machine_seconds()
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def step(self, name: str, **more: Any) -> Step:
        seconds, after = self.seconds, measure.cpu_seconds(self._pids)
        cpu = {part: after[part] - self._before[part] for part in after}
        ours = sum(cpu.values()) + time.process_time() - self._own
        others_cpu = max(0.0, measure.machine_seconds() - self._machine - ours)
        return Step(name, seconds, cpu, others_cpu / seconds, **more)


def _require(condition: bool, thing: Dataset | Training) -> None:
    if not condition:
        error = thing.error if isinstance(thing, Training) else ""
        raise InferqError(f"the benchmark cannot train: {error or thing.message or thing}")
