"""Splits: the same examples always get the same splits, and no example is in two."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import replace

import pytest

from shared import errors
from shared.domain import splits
from shared.domain.datasets import DatasetExample, Source, Split
from shared.domain.splits import Splits, Tally


def some(label: str, count: int, *, split: Split = Split.OPEN, source: Source = Source.UPLOAD) -> list[DatasetExample]:
    """Return examples of one label; a larger count gives the same ones and more."""
    label_id = sum(label.encode())
    return [
        DatasetExample(1, 0, label_id, label, f"{n}.png", split, source,
                hashlib.sha256(f"{label} {split} {source} {n}".encode()).hexdigest(), "blob", 0, 1, 1, 0.0)
        for n in range(count)
    ]  # fmt: skip


def copies(given: list[DatasetExample], *groups: tuple[int, ...]) -> list[DatasetExample]:
    """Return the examples, of which those at these positions are near-duplicates, and no others."""
    chance = random.Random(0)
    marked = [replace(example, fingerprint=chance.getrandbits(63)) for example in given]
    for group in groups:
        for place, position in enumerate(group):
            marked[position] = replace(marked[position], fingerprint=(marked[group[0]].fingerprint or 0) ^ place)
    return marked


def showing(
    *pictures: tuple[int, ...], source: Source = Source.UPLOAD, split: Split = Split.OPEN
) -> list[DatasetExample]:
    """Return an example of a multi-label dataset for each picture, given by the ids of its labels."""
    return [
        DatasetExample(
            1, 0, 0, "", f"{n}.png", split, source,
            hashlib.sha256(f"{n} {own} {split} {source}".encode()).hexdigest(), "blob", 0, 1, 1, 0.0,
            label_ids=own, labels=tuple(str(label_id) for label_id in own),
        )
        for n, own in enumerate(pictures)
    ]  # fmt: skip


def counts(part: tuple[DatasetExample, ...]) -> dict[str, int]:
    return dict(Counter(example.label for example in part))


def pictures(part: tuple[DatasetExample, ...]) -> set[str]:
    return {example.sha256 for example in part}


def sizes(dealt: Splits) -> tuple[int, int, int]:
    return len(dealt.training), len(dealt.validation), len(dealt.test)


def test_every_picture_is_in_one_split_and_each_label_in_its_share() -> None:
    given = some("red", 100) + some("green", 50)
    dealt = splits.deal(given, 0.8, 0)
    assert counts(dealt.training) == {"red": 80, "green": 40}
    assert counts(dealt.validation) == {"red": 10, "green": 5}
    assert counts(dealt.test) == {"red": 10, "green": 5}
    everything = [example.sha256 for part in (dealt.training, dealt.validation, dealt.test) for example in part]
    assert sorted(everything) == sorted(example.sha256 for example in given)


def test_the_order_in_which_pictures_come_does_not_count() -> None:
    given = some("red", 30) + some("green", 30)
    mixed = random.Random(1).sample(given, len(given))
    first, other = splits.deal(given, 0.8, 7), splits.deal(mixed, 0.8, 7)
    assert (pictures(first.training), pictures(first.test)) == (pictures(other.training), pictures(other.test))


def test_another_seed_deals_otherwise() -> None:
    given = some("red", 50) + some("green", 50)
    assert pictures(splits.deal(given, 0.8, 0).test) != pictures(splits.deal(given, 0.8, 1).test)


def test_what_trained_is_hardly_ever_tested_on_when_pictures_are_added() -> None:
    before = splits.deal(some("red", 100) + some("green", 100), 0.8, 0)
    after = splits.deal(some("red", 110) + some("green", 110), 0.8, 0)
    # Dealt by chance, a tenth of what has trained would test: 16 of 160.
    assert len(pictures(before.training) & pictures(after.test)) <= 4
    assert len(pictures(before.test) & pictures(after.test)) >= 15


@pytest.mark.parametrize(
    ("count", "expected"), [(2, (2, 0, 2)), (3, (2, 2, 2)), (4, (4, 2, 2)), (10, (16, 2, 2)), (20, (32, 4, 4))]
)
def test_few_pictures_of_two_labels_are_tested_before_they_validate(count: int, expected: tuple[int, ...]) -> None:
    assert sizes(splits.deal(some("red", count) + some("green", count), 0.8, 0)) == expected


def test_one_picture_trains_at_least_however_small_the_share() -> None:
    dealt = splits.deal(some("red", 3) + some("green", 3), 0.1, 0)
    assert counts(dealt.training) == {"red": 1, "green": 1}


def test_declared_splits_are_kept() -> None:
    parts = {split: some("red", 5, split=split) + some("green", 5, split=split) for split in list(Split)[1:]}
    dealt = splits.deal([example for part in parts.values() for example in part], 0.5, 0)
    assert pictures(dealt.training) == pictures(tuple(parts[Split.TRAINING]))
    assert pictures(dealt.validation) == pictures(tuple(parts[Split.VALIDATION]))
    assert pictures(dealt.test) == pictures(tuple(parts[Split.TEST]))


@pytest.mark.parametrize(("declared", "expected"), [(Split.TEST, (16, 4, 6)), (Split.VALIDATION, (16, 6, 4))])
def test_what_is_not_declared_is_cut_from_the_training_pictures(declared: Split, expected: tuple[int, ...]) -> None:
    training = some("red", 10, split=Split.TRAINING) + some("green", 10, split=Split.TRAINING)
    held = some("red", 3, split=declared) + some("green", 3, split=declared)
    dealt = splits.deal(training + held, 0.8, 0)
    assert sizes(dealt) == expected


def test_corrections_only_train() -> None:
    corrected = some("red", 20, source=Source.FEEDBACK)
    dealt = splits.deal(some("red", 10) + some("green", 10) + corrected, 0.8, 0)
    assert pictures(tuple(corrected)) <= pictures(dealt.training)
    assert sizes(dealt) == (36, 2, 2)


def test_corrections_are_left_out_where_they_are_not_wanted() -> None:
    given = some("red", 10) + some("green", 10) + some("red", 20, source=Source.FEEDBACK)
    assert sizes(splits.deal(given, 0.8, 0, with_feedback=False)) == (16, 2, 2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "at least 2 labels with pictures; this dataset has 0"),
        (some("red", 9), "at least 2 labels with pictures; this dataset has 1"),
        (some("red", 9) + some("green", 1), "too few of 'green'"),
        (
            some("red", 9) + some("green", 3, split=Split.TEST),
            "no picture of 'green' to learn from; add one to `training`",
        ),
        (
            some("red", 2, source=Source.FEEDBACK) + some("green", 2, source=Source.FEEDBACK),
            "no picture to test on",
        ),
    ],
    ids=["nothing", "one label", "one picture", "nothing to learn from", "corrections only"],
)
def test_what_cannot_be_trained_on_is_refused_with_what_to_do(given: list[DatasetExample], says: str) -> None:
    with pytest.raises(errors.BadDataset, match=says):
        splits.deal(given, 0.8, 0)


def test_a_label_that_has_corrections_only_does_not_count_without_them() -> None:
    given = some("red", 9) + some("green", 9, source=Source.FEEDBACK)
    assert splits.deal(given, 0.8, 0).test
    with pytest.raises(errors.BadDataset, match="this dataset has 1"):
        splits.deal(given, 0.8, 0, with_feedback=False)


def test_labels_with_too_few_pictures_are_named_up_to_five() -> None:
    few = [Tally(f"label {n}", Source.UPLOAD, Split.OPEN, 1) for n in range(7)]
    with pytest.raises(errors.BadDataset, match=r"'label 4', …\. Add more of them"):
        splits.check(few)


@pytest.mark.parametrize("seed", range(8))
def test_near_duplicates_of_a_label_are_never_on_both_sides_of_a_cut(seed: int) -> None:
    pairs = [(n, n + 1) for n in range(0, 60, 2)] + [(60, 61, 62, 63), tuple(range(80, 88))]
    given = copies(some("red", 100) + some("green", 50), *pairs)
    dealt = splits.deal(given, 0.8, seed)
    parts = [pictures(part) for part in (dealt.training, dealt.validation, dealt.test)]
    for pair in pairs:
        assert sum(any(given[position].sha256 in part for position in pair) for part in parts) == 1
    assert (dealt.near_duplicates, dealt.across) == (len(pairs), 0)
    assert sum(map(len, parts)) == 150
    assert counts(dealt.test) == {"red": 10, "green": 5}


def test_without_near_duplicates_fingerprints_change_nothing() -> None:
    given = some("red", 100) + some("green", 50)
    plain, marked = splits.deal(given, 0.8, 3), splits.deal(copies(given), 0.8, 3)
    for part in ("training", "validation", "test"):
        assert pictures(getattr(plain, part)) == pictures(getattr(marked, part))


def test_groups_stay_in_their_split_when_pictures_are_added() -> None:
    pairs = [(n, n + 1) for n in range(0, 40, 2)]
    before = splits.deal(copies(some("red", 100), *pairs) + some("green", 9), 0.8, 0)
    after = splits.deal(copies(some("red", 110), *pairs) + some("green", 9), 0.8, 0)
    assert len(pictures(before.training) & pictures(after.test)) <= 4


@pytest.mark.parametrize("groups", [[tuple(range(10))], [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)], [tuple(range(9))]])
def test_every_label_trains_and_is_tested_however_alike_its_pictures_are(groups: list[tuple[int, ...]]) -> None:
    dealt = splits.deal(copies(some("red", 10) + some("green", 10), *groups), 0.8, 0)
    assert counts(dealt.training)["red"] >= 1
    assert counts(dealt.test)["red"] >= 1
    assert dealt.across == (len(groups[0]) == 10)
    assert dealt.near_duplicates + dealt.across == len(groups)


def test_near_duplicates_across_declared_splits_stay_and_are_counted() -> None:
    training = some("red", 5, split=Split.TRAINING) + some("green", 5, split=Split.TRAINING)
    held = some("red", 5, split=Split.TEST) + some("green", 5, split=Split.TEST)
    given = copies(training + held, (0, 10), (1, 2))
    dealt = splits.deal(given, 0.8, 0)
    assert pictures(tuple(held)) == pictures(dealt.test)
    assert (dealt.near_duplicates, dealt.across) == (1, 1)


def test_near_duplicates_of_two_labels_are_dealt_by_label() -> None:
    given = some("red", 30) + some("green", 30)
    dealt = splits.deal(copies(given, *((n, n + 30) for n in range(30))), 0.8, 0)
    assert counts(dealt.test) == {"red": 3, "green": 3}
    assert dealt.near_duplicates + dealt.across == 30


def test_every_label_of_a_multi_label_dataset_has_a_training_picture() -> None:
    given = showing((1, 3), (1,), (2, 3), (2,))
    for seed in range(20):  # for some of them, both pictures of the label 3 are the first of their strata
        dealt = splits.deal(given, 0.8, seed, is_multi_label=True)
        assert {label_id for example in dealt.training for label_id in example.label_ids} == {1, 2, 3}
        assert dealt.test
        everything = [example.sha256 for part in (dealt.training, dealt.validation, dealt.test) for example in part]
        assert sorted(everything) == sorted(example.sha256 for example in given)


def test_a_picture_that_the_dataset_declares_to_be_for_testing_stays_there_whatever_its_labels() -> None:
    declared = showing((1, 2), (2, 3), (3,), split=Split.TEST)
    given = [*showing((1, 3), (1,), (2, 3), (2,)), *declared]
    for seed in range(20):
        dealt = splits.deal(given, 0.8, seed, is_multi_label=True)
        assert pictures(dealt.test) == pictures(tuple(declared))
        assert {label_id for example in dealt.training for label_id in example.label_ids} == {1, 2, 3}


def test_a_multi_label_dataset_without_a_picture_left_to_test_on_is_refused_before_any_training() -> None:
    given = [*showing((1, 2), (2, 3)), *showing((1,), (3,), source=Source.FEEDBACK)]
    for seed in range(5):
        with pytest.raises(errors.BadDataset, match=r"No picture is left to test on.*add some to `test`"):
            splits.deal(given, 0.8, seed, is_multi_label=True)
