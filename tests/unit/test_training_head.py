"""The linear classifier on kept features: as good as scikit-learn's, repeatable, resumable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from shared.domain.trainings import TrainingParameters
from worker.training import truths
from worker.training.head import HeadTraining
from worker.training.logistic_regression import regression

pytestmark = pytest.mark.slow

Rows = tuple[torch.Tensor, torch.Tensor]

WIRES = {
    "native": TrainingParameters(epochs=100, learning_rate=0.001, batch_size=32, max_unimproved_epochs=10),
    "slow": TrainingParameters(epochs=20, learning_rate=0.0001, batch_size=32, max_unimproved_epochs=20),
    "long": TrainingParameters(epochs=150, learning_rate=0.001, batch_size=64, max_unimproved_epochs=15),
}
"""The default parameters of the three wires that train."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run torch on one thread; such small sums are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digits(per_label: int, classes: int = 10, imbalanced: bool = False) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows of scikit-learn's digits; imbalanced, the last label has a tenth."""
    pixels, answers = (torch.tensor(part) for part in load_digits(return_X_y=True))
    chosen: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in range(classes):
        rows = (answers == label).nonzero()[:, 0].tolist()
        train = round(per_label * 10 ** (-label / (classes - 1))) if imbalanced else per_label
        ends = (0, train, train + max(1, train // 9), len(rows))
        for part, start, end in zip(chosen, ends, ends[1:], strict=False):
            part.extend(rows[start:end])
    train_rows, validation, test = ((pixels[part].float(), answers[part]) for part in chosen)
    return train_rows, validation, test


def ended(training: HeadTraining) -> HeadTraining:
    while not training.finished:
        training.step()
    return training


def accuracy(training: HeadTraining, test: Rows) -> float:
    weight, bias = training.result()
    return ((test[0] @ weight.T + bias).argmax(1) == test[1]).double().mean().item()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("per_label", "classes", "imbalanced"), [(20, 5, False), (20, 5, True), (100, 10, False), (100, 10, True)]
)
def test_it_is_at_most_two_points_below_logistic_regression(
    wire: str, per_label: int, classes: int, imbalanced: bool
) -> None:
    train, validation, test = digits(per_label, classes, imbalanced)
    theirs = LogisticRegression(max_iter=2000).fit(*(part.numpy() for part in train))
    ours = ended(HeadTraining(train, validation, classes, WIRES[wire]))
    assert accuracy(ours, test) >= theirs.score(*(part.numpy() for part in test)) - 0.02


def test_it_needs_no_validation_pictures() -> None:
    train, validation, test = digits(20, 5)
    training = HeadTraining(train, (validation[0][:0], validation[1][:0]), 5, TrainingParameters(epochs=5))
    report = training.step()
    assert (report.validation_loss, report.validation_accuracy) == (None, None)
    assert accuracy(ended(training), test) > 0.85


def test_a_head_without_a_bias_gets_none() -> None:
    train, validation, test = digits(20, 5)
    training = ended(HeadTraining(train, validation, 5, TrainingParameters(epochs=5), biased=False))
    assert not training.result()[1].any()
    assert accuracy(training, test) > 0.85


def test_a_resumed_training_ends_with_the_same_bits() -> None:
    train, validation, _ = digits(20, 5)
    whole = HeadTraining(train, validation, 5, TrainingParameters(epochs=8, seed=3))
    reports = [whole.step() for _ in range(8)]
    first = HeadTraining(train, validation, 5, whole.parameters)
    for _ in range(3):
        first.step()
    second = HeadTraining(train, validation, 5, whole.parameters)
    second.load(first.state())
    assert [second.step() for _ in range(5)] == reports[3:]
    assert second.finished == whole.finished == "all epochs are done"
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(second.result(), whole.result(), strict=True))


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    train, validation, _ = digits(20, 5)
    first, second, other = (
        ended(HeadTraining(train, validation, 5, TrainingParameters(epochs=4, seed=seed))).result()[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_it_ends_early_when_nothing_improves_and_keeps_the_best() -> None:
    train, validation, test = digits(20, 5)
    training = ended(
        HeadTraining(train, validation, 5, TrainingParameters(learning_rate=0.9, epochs=50, max_unimproved_epochs=4))
    )
    assert training.finished == "no improvement for 4 epochs"
    assert training.best_epoch == training.epoch - 4
    assert accuracy(training, test) > 0.85
    with pytest.raises(RuntimeError, match="over"):
        training.step()


def test_rare_labels_count_more_but_within_bounds() -> None:
    labels = torch.tensor([0] * 1000 + [1] * 100 + [2])
    counting = truths.balance(labels, 4)
    assert counting[1] / counting[0] == pytest.approx(10)
    assert counting[2] / counting[0] == pytest.approx(20)
    assert counting[3] == 0
    assert counting[labels].mean() == pytest.approx(1, abs=1e-5)


def test_working_in_the_span_of_few_pictures_changes_nothing() -> None:
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 3
    narrow = torch.randn(12, 8, generator=chance)
    wide = torch.cat([narrow, torch.zeros(12, 40)], dim=1)  # more features than pictures
    weight, bias = regression(narrow, labels, torch.ones(3), biased=True)
    same, bias_too = regression(wide, labels, torch.ones(3), biased=True)
    assert torch.allclose(weight, same[:, :8], atol=2e-3)
    assert torch.allclose(bias, bias_too, atol=2e-3)
    assert same[:, 8:].abs().max() < 1e-4
