"""Cancellation: the reasons for which a trainer stops working on a training before it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared import errors
from shared.domain.trainings import Training


class Stopped(Exception):
    """This trainer must stop, or another trainer has taken over the training: all work on it is dropped."""


class OutOfTime(errors.Conflict):
    """Its max_seconds were over before anything was learned; give it more."""


class Cancellation:
    """Stop of the trainer, loss of the training's lock, and end of the training's time.

    A cancellation by the caller is found by the next report of progress instead, which raises TrainingEnded.
    """

    def __init__(
        self, training: Training, now: Callable[[], float], stopping: threading.Event, lost: threading.Event
    ) -> None:
        """`now` is the clock in Unix seconds; `stopping` is set when this trainer must stop, `lost` when another
        trainer has the training."""
        self._training = training
        self._now = now
        self._stopping = stopping
        self._lost = lost

    @property
    def out_of_time(self) -> bool:
        """True if `max_seconds` have passed since the training started."""
        return self._training.is_over(self._now())

    @property
    def stops_with_lock(self) -> bool:
        """True if this trainer must stop and still has the lock: then it stores a checkpoint for the next trainer."""
        return self._stopping.is_set() and not self._lost.is_set()

    def check(self) -> None:
        """Raise Stopped if this trainer must stop or has lost the training."""
        if self._stopping.is_set() or self._lost.is_set():
            raise Stopped
