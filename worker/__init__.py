"""The Celery app of the workers, and its schedule; torch is not loaded before the first drain."""

from __future__ import annotations

from celery import Celery

from shared.adapters.queue.notifications import MAINTENANCE_QUEUE, celery_app, training_app
from shared.settings import Settings, from_environment


def create_app(settings: Settings) -> Celery:
    """Celery with the doors of tasks.py and the housekeeper's schedule."""
    from worker import tasks

    app = celery_app(settings)
    tasks.register(app, settings)
    every = settings.sweep_every
    # A sweep that could not run in time is worthless: the next one does the same.
    app.conf.beat_schedule = {
        "sweep": {"task": "sweep", "schedule": every, "options": {"queue": MAINTENANCE_QUEUE, "expires": every}},
        "tidy": {"task": "tidy", "schedule": 300.0, "options": {"queue": MAINTENANCE_QUEUE, "expires": 300.0}},
    }
    return app


def create_trainer(settings: Settings) -> Celery:
    """Celery with the same doors, on the broker of the trainings."""
    from worker import tasks

    app = training_app(settings)
    tasks.register(app, settings)
    return app


__all__ = ["create_app", "create_trainer", "from_environment"]
