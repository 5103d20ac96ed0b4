"""The Celery apps of workers and trainers, and the schedule of maintenance; torch is not imported before the first
task."""

from __future__ import annotations

from celery import Celery

from shared.adapters.queue.notifications import MAINTENANCE_QUEUE, celery_app, training_app
from shared.settings import Settings, from_environment


def create_app(settings: Settings) -> Celery:
    """Create the Celery app with the tasks of tasks.py and the schedule of maintenance."""
    from worker import tasks

    app = celery_app(settings)
    tasks.register(app, settings)
    every = settings.sweep_every
    # A late run of maintenance is dropped, because the next run does the same work.
    app.conf.beat_schedule = {
        "sweep": {"task": "sweep", "schedule": every, "options": {"queue": MAINTENANCE_QUEUE, "expires": every}},
        "tidy": {"task": "tidy", "schedule": 300.0, "options": {"queue": MAINTENANCE_QUEUE, "expires": 300.0}},
    }
    return app


def create_trainer(settings: Settings) -> Celery:
    """Create a Celery app with the same tasks, on the broker of the trainings."""
    from worker import tasks

    app = training_app(settings)
    tasks.register(app, settings)
    return app


__all__ = ["create_app", "create_trainer", "from_environment"]
