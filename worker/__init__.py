"""The Celery apps of workers, trainers and maintenance; torch is not imported before the first task."""

from __future__ import annotations

from celery import Celery

from shared.adapters.queue.notifications import celery_app, training_app
from shared.settings import Settings, from_environment


def create_app(settings: Settings, *, is_maintenance: bool = False) -> Celery:
    """Create the Celery app with the tasks of tasks.py, for a worker or for maintenance."""
    from worker import tasks

    app = celery_app(settings)
    tasks.register(app, settings, is_maintenance=is_maintenance)
    return app


def create_trainer(settings: Settings) -> Celery:
    """Create a Celery app with the same tasks, on the broker of the trainings."""
    from worker import tasks

    app = training_app(settings)
    tasks.register(app, settings)
    return app


__all__ = ["create_app", "create_trainer", "from_environment"]
