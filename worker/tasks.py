"""The doors of the workers, a few lines each: drain and check for those with models, train and load for the trainers,
the rest for the housekeeper."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from celery import Celery

from shared import sweep
from shared.settings import Settings
from shared.tools import Tools, build

if TYPE_CHECKING:
    from worker.runner import Runner
    from worker.trainer import Trainer


class Process:
    """What one worker process has, made when it is first needed: the housekeeper never loads torch."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.missing: frozenset[str] = frozenset()

    @cached_property
    def tools(self) -> Tools:
        return build(self.settings)

    @cached_property
    def runner(self) -> Runner:
        from worker.runner import Runner

        return Runner(self.tools)

    @cached_property
    def trainer(self) -> Trainer:
        from worker.trainer import Trainer

        return Trainer(self.tools)


def register(app: Celery, settings: Settings) -> Process:
    """Define the tasks on the app; the process object they share."""
    process = Process(settings)
    app.process = process

    @app.task(name="drain")
    def drain(version_id: str) -> None:
        process.runner.drain(version_id)

    @app.task(name="check")
    def check(version_id: str) -> None:
        process.runner.check(version_id)

    @app.task(name="train")
    def train() -> None:
        process.trainer.train()

    @app.task(name="load")
    def load() -> None:
        process.trainer.load()

    @app.task(name="sweep")
    def run_sweep() -> None:
        process.missing = sweep.sweep(process.tools, process.missing)

    @app.task(name="tidy")
    def tidy() -> None:
        sweep.tidy(process.tools)

    @app.task(name="deliver")
    def deliver() -> None:
        from worker import delivery

        delivery.deliver(process.tools)

    return process
