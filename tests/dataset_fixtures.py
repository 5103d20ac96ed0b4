"""Fixtures for tests of datasets, trainings and promotions: a container without a broker, pictures, versions."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fakeredis
import sqlalchemy as sa
import uuid6
from limits.storage import MemoryStorage
from PIL import Image

from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.container import Container, own_storage
from shared.domain.datasets import Dataset, DatasetExample, Source, Split
from shared.domain.models import ModelState, ModelVersion, trained_weights_key
from shared.domain.pictures import Limits, Picture
from shared.domain.trainings import SCRATCH, Training, TrainingRequest, plot_key
from shared.imaging import images
from shared.services import datasets, training_runs, trainings
from shared.settings import Settings

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)
NOW = 1_800_000_000.0
SIDE = {"accuracy": 0.5, "macro_f1": 0.5, "per_label": [], "milliseconds": 1.0}
REPORT = {
    "pictures": 2,
    "left_out": 0,
    "agreement": 0.5,
    "candidate": {**SIDE, "version": ""},
    "baseline": {**SIDE, "version": "1"},
}

EVIDENCE = {"accuracy": 0.9, "method": "head", "curve": [{"epoch": 1}]}


@dataclass
class Ground:
    """A container with a clock that tests put forward, and the tasks that were sent."""

    container: Container
    sent: list[tuple[str, ...]]

    def dataset(self, counts: Mapping[str, int] | None = None, tenant: str = "anna", name: str = "fruit",
                split: Split = Split.OPEN, source: Source = Source.UPLOAD) -> Dataset:  # fmt: skip
        """Store a READY dataset with so many pictures of each label, in one blob."""
        counts = {"pear": 3, "plum": 3} if counts is None else counts
        dataset = datasets.create(self.container, tenant, name, labels=list(counts))
        names = [label for label, count in counts.items() for _ in range(count)]
        blob = f"datasets/{dataset.id}/{uuid6.uuid7()}"
        self.container.storage.write(blob, b"?" * len(names))
        numbered = dict(zip(counts, range(1, len(counts) + 1), strict=True))
        with self.container.database.write() as uow:
            uow.datasets.add_examples([
                DatasetExample(dataset.id, number, numbered[label], label, f"{number}.png", split, source,
                        hashlib.sha256(f"{name} {number}".encode()).hexdigest(), blob, number - 1, 1, 1, NOW)
                for number, label in enumerate(names, 1)
            ])  # fmt: skip
            uow.datasets.save(replace(dataset, last_example=len(names)))
        return self.again(dataset)

    def again(self, dataset: Dataset) -> Dataset:
        return datasets.get(self.container, dataset.tenant, dataset.id)

    def ids(self, dataset: Dataset, version: int | None = None) -> list[int]:
        """Return the ids of a dataset's examples, in its current version or the given one."""
        current = self.again(dataset)
        with self.container.database.read() as uow:
            return [
                example.id for example in uow.datasets.examples(replace(current, version=version or current.version))
            ]

    def blobs(self, dataset: Dataset) -> list[str]:
        return self.container.storage.list(f"datasets/{dataset.id}")

    def version(self, name: str, number: str = "1", tenant: str = "anna", **about: Any) -> ModelVersion:
        """Store a READY version, which is the default if its number is 1."""
        fields: dict[str, Any] = {"is_default": number == "1", "labels": ("pear", "plum"), "state": ModelState.READY}
        fields |= {"family": "torchvision", "architecture": "resnet18", "created_at": NOW + float(number)}
        version = ModelVersion(str(uuid6.uuid7()), tenant, name, number, **fields | about)
        with self.container.database.write() as uow:
            uow.model_versions.add(version)
        return version

    def versions(self, name: str, tenant: str = "anna") -> dict[str, ModelVersion]:
        with self.container.database.read() as uow:
            return {version.version: version for version in uow.model_versions.named(tenant, name)}

    def submit(self, dataset: Dataset, name: str = "fruits", **about: Any) -> Training:
        request = TrainingRequest(dataset.id, name, **{"base": SCRATCH} | about)
        return trainings.submit(self.container, dataset.tenant, request)

    def see(self, training: Training) -> Training:
        return trainings.get(self.container, training.tenant, training.id)

    def finish(self, training: Training, report: Mapping[str, Any] | None = REPORT) -> ModelVersion:
        """End a training that has begun, with a new version, as a trainer does."""
        version = ModelVersion(
            training.id,
            training.tenant,
            training.name,
            "",
            "torchvision",
            "resnet18",
            ModelState.READY,
            NOW,
            labels=("pear", "plum"),
            source="",
            weights=trained_weights_key(training.id, "0123"),
            training_id=training.id,
        )
        self.container.storage.write(version.weights, b"weights")
        self.container.storage.write(plot_key(training.id, "curve.svg"), b"<svg/>")
        return training_runs.finish(self.container, training, version, EVIDENCE, report)

    def trained(self, dataset: Dataset, name: str = "fruits", **about: Any) -> ModelVersion:
        """Submit, begin and finish a training; return its version."""
        return self.finish(training_runs.begin(self.container, self.submit(dataset, name, **about)))

    def statements(self, ask: Callable[[], object]) -> list[tuple[str, Any]]:
        """Return the SQL statements that the function sends, with their parameters."""
        statements: list[tuple[str, Any]] = []

        def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        sa.event.listen(self.container.database.engine, "before_cursor_execute", hear)
        try:
            ask()
        finally:
            sa.event.remove(self.container.database.engine, "before_cursor_execute", hear)
        return statements


def on(database: Database, folder: Path) -> Ground:
    """Return a container on that database, fakeredis and a folder, without a broker."""
    settings = Settings(storage_url=f"file://{folder}/blobs", max_attempts=3)
    queue = Queue(settings, fakeredis.FakeRedis(decode_responses=True))
    sent: list[tuple[str, ...]] = []

    def call(*task: str) -> bool:
        sent.append(task)
        return True

    queue.notifications.send_task = call  # type: ignore[method-assign, assignment]
    ticks = iter(range(10**6))
    container = Container(
        database=database,
        queue=queue,
        storage=own_storage(settings, database),
        now=lambda: NOW + next(ticks),  # never twice the same time
        settings=settings,
        waiters=Waiters(queue),
        rate_limits=RateLimits(settings, MemoryStorage()),
    )
    container.storage.ping()  # marks it, as the setup of a stack does
    return Ground(container, sent)


def picture(number: int) -> Picture:
    """Return a picture, a different one for each number."""
    file = io.BytesIO()
    Image.new("L", (8, 8), number).save(file, "PNG")
    return images.check(f"{number}.png", file.getvalue(), LIMITS)


def at_once(*steps: Callable[[], object]) -> list[object]:
    """Run the steps at the same time; return what each returned or raised."""
    outcomes: list[object] = [None] * len(steps)
    gate = threading.Barrier(len(steps))

    def run(number: int, step: Callable[[], object]) -> None:
        gate.wait(10)
        try:
            outcomes[number] = step()
        except Exception as error:  # noqa: BLE001
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=step) for step in enumerate(steps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes
