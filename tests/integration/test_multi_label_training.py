"""A trainer in this process makes a multi-label version from real pictures; its numbers are computed again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn import metrics

from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.datasets import Dataset
from shared.domain.jobs import Status
from shared.domain.models import ProblemType
from shared.domain.scores import lowest_logits
from shared.domain.trainings import Training, TrainingParameters
from shared.services import comparisons, dataset_import, datasets, promotions, training_runs
from shared.settings import Settings
from tests import digit_images
from tests.digit_trainings import QUICK, submit, trained, version
from tests.workers import make_container
from worker.engine import top_k
from worker.trainer import Trainer
from worker.training import checkpoint_store, fine_tuning, plots, progress
from worker.training.pictures import read
from worker.training.run import TrainingRun

TRAITS = {"even": (0, 2, 4, 6, 8), "round": (0, 6, 8, 9), "prime": (2, 3, 5, 7), "seven": (7,)}
"""Label -> the digits that have it; a one has none."""
DIGITS = {0: 16, 1: 16, 2: 16, 3: 16, 6: 16, 7: 6, 9: 16}


@pytest.fixture
def container(checked: Path, tmp_path: Path) -> Iterator[Container]:
    shutil.copytree(checked, tmp_path / "data")
    queue = Queue(Settings(lease=5.0), fakeredis.FakeRedis(decode_responses=True))
    container = make_container(tmp_path / "data", queue, lease=5.0)
    yield container
    container.waiters.close()
    container.database.close()


@pytest.fixture
def trainer(container: Container, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A trainer without threads, and without plots, which take a second each; tests call its steps."""
    monkeypatch.setattr(plots, "render", lambda evidence: {"confusion.svg": b"<svg/>"})
    return Trainer(container)


def traits(digit: int) -> list[str]:
    return [label for label, digits in TRAITS.items() if digit in digits]


def dataset(
    container: Container, counts: dict[int, int] | None = None, name: str = "traits", start: int = 0
) -> Dataset:
    """Load digits with their traits from an archive with a table."""
    members = {}
    rows = ["file,labels"]
    for digit, count in (counts or DIGITS).items():
        for number in range(start, start + count):
            members[f"{digit}-{number}.png"] = digit_images.pictures(digit)[number]
            rows.append(f"{digit}-{number}.png,{'|'.join(traits(digit))}")
    members["labels.csv"] = "\n".join(rows).encode()
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(members)))
    created = datasets.create(container, "anna", name, source=key)
    dataset_import.load(container, created.id)
    return datasets.get(container, "anna", created.id)


def run_again(trainer: Trainer, training: Training) -> tuple[NDArray[Any], NDArray[Any], list[set[str]]]:
    """Return truths (N, C), scores (N, C) and the labels of the answers, from the version as a worker runs it."""
    container, made = trainer.container, version(trainer.container, training)
    model, test = trainer.engine.load(made), training_runs.get_splits(trainer.container, training).test
    logits = model.forward([model.prepare(read(container.storage, example)) for example in test])
    lowest = lowest_logits(made, with_thresholds=True)
    answers = top_k(logits, made.labels, len(made.labels), "sigmoid", lowest)
    truths = np.array([[label in example.labels for label in made.labels] for example in test])
    return truths, expit(logits.double().numpy()), [{label for label, _ in answer} for answer in answers]


def test_an_archive_with_a_table_becomes_a_multi_label_version_with_its_evidence(
    container: Container, trainer: Trainer
) -> None:
    source = dataset(container)
    ended = trained(trainer, submit(container, source))
    assert (ended.status, ended.error) == (Status.DONE, "")
    made = version(container, ended)
    assert (made.problem_type, made.labels) == (ProblemType.MULTI_LABEL, ("even", "prime", "round", "seven"))
    assert len(made.thresholds) == 4
    evidence = dict(ended.evidence or {})
    assert evidence["mean_average_precision"] > 0.9
    assert evidence["cross_validation"]["pictures"] >= 80
    assert evidence["rejection"] is None

    truths, scores, answers = run_again(trainer, ended)
    answered = np.array([[label in answer for label in made.labels] for answer in answers])
    occurs = truths.any(axis=0)
    precisions = metrics.average_precision_score(truths[:, occurs], scores[:, occurs], average=None)
    assert evidence["mean_average_precision"] == pytest.approx(precisions.mean())
    assert evidence["micro_f1"] == pytest.approx(metrics.f1_score(truths, answered, average="micro"))
    counted = occurs | answered.any(axis=0)
    assert evidence["macro_f1"] == pytest.approx(
        metrics.f1_score(truths[:, counted], answered[:, counted], average="macro", zero_division=0)
    )
    assert evidence["accuracy"] == pytest.approx(metrics.accuracy_score(truths, answered))
    rows = metrics.multilabel_confusion_matrix(truths, answered)
    for row, ((without, wrongly), (missed, rightly)) in zip(evidence["per_label"], rows, strict=True):
        assert (row["true_negatives"], row["false_positives"]) == (without, wrongly)
        assert (row["false_negatives"], row["true_positives"]) == (missed, rightly)
    assert [row["threshold"] for row in evidence["per_label"]] == list(made.thresholds)


