"""The rate at which a worker runs the pictures of one version, in pictures per second, and what follows from it.

What is done beside a batch, or together with it, follows from the time of the network alone. The rate of all that
belongs to a batch tells when a job will have ended; it is low when pictures come one by one, however fast the model is.
"""

from __future__ import annotations

import math

MEMORY = 5.0
"""Seconds after which a batch counts a third as much as a new one."""
QUIET = 0.005
"""Seconds; a model that takes longer for a picture needs the help of other workers at once."""


def quiet_seconds(rate: float) -> float:
    """Return, by the rate of the network alone, the seconds for which no other worker is notified after pictures have
    arrived: at most the time of one picture, since a notification costs more than a fast model does."""
    return min(QUIET, 1 / rate) if rate * QUIET > 1 else 0.0


def is_short(pictures: int, rate: float) -> bool:
    """Return True if the network, by its rate, has done a batch so soon that the next one need not be claimed beside
    it."""
    return pictures < rate * QUIET


def pictures_within(seconds: float, rate: float, decoding: float) -> int:
    """Return how many pictures are decoded, in `decoding` seconds each, and run by the network, by its rate, within
    some seconds; 0 if the rate is not known."""
    return int(seconds / (1 / rate + decoding)) if rate else 0


class Rate:
    """Pictures per second of the last batches: all their pictures, by all the time that they took.

    The mean of the batches' own rates was rejected: a batch of one picture would count as much as one of a hundred, and
    what takes longest the least, so that it is above what is done in a second. By the time, not by the number of
    batches: those of a small model are over in milliseconds, and a few of them tell nothing about the next seconds.
    """

    def __init__(self) -> None:
        self._pictures = self._seconds = 0.0
        self._ended_at = -math.inf

    def add(self, pictures: int, began: float, ended_at: float) -> None:
        """Count a batch that began and ended at these times (monotonic seconds)."""
        kept = math.exp((self._ended_at - ended_at) / MEMORY)
        self._pictures = kept * self._pictures + pictures
        self._seconds = kept * self._seconds + max(1e-6, ended_at - began)
        self._ended_at = ended_at

    @property
    def per_second(self) -> float:
        """Pictures per second; 0 before the first batch."""
        return self._pictures / self._seconds if self._seconds else 0.0
