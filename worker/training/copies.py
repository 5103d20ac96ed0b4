"""Which examples of a training are near-duplicates of each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shared.domain import near_duplicates
from shared.domain.datasets import DatasetExample


def groups_of(examples: Sequence[DatasetExample]) -> torch.Tensor:
    """Return (N,) int64: the same number for near-duplicates, which must not be judged by each other."""
    numbers = torch.arange(len(examples))
    for group in near_duplicates.groups([example.fingerprint for example in examples]):
        numbers[group] = group[0]
    return numbers
