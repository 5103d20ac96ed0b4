"""Suspect labels, folds and gains: what a training tells of its own pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from shared.domain.datasets import DatasetExample, Source, Split
from worker.training.cross_validation import FOLDS, cross_validate, folds
from worker.training.gain import is_better
from worker.training.outcome import Unseen
from worker.training.suspects import find_suspects

pytestmark = pytest.mark.slow


def examples(count: int) -> tuple[DatasetExample, ...]:
    return tuple(
        DatasetExample(
            1, number, 1, "a", f"{number}.png", Split.OPEN, Source.UPLOAD, f"{number:064x}", "b", 0, 1, 1, 0.0
        )
        for number in range(count)
    )


def digits(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels[:count], dtype=torch.float32), torch.tensor(labels[:count])


def test_each_label_is_spread_evenly_over_the_folds() -> None:
    labels = torch.tensor([0] * 23 + [1] * 7 + [2] * 2 + [3])
    fold = folds(labels)
    for label, most in ((0, 5), (1, 2), (2, 1)):
        counts = torch.bincount(fold[labels == label], minlength=FOLDS)
        assert counts.max() == most
        assert counts.max() - counts.min() <= 1
    assert fold[-1] == -1, "the only picture of a label is always learned from"


def test_pictures_that_look_alike_stay_in_one_fold() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    groups = torch.tensor([7, 1, 7, 2, 3, 7, 4, 5])
    fold = folds(labels, groups)
    assert len(set(fold[groups == 7].tolist())) == 1


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4, 4, 4, 4], [0, 1, 4, 3, 4, 4, 4, 4]])
def test_a_label_whose_pictures_all_look_alike_is_always_learned_from(groups: list[int]) -> None:
    """Else a head without a single picture of it would answer all of them, wrongly."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    fold = folds(labels, torch.tensor(groups))
    assert fold[labels == 1].tolist() == [-1] * 4
    for number in set(fold[fold >= 0].tolist()):
        assert set(labels[fold != number].tolist()) == {0, 1}


def test_the_folds_say_what_scikit_learns_cross_validation_says() -> None:
    features, labels = digits(600)
    crossed = cross_validate(features, labels, 10, biased=True)
    assert crossed is not None
    split = PredefinedSplit(folds(labels).numpy())
    theirs = cross_val_predict(LogisticRegression(max_iter=3000), features.numpy() / 6, labels.numpy(), cv=split)
    ours = (crossed.logits.argmax(dim=1) == crossed.truths).double().mean().item()
    assert ours == pytest.approx((theirs == labels.numpy()).mean(), abs=0.02)


def test_no_picture_is_answered_by_a_head_that_has_learned_it() -> None:
    # Labels at random: whoever has seen them would know them.
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(200, 300, generator=generator)
    labels = torch.randint(0, 2, (200,), generator=generator)
    crossed = cross_validate(features, labels, 2, biased=True)
    assert crossed is not None
    assert 0.35 < (crossed.logits.argmax(dim=1) == labels).double().mean().item() < 0.65


def test_most_flipped_labels_are_among_the_first_suspects() -> None:
    features, labels = digits(500)
    generator = np.random.default_rng(0)
    flipped = generator.choice(500, 50, replace=False)
    noisy = labels.clone()
    noisy[flipped] = (labels[flipped] + torch.tensor(generator.integers(1, 10, 50))) % 10
    crossed = cross_validate(features, noisy, 10, biased=True)
    assert crossed is not None
    found = find_suspects(Unseen(examples(500), crossed.logits, crossed.truths))
    first = {suspect.row for suspect in found[:50]}
    assert len(first & set(flipped.tolist())) >= 34
    assert sum(suspect.suggested == labels[suspect.row] for suspect in found[:50]) >= 34


def test_a_label_that_agrees_with_the_answers_is_no_suspect() -> None:
    logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [0.0, 4.0], [0.0, 3.0]])
    assert find_suspects(Unseen(examples(4), logits, torch.tensor([0, 0, 1, 1]))) == []
    assert find_suspects(Unseen((), logits[:0], torch.tensor([], dtype=torch.int64))) == []


def test_a_gain_is_believed_only_beyond_chance() -> None:
    truths = torch.zeros(40, dtype=torch.int64)
    before = torch.tensor([[0.2, 0.0]] * 40)
    surely, barely = before.clone(), before.clone()
    surely[:, 0] += torch.linspace(0.5, 1.5, 40)
    barely[::2, 0] += 1.0
    barely[1::2, 0] -= 0.15
    barely[1::7, 0] -= 2.5
    assert is_better(before, surely, truths)
    assert not is_better(before, barely, truths)
    assert not is_better(before[:5], surely[:5], truths[:5]), "five pictures show nothing"
