"""Progress of a running training, as callers read it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from shared.container import Container
from shared.domain.trainings import Training
from shared.services import training_runs
from worker.training.cancellation import Cancellation

OFTEN = 0.5
"""Minimum seconds between two reports: a batch of pictures may take a millisecond."""


class TrainingProgress:
    """Reports the progress of one training, at most every OFTEN seconds.

    Every call raises Stopped, or TrainingEnded if the training was cancelled, so that a trainer stops soon.
    """

    def __init__(self, container: Container, training: Training, cancellation: Cancellation) -> None:
        self._container = container
        self._training_id = training.id
        self._cancellation = cancellation
        self._fraction, self._message = training.progress, training.message
        self._reported_at = 0.0

    def report(self, fraction: float, message: str) -> None:
        """Set the progress, from 0 to 1, and its message, and report both unless a report was just sent."""
        self._set(fraction, message)
        self.refresh()

    def refresh(self) -> None:
        """Repeat the last report unless that was just sent; to be called about every second within long steps."""
        self._cancellation.check()
        if time.monotonic() - self._reported_at >= OFTEN:
            self._send(None)

    def report_stored_epoch(self, fraction: float, message: str, curve: Sequence[Mapping[str, Any]]) -> None:
        """Report at once that a checkpoint was stored, with all epochs so far."""
        self._set(fraction, message)
        self._send(curve)
        self._cancellation.check()

    def _set(self, fraction: float, message: str) -> None:
        # A trainer that resumes repeats some steps; the reported progress must not decrease by that.
        self._fraction, self._message = max(self._fraction, fraction), message

    def _send(self, curve: Sequence[Mapping[str, Any]] | None) -> None:
        training_runs.report_progress(self._container, self._training_id, self._fraction, self._message, curve)
        self._reported_at = time.monotonic()
