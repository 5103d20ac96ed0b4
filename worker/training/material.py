"""The material of a training: its examples with their labels, their features, and their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from shared.container import Storage
from shared.domain.datasets import DatasetExample
from shared.domain.preprocessing import Preprocessing
from shared.domain.splits import Splits
from worker import families, optimise, preprocess
from worker.training import heads
from worker.training.augment import LabelledPictures
from worker.training.copies import groups_of
from worker.training.pictures import decoded
from worker.training.progress import TrainingProgress

_PIECE = 8
"""Pictures per batch of a network that is not optimised."""
_SHOWN = 256
"""Maximum training pictures with which a new head is fitted in and checked."""


@dataclass(frozen=True)
class Part:
    """Examples with what is known of them."""

    examples: tuple[DatasetExample, ...]
    features: torch.Tensor
    """(N, D), those of the frozen base."""
    labels: torch.Tensor
    """(N,) int64, or (N, C) float32 of several labels; see truths.py."""

    def __add__(self, other: Part) -> Part:
        return Part(self.examples + other.examples, torch.cat([self.features, other.features]),
                     torch.cat([self.labels, other.labels]))  # fmt: skip

    @property
    def groups(self) -> torch.Tensor:
        """(N,) int64: as `groups_of`."""
        return groups_of(self.examples)

    def choose(self, rows: torch.Tensor) -> Part:
        """Return the examples with these row numbers, (M,) int64."""
        return Part(tuple(self.examples[row] for row in rows.tolist()), self.features[rows], self.labels[rows])


@dataclass(frozen=True)
class OutputLabels:
    """The labels of a network's outputs."""

    names: tuple[str, ...]
    """In the order of the outputs."""
    numbers: Mapping[int, int]
    """The id of a label -> the number of its output."""
    is_multi_label: bool

    @classmethod
    def of(cls, splits: Splits) -> OutputLabels:
        """Return the labels that the pictures have, in the order of their ids."""
        examples = (*splits.training, *splits.validation, *splits.test)
        if splits.is_multi_label:
            names = {pair[0]: pair[1] for each in examples for pair in zip(each.label_ids, each.labels, strict=True)}
        else:
            names = {each.label_id: each.label for each in examples}
        ids = sorted(names)
        numbers = {label_id: number for number, label_id in enumerate(ids)}
        return cls(tuple(names[label_id] for label_id in ids), numbers, splits.is_multi_label)

    def truths(self, examples: Sequence[DatasetExample]) -> torch.Tensor:
        """Return what the examples show, as truths.py has it."""
        if not self.is_multi_label:
            return torch.tensor([self.numbers[example.label_id] for example in examples], dtype=torch.int64)
        shown = torch.zeros(len(examples), len(self.names))
        for row, example in enumerate(examples):
            shown[row, [self.numbers[label_id] for label_id in example.label_ids]] = 1.0
        return shown


def batches(
    storage: Storage, progress: TrainingProgress, examples: Sequence[DatasetExample], preprocessing: Preprocessing
) -> Iterator[torch.Tensor]:
    """Yield normalised batches (N, channels, height, width) of pictures, in their order."""
    for start in range(0, len(examples), _PIECE):
        progress.refresh()
        crops = [
            preprocess.crop(decoded(storage, example, preprocessing), preprocessing)
            for example in examples[start : start + _PIECE]
        ]
        yield preprocess.normalise(preprocess.stack(crops), preprocessing).contiguous(memory_format=torch.channels_last)


def labelled_pictures(storage: Storage, part: Part, preprocessing: Preprocessing) -> LabelledPictures:
    """Return the pictures of a part, decoded on demand."""
    return LabelledPictures(lambda number: decoded(storage, part.examples[number], preprocessing), part.labels)


def replace_head(
    storage: Storage, progress: TrainingProgress, network: nn.Module, head: tuple[torch.Tensor, torch.Tensor],
    examples: Sequence[DatasetExample], preprocessing: Preprocessing, *, may_raise: bool,
) -> None:  # fmt: skip
    """Put a new head, weight (C, D) and bias (C,), into a network in place; `examples` are what it learned from.

    `may_raise` is as in `heads.replace_head`.
    """
    sample = examples[:: max(1, len(examples) // _SHOWN)]
    heads.replace_head(network, *head, lambda: batches(storage, progress, sample, preprocessing), may_raise=may_raise)


def run_network(
    storage: Storage, progress: TrainingProgress, network: nn.Module, examples: Sequence[DatasetExample],
    preprocessing: Preprocessing,
) -> torch.Tensor:  # fmt: skip
    """Return the logits (N, C) of a plain network in eval mode on the CPU."""
    classes = len(families.penultimate(network).weight)  # type: ignore[arg-type]
    rows = [torch.zeros(0, classes)]
    for batch in batches(storage, progress, examples, preprocessing):
        with optimise.ALONE, torch.inference_mode():
            rows.append(network(batch))
    return torch.cat(rows).clone()


def compute_features(
    storage: Storage, progress: TrainingProgress, network: nn.Module, examples: Sequence[DatasetExample],
    preprocessing: Preprocessing,
) -> torch.Tensor:  # fmt: skip
    """Return the features (N, D) of at least one example by a plain network in eval mode on the CPU, as a worker serves
    them: what its head gets, averaged over maps."""
    entered = (heads.features(network, batch)[0] for batch in batches(storage, progress, examples, preprocessing))
    return torch.cat([each.mean(dim=(2, 3)) if each.ndim == 4 else each for each in entered]).clone()
