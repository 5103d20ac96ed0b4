"""The Celery tasks, a few lines each: workers consume and check, trainers train and load, maintenance does the rest.

torch is imported inside the tasks that need it, so that the maintenance process never loads it.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from celery import Celery

from shared.adapters.queue.notifications import CONSUME
from shared.container import Container, build
from shared.settings import Settings
from worker.delivery import Deliverer

if TYPE_CHECKING:
    from worker.process import WorkerProcess
    from worker.trainer import Trainer


class ProcessResources:
    """The container, and the worker, trainer or deliverer, of one process; each is built on first use."""

    def __init__(self, settings: Settings, *, is_maintenance: bool = False) -> None:
        self.settings = settings
        self._is_maintenance = is_maintenance

    @cached_property
    def container(self) -> Container:
        """The container of the process."""
        return build(self.settings, is_small=self._is_maintenance)

    @cached_property
    def worker(self) -> WorkerProcess:
        """The worker of the process."""
        from worker.process import WorkerProcess

        return WorkerProcess(self.container)

    @cached_property
    def trainer(self) -> Trainer:
        """The trainer of the process."""
        from worker.trainer import Trainer

        return Trainer(self.container)

    @cached_property
    def deliverer(self) -> Deliverer:
        """The deliverer of the process."""
        return Deliverer(self.container)


def register(app: Celery, settings: Settings, *, is_maintenance: bool = False) -> ProcessResources:
    """Define the tasks on the app; returns the resources that they share."""
    process = ProcessResources(settings, is_maintenance=is_maintenance)
    app.process = process

    @app.task(name=CONSUME)
    def consume(version_id: str) -> None:
        from worker import consumer

        consumer.consume(process.worker, version_id)

    @app.task(name="check")
    def check(version_id: str) -> None:
        from worker import model_check

        # In a separate thread: a check may download for minutes, and pictures are run meanwhile.
        threading.Thread(target=model_check.check, args=(process.worker, version_id), name="check", daemon=True).start()

    app.task(name="check_import")(check.run)
    app.task(name="check_with_rule")(check.run)

    @app.task(name="export")
    def export(version_id: str) -> None:
        from worker import model_export

        # In a separate thread: a conversion takes up to minutes, and pictures are run meanwhile.
        threading.Thread(
            target=model_export.export, args=(process.worker, version_id), name="export", daemon=True
        ).start()

    @app.task(name="fit_rejection")
    def fit_rejection(version_id: str) -> None:
        from worker import rejection_fit

        # In a separate thread: thousands of pictures take a minute, and those of jobs are run between them.
        threading.Thread(
            target=rejection_fit.fit_requested, args=(process.worker, version_id), name="fit", daemon=True
        ).start()

    @app.task(name="measure_reference")
    def measure_reference(version_id: str) -> None:
        from worker import drift_reference

        # In a separate thread, for the same reason.
        threading.Thread(
            target=drift_reference.measure_requested, args=(process.worker, version_id), name="reference", daemon=True
        ).start()

    @app.task(name="train")
    def train() -> None:
        process.trainer.wake_training()

    @app.task(name="load")
    def load() -> None:
        process.trainer.wake_errands()

    @app.task(name="sweep")
    def leave_to_schedule() -> None:
        """Do nothing: only maintenance of a version before sends this, during an upgrade; see schedule.py."""

    app.task(name="tidy")(leave_to_schedule.run)

    @app.task(name="deliver")
    def deliver() -> None:
        process.deliverer.deliver()

    return process
