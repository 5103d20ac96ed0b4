"""The contestants: each learns from the same pictures, and gives the held back ones scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.training.figures import Scores
from bench.training.tasks import Draw

if TYPE_CHECKING:  # fastai's environment loads this package, and has nothing of inferq
    from shared.domain.models import ModelVersion


class CannotRun(Exception):
    """A contestant cannot run here; the text is the reason."""


@dataclass(frozen=True)
class Answer:
    """What a contestant has learned from one draw."""

    scores: Scores
    """Of the pictures that are held back, in their order."""
    seconds: float
    """From the pictures to the trained network, without its answers to the pictures that are held back."""
    uncalibrated: Scores | None = None
    """The scores before the temperature; None if there is none."""
    note: str = ""
    suspects: Sequence[str] | None = None
    """The names of the pictures whose labels are doubted, the most suspect first; None if it doubts none."""
    version: ModelVersion | None = None
    """The version that inferq has made; None of the others."""


class Contestant(Protocol):
    """A way to train."""

    name: str

    def learn(self, draw: Draw) -> Answer:
        """Train, and answer the pictures that are held back; raises CannotRun."""