@pytest.mark.long
def test_the_same_data_and_seed_give_the_same_version_also_after_a_stop(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dataset(container, {0: 10, 1: 10, 2: 10})
    whole = trained(trainer, submit(container, source, name="whole"))
    training = submit(container, source)
    record, recorded = TrainingRun.record_epoch, []
    for module in (checkpoint_store, progress):
        monkeypatch.setattr(module, "OFTEN", 0.0)

    def stopping(self: TrainingRun, *arguments: Any) -> None:
        recorded.append(1)
        if len(recorded) == 2:
            trainer.stopping.set()
        record(self, *arguments)

    monkeypatch.setattr(TrainingRun, "record_epoch", stopping)
    half = trained(trainer, training)
    assert (half.status, len(half.curve)) == (Status.RUNNING, 2)
    monkeypatch.undo()
    ended = trained(Trainer(container), training)
    assert version(container, ended).checksum == version(container, whole).checksum
    assert version(container, ended).thresholds == version(container, whole).thresholds


@pytest.mark.long
def test_fine_tuning_trains_on_several_labels(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "is_better", lambda before, after, shown: True)
    thorough = TrainingParameters(epochs=2, fine_tune="auto", flip=False)
    monkeypatch.setattr(fine_tuning, "_why_not", lambda trial, device: "")
    ended = trained(trainer, submit(container, dataset(container, {0: 12, 1: 12, 2: 12}), parameters=thorough))
    assert ended.status is Status.DONE, ended.error
    evidence = dict(ended.evidence or {})
    assert [point["stage"] for point in ended.curve][-1] == "refit"
    assert evidence["method"] == "fine-tuned"
    truths, scores, _ = run_again(trainer, ended)
    occurs = truths.any(axis=0)
    assert evidence["mean_average_precision"] == pytest.approx(
        metrics.average_precision_score(truths[:, occurs], scores[:, occurs], average="macro")
    )


def test_a_small_network_learns_several_labels_from_nothing(container: Container, trainer: Trainer) -> None:
    parameters = TrainingParameters(epochs=2)
    ended = trained(
        trainer, submit(container, dataset(container, {0: 12, 1: 12}), base="scratch", parameters=parameters)
    )
    assert ended.status is Status.DONE, ended.error
    assert version(container, ended).problem_type is ProblemType.MULTI_LABEL


@pytest.mark.long
def test_versions_are_compared_by_their_mean_average_precision_and_promoted(
    container: Container, trainer: Trainer
) -> None:
    source = dataset(container)
    first = trained(trainer, submit(container, source, base="scratch", parameters=TrainingParameters(epochs=1)))
    second = trained(trainer, submit(container, source))
    [comparison] = comparisons.list_of_model(container, "anna", "mine")
    report = dict(comparison.report or {})
    expected = []
    for ended in (second, first):
        truths, scores, _ = run_again(trainer, ended)
        occurs = truths.any(axis=0)
        expected.append(metrics.average_precision_score(truths[:, occurs], scores[:, occurs], average="macro"))
    found = [report[role]["mean_average_precision"] for role in ("candidate", "baseline")]
    assert found == pytest.approx(expected)
    assert report["mean_average_precision_change"] == pytest.approx(expected[0] - expected[1])
    low, high = report["mean_average_precision_change_interval"]
    assert low < report["mean_average_precision_change"] < high
    assert report["verdict"] == ("better" if low > 0 else "open")
    assert report["candidate"]["version"] == "2"
    promotions.promote(container, "anna", "mine", "2")
    again = comparisons.request(container, "anna", "mine", "1")
    trainer._compare_all()
    assert comparisons.get(container, "anna", again.id).status is Status.DONE


def test_a_rejection_rule_is_refused_for_several_labels(container: Container) -> None:
    cautious = replace(QUICK, reject_below_precision=0.9)
    with pytest.raises(Exception, match="a rejection rule is for single-label datasets"):
        submit(container, dataset(container, {0: 3, 1: 3}), parameters=cautious)


def test_a_network_that_clips_its_logits_is_no_base_for_several_labels() -> None:
    from shared.errors import BadOption
    from worker.training import heads

    class Clipped(torch.nn.Module):
        """SqueezeNet's head: a ReLU stands between a convolution and the average."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = torch.nn.Conv2d(4, 9, 1)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.classifier(pictures)).mean(dim=(2, 3))

    batch, weight = torch.rand(2, 4, 3, 3), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    heads.replace_head(Clipped(), weight, torch.full((2,), -9.0), lambda: [batch])
    with pytest.raises(BadOption, match="does more after its last layer"):
        heads.replace_head(Clipped(), weight, torch.full((2,), -9.0), lambda: [batch], may_raise=False)
