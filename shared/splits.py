"""Who trains, who validates, who tests: the stratified, seeded split of a dataset (rules only).

A split that the dataset declares (folders `training`, `validation`, `test`) is kept as it is. What it does not declare
is cut, label by label, from its training pictures. The cut goes by a hash of the seed and the picture, not by position:
the same picture lands in the same split when others are added, so that a later training is tested on what an earlier
one was tested on, and not on what that one has learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared import errors
from shared.datasets import Example, Label, Source, Split

FEWEST_LABELS = 2
FEWEST_EXAMPLES = 2
"""Of each label: one to learn from, and one to be tested on."""


@dataclass(frozen=True)
class Splits:
    """Every example of a dataset version, each in one of the three."""

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    """May be empty, where every label has two pictures only."""
    test: tuple[Example, ...]


def check(labels: Sequence[Label]) -> None:
    """Raise BadDataset unless the labels, with their counts, can be trained on."""
    used = [label for label in labels if label.examples]
    if len(used) < FEWEST_LABELS:
        raise errors.BadDataset(
            f"Training needs at least {FEWEST_LABELS} labels with pictures; this dataset has {len(used)}. Add pictures "
            "of something else."
        )
    few = [label for label in used if label.examples < FEWEST_EXAMPLES]
    if few:
        told = ", ".join(repr(label.name) for label in few[:5]) + (", …" if len(few) > 5 else "")
        raise errors.BadDataset(
            f"Training needs at least {FEWEST_EXAMPLES} pictures of each label, one to learn from and one to be tested "
            f"on; there are too few of {told}. Add more of them, or take them out."
        )


def deal(examples: Sequence[Example], train_ratio: float, seed: int, *, with_feedback: bool = True) -> Splits:
    """Split the examples of one dataset version; the same for the same arguments, in whatever order they come.

    `train_ratio` is the share of each label that trains; of the rest the larger half tests, and the other validates.
    Corrections of wrong predictions only ever train: they were chosen for being difficult, and would make any model
    look worse than it is. Raises BadDataset where a label is left without a picture to train or to test on.
    """
    chosen = [one for one in examples if with_feedback or one.source is not Source.FEEDBACK]
    declared = {one.split for one in chosen}
    parts: dict[Split, list[Example]] = {Split.TRAINING: [], Split.VALIDATION: [], Split.TEST: []}
    by_label: dict[int, list[Example]] = {}
    for one in sorted(chosen, key=lambda one: _rank(one, seed)):
        if one.split in (Split.VALIDATION, Split.TEST):
            parts[one.split].append(one)
        elif one.source is Source.FEEDBACK:
            parts[Split.TRAINING].append(one)
        else:
            by_label.setdefault(one.label_id, []).append(one)
    for own in by_label.values():
        test, validation = _sizes(len(own), train_ratio, declared)
        parts[Split.TEST] += own[:test]
        parts[Split.VALIDATION] += own[test : test + validation]
        parts[Split.TRAINING] += own[test + validation :]
    found = Splits(*(tuple(parts[split]) for split in (Split.TRAINING, Split.VALIDATION, Split.TEST)))
    _check_parts(found)
    return found


def _sizes(count: int, train_ratio: float, declared: set[Split]) -> tuple[int, int]:
    """(test, validation) pictures to be cut from `count`, none for a split that is declared; one at least trains."""
    if {Split.TEST, Split.VALIDATION} <= declared:
        return 0, 0
    held = min(count - 1, max(1, round(count * (1 - train_ratio)))) if count > 1 else 0
    if Split.TEST in declared:
        return 0, held
    if Split.VALIDATION in declared:
        return held, 0
    held = max(held, 2) if count > 2 else held
    return held - held // 2, held // 2


def _check_parts(found: Splits) -> None:
    labels = {one.label_id: one.label for part in (found.training, found.validation, found.test) for one in part}
    trained = {one.label_id for one in found.training}
    if missing := [name for label_id, name in labels.items() if label_id not in trained]:
        raise errors.BadDataset(f"There is no picture of {missing[0]!r} to learn from; add one to `training`.")
    if not found.test:
        raise errors.BadDataset("There is no picture to test on; add some to `test`, or do not name the splits.")


def _rank(example: Example, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{example.sha256}".encode()).hexdigest()
