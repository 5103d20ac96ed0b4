"""Splits assign each example to training, validation or test: stratified by label and seeded (rules, no I/O).

A split that the dataset declares (folders `training`, `validation`, `test`) is kept as it is. A split that it does not
declare is cut, label by label, from its training pictures. The cut uses a hash of the seed and the picture, not the
position: a picture stays in its split when others are added, so that a later training is tested on the test pictures of
an earlier training, and not on pictures that the earlier training has learned.

In a multi-label dataset, the label by which a picture is cut is the rarest of those that it has, or none: so the few
pictures of a rare label are shared out, and the frequent labels follow. A label that no training picture has then gets
one that was to validate or test.

Near-duplicates of one label stay on one side of a cut: a test picture whose copy was learned shows nothing. A group of
them is as far ahead as its first picture; a group that is larger than what is left to test or validate trains.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared import errors
from shared.domain import near_duplicates
from shared.domain.counted import counted
from shared.domain.datasets import DatasetExample, Source, Split

FEWEST_LABELS = 2
FEWEST_EXAMPLES = 2
"""Minimum of each label: one to learn from, and one to be tested on."""


@dataclass(frozen=True)
class Splits:
    """The examples of a dataset version, each in one of three splits."""

    training: tuple[DatasetExample, ...]
    validation: tuple[DatasetExample, ...]
    """May be empty, if every label has only two pictures."""
    test: tuple[DatasetExample, ...]
    near_duplicates: int = 0
    """Groups of near-duplicates, of any labels, that lie in one split."""
    across: int = 0
    """Groups of near-duplicates that lie in several splits, as the dataset declares them or since their labels differ:
    they make the evidence look better than it is."""
    is_multi_label: bool = False
    """True if the examples have any number of labels."""


@dataclass(frozen=True)
class Tally:
    """The number of examples of one label with the same source and declared split; in a multi-label dataset an example
    counts for each of its labels."""

    label: str
    source: Source
    split: Split
    count: int


def check(tallies: Sequence[Tally], *, with_feedback: bool = True, is_multi_label: bool = False) -> None:
    """Raise BadDataset unless examples with these counts can be split, and trained and tested on.

    One label is enough for a multi-label dataset, where other pictures lack it.
    """
    chosen = [tally for tally in tallies if with_feedback or tally.source is not Source.FEEDBACK]
    used: Counter[str] = Counter()
    for tally in chosen:
        used[tally.label] += tally.count
    _check_labels(used, 1 if is_multi_label else FEWEST_LABELS)
    learned = {tally.label for tally in chosen if tally.split not in (Split.VALIDATION, Split.TEST)}
    if missing := [label for label in used if label not in learned]:
        raise errors.BadDataset(f"There is no picture of {missing[0]!r} to learn from; add one to `training`.")
    if Split.TEST in {tally.split for tally in chosen}:
        return
    cut: Counter[str] = Counter()
    for tally in chosen:
        if tally.split is not Split.VALIDATION and tally.source is not Source.FEEDBACK:
            cut[tally.label] += tally.count
    if max(cut.values(), default=0) < FEWEST_EXAMPLES:
        raise errors.BadDataset("There is no picture to test on; add some to `test`, or do not name the splits.")


def _check_labels(used: Counter[str], fewest: int) -> None:
    if len(used) < fewest:
        raise errors.BadDataset(
            f"Training needs at least {counted(fewest, 'label')} with pictures; this dataset has {len(used)}. Add "
            "pictures of something else."
        )
    few = [label for label, count in used.items() if count < FEWEST_EXAMPLES]
    if few:
        listed = ", ".join(repr(label) for label in few[:5]) + (", …" if len(few) > 5 else "")
        raise errors.BadDataset(
            f"Training needs at least {FEWEST_EXAMPLES} pictures of each label, one to learn from and one to be tested "
            f"on; there are too few of {listed}. Add more of them, or take them out."
        )


def deal(
    examples: Sequence[DatasetExample],
    train_ratio: float,
    seed: int,
    *,
    with_feedback: bool = True,
    checked: bool = True,
    is_multi_label: bool = False,
) -> Splits:
    """Split the examples of a dataset version; the result depends only on the arguments, not on the order of the
    examples.

    `train_ratio` is the share of each label that trains; of the rest, the larger half tests and the other validates.
    Corrections of wrong predictions only ever train: they were chosen for being difficult, and would make any model
    look worse than it is. Raises BadDataset as `check` does, and for a multi-label dataset if all its pictures have the
    same labels, or none is left to test on; pass `checked=False` if the examples are only to be tested
    on.
    """
    if checked:
        check(_tallies(examples), with_feedback=with_feedback, is_multi_label=is_multi_label)
    chosen = [example for example in examples if with_feedback or example.source is not Source.FEEDBACK]
    if checked and is_multi_label:
        _check_differences(chosen)
    stratum = _strata(chosen)
    declared = {example.split for example in chosen}
    parts: dict[Split, list[DatasetExample]] = {Split.TRAINING: [], Split.VALIDATION: [], Split.TEST: []}
    by_label: dict[int, list[DatasetExample]] = {}
    ranked = sorted(chosen, key=lambda example: _rank(example, seed))
    groups = near_duplicates.groups([example.fingerprint for example in ranked])
    for example in ranked:
        if example.split in (Split.VALIDATION, Split.TEST):
            parts[example.split].append(example)
        elif example.source is Source.FEEDBACK:
            parts[Split.TRAINING].append(example)
        else:
            by_label.setdefault(stratum[example.sha256], []).append(example)
    group_of = {ranked[place].sha256: number for number, group in enumerate(groups) for place in group}
    for own in by_label.values():
        test, validation = _sizes(len(own), train_ratio, declared)
        left = _together(own, group_of)
        for split, size in ((Split.TEST, test), (Split.VALIDATION, validation)):
            taken, left = _take(left, size)
            parts[split] += taken
        parts[Split.TRAINING] += [example for group in left for example in group]
    if checked and is_multi_label:
        _teach_every_label(parts)
        _check_test(parts[Split.TEST])
    across = _count_across(list(parts.values()), group_of)
    return Splits(
        tuple(parts[Split.TRAINING]),
        tuple(parts[Split.VALIDATION]),
        tuple(parts[Split.TEST]),
        near_duplicates=len(groups) - across,
        across=across,
        is_multi_label=is_multi_label,
    )


def _check_differences(examples: Sequence[DatasetExample]) -> None:
    """Raise BadDataset if all pictures of a multi-label dataset have the same labels."""
    if len({example.label_ids for example in examples}) < FEWEST_LABELS:
        raise errors.BadDataset(
            "All pictures of the dataset have the same labels, so that there is nothing to tell apart. Add pictures "
            "that lack some of them."
        )


def _teach_every_label(parts: dict[Split, list[DatasetExample]]) -> None:
    """Move pictures of labels that no training picture has to those: first of the validation pictures, then of the test
    pictures, and none whose split the dataset declares. `check` has made sure that each label has one that may train.
    """
    learned = {label_id for example in parts[Split.TRAINING] for label_id in example.label_ids}
    for split in (Split.VALIDATION, Split.TEST):
        kept = []
        for example in parts[split]:
            if example.split is split or learned.issuperset(example.label_ids):
                kept.append(example)
            else:
                learned.update(example.label_ids)
                parts[Split.TRAINING].append(example)
        parts[split] = kept


def _check_test(test: Sequence[DatasetExample]) -> None:
    """Raise BadDataset without a picture to test on."""
    if not test:
        raise errors.BadDataset(
            "No picture is left to test on, as each of them is needed to learn its labels. Add more pictures of each "
            "label, or add some to `test`."
        )


def _strata(examples: Sequence[DatasetExample]) -> dict[str, int]:
    """Return SHA-256 -> the id of the label by which the picture is cut: in a multi-label dataset the rarest of its
    labels, 0 for a picture without any."""
    counts = Counter(label_id for example in examples for label_id in example.label_ids)
    return {
        example.sha256: min(
            example.label_ids, key=lambda label_id: (counts[label_id], label_id), default=example.label_id
        )
        for example in examples
    }


def _together(own: Sequence[DatasetExample], group_of: Mapping[str, int]) -> list[list[DatasetExample]]:
    """Return the pictures of one label in their order, those of a group with the first of them."""
    found: dict[int | str, list[DatasetExample]] = {}
    for example in own:
        found.setdefault(group_of.get(example.sha256, example.sha256), []).append(example)
    # If all are near-duplicates of each other, they are cut all the same: something has to be tested on.
    return list(found.values()) if len(found) > 1 else [[example] for example in own]


def _take(groups: list[list[DatasetExample]], size: int) -> tuple[list[DatasetExample], list[list[DatasetExample]]]:
    """Return (the pictures of the first groups that fit into `size`, the other groups)."""
    taken: list[DatasetExample] = []
    left: list[list[DatasetExample]] = []
    for group in groups:
        if len(taken) + len(group) <= size:
            taken += group
        else:
            left.append(group)
    if size and not taken and len(left) > 1:
        smallest = min(left, key=len)
        taken, left = smallest, [group for group in left if group is not smallest]
    return taken, left


def _count_across(parts: Sequence[Sequence[DatasetExample]], group_of: Mapping[str, int]) -> int:
    """Return the number of groups that lie in more than one of these parts."""
    lies_in = Counter(group for part in parts for group in {group_of.get(example.sha256) for example in part})
    return sum(count > 1 for group, count in lies_in.items() if group is not None)


def _sizes(count: int, train_ratio: float, declared: set[Split]) -> tuple[int, int]:
    """Return the numbers (test, validation) to cut from `count` pictures, 0 for a declared split; at least one
    trains."""
    if {Split.TEST, Split.VALIDATION} <= declared:
        return 0, 0
    held = min(count - 1, max(1, round(count * (1 - train_ratio)))) if count > 1 else 0
    if Split.TEST in declared:
        return 0, held
    if Split.VALIDATION in declared:
        return held, 0
    held = max(held, 2) if count > 2 else held
    return held - held // 2, held // 2


def _tallies(examples: Sequence[DatasetExample]) -> list[Tally]:
    counted = Counter((label, example.source, example.split) for example in examples for label in example.all_labels)
    return [Tally(*kind, count) for kind, count in counted.items()]


def _rank(example: DatasetExample, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{example.sha256}".encode()).hexdigest()
