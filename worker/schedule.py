"""The schedule of maintenance runs its steps again and again, each in a thread of the maintenance process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shared import errors
from shared.container import Container
from shared.services import history, maintenance

log = logging.getLogger(__name__)

GARBAGE_EVERY = 300.0
"""Seconds between two collections of garbage."""


class Schedule:
    """Reconciles every `sweep_every` seconds, collects garbage every GARBAGE_EVERY seconds, and samples the queue every
    SAMPLED_EVERY seconds for the history.

    Celery's beat was rejected: it is a child process, which goes on after its parent was killed; when the wall clock is
    set back it waits until that time has passed again; and while a run lasts it sends others.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._stopping = threading.Event()
        self._missing: frozenset[str] = frozenset()
        steps = (
            (container.settings.sweep_every, self._reconcile),
            (history.SAMPLED_EVERY, self._sample),
            (GARBAGE_EVERY, self._collect_garbage),
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=step, name=step[1].__name__.strip("_"), daemon=True)
            for step in steps
        ]

    def start(self) -> None:
        """Start the threads, which run their step at once for the first time."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 20.0) -> None:
        """Begin no further step; returns when the running ones have ended, or after `seconds`."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(seconds / len(self._threads))

    def _reconcile(self) -> None:
        self._missing = maintenance.reconcile(self._container, self._missing)

    def _sample(self) -> None:
        history.sample(self._container)

    def _collect_garbage(self) -> None:
        maintenance.collect_garbage(self._container)

    def _repeat(self, every: float, step: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                step()
            except errors.Unavailable as error:
                log.warning("%s: %s", step.__name__.strip("_"), error.message)
            except Exception:  # the next run tries again
                log.exception(step.__name__.strip("_"))
            self._stopping.wait(every)
