"""A trainer in this process, with the real `digits` as base: from an archive to a version that serves."""

from __future__ import annotations

import contextlib
import io
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score

from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue.locks import Locks, RenewedLock
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.datasets import Dataset, DatasetState
from shared.domain.jobs import BOTH, Status, Submission
from shared.domain.models import ModelState, ModelVersion
from shared.domain.trainings import TrainingParameters
from shared.services import (
    absences,
    comparisons,
    dataset_import,
    datasets,
    jobs,
    models,
    promotions,
    training_runs,
    trainings,
)
from shared.settings import Settings
from tests import digit_images
from tests.digit_trainings import QUICK, submit, trained, version
from tests.workers import make_container
from worker import tuning
from worker.engine import Engine
from worker.rejection import FeatureBank
from worker.trainer import Trainer
from worker.training import checkpoint_store, fine_tuning, plots, progress, stages
from worker.training.cancellation import Cancellation
from worker.training.features import features
from worker.training.pictures import read
from worker.training.run import TrainingRun

FEW = {1: 20, 2: 20, 3: 20}


@pytest.fixture
def container(checked: Path, tmp_path: Path) -> Iterator[Container]:
    shutil.copytree(checked, tmp_path / "data")
    queue = Queue(Settings(lease=5.0), fakeredis.FakeRedis(decode_responses=True))
    container = make_container(tmp_path / "data", queue, lease=5.0)
    yield container
    container.waiters.close()
    container.database.close()


@pytest.fixture(autouse=True)
def _quickly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the plots, which take a second each; one test checks the real ones."""
    if "plots" not in request.node.name:
        monkeypatch.setattr(plots, "render", lambda evidence: {"confusion.svg": b"<svg/>"})


@pytest.fixture
def trainer(container: Container) -> Trainer:
    """A trainer without threads; tests call its steps."""
    return Trainer(container)


def dataset(container: Container, members: Mapping[str, bytes], name: str = "numbers") -> Dataset:
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(members)))
    created = datasets.create(container, "anna", name, source=key)
    dataset_import.load(container, created.id)
    return datasets.get(container, "anna", created.id)


def blobs(container: Container, folder: str) -> list[str]:
    return container.storage.list(folder)


def test_an_archive_becomes_a_version_that_serves_with_all_its_evidence(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    ended = trained(trainer, submit(container, numbers))

    assert (ended.status, ended.error, ended.progress) == (Status.DONE, "", 1.0)
    added = version(container, ended)
    assert (added.state, added.version, added.is_default, added.labels) == (
        ModelState.READY,
        "1",
        True,
        ("one", "three", "two"),
    )
    assert added.training_id == ended.id
    assert models.get_ready_version(container, "anna", "mine").id == added.id
    evidence = dict(ended.evidence or {})
    assert evidence["accuracy"] >= 0.9
    assert evidence["examples"] == {"training": 48, "validation": 6, "test": 6}
    assert sum(map(sum, evidence["confusion"])) == 6
    assert [row["label"] for row in evidence["per_label"]] == ["one", "three", "two"]
    assert evidence["labels"] == ["one", "three", "two"]
    assert evidence["dataset"] == {"id": numbers.id, "name": "numbers", "version": 1}
    assert evidence["base"] == "digits 1"
    assert evidence["method"] == "head"
    assert len(evidence["tested"]) == 6
    assert evidence["curve"] == list(ended.curve)
    assert {point["stage"] for point in ended.curve} == {"head"}
    assert evidence["parameters"]["epochs"] == 5
    assert set(evidence) >= {"ece_before", "ece_after", "temperature", "reliability", "mistakes", "seconds", "machine"}
    assert blobs(container, "checkpoints") == []


def test_faster_engines_are_tried_on_pictures_that_were_not_trained_on(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = trained(trainer, submit(container, dataset(container, digit_images.files(FEW))))
    added = version(container, ended)
    assert tuning.example_pictures(container, added) == [], "6 pictures are too few"
    monkeypatch.setattr(tuning, "_ENOUGH", 6)
    splits = training_runs.get_splits(container, ended)
    stored = {read(container.storage, each) for each in splits.test}
    assert set(tuning.example_pictures(container, added)) == stored
    assert tuning.example_pictures(container, replace(added, training_id="")) == []


def test_a_rule_that_is_asked_for_is_chosen_and_measured_as_it_is_served(
    container: Container, trainer: Trainer
) -> None:
    cautious = replace(QUICK, reject_below_precision=0.9, unknown_label="unknown")
    other = dataset(container, digit_images.files({7: 6}), "sevens")
    ended = trained(trainer, submit(container, dataset(container, digit_images.files(FEW)), parameters=cautious))
    added = version(container, ended)
    assert added.rejection is not None
    assert (added.rejection.precision, added.rejection.label) == (0.9, "unknown")

    found = (ended.evidence or {})["rejection"]
    model = Engine(container.settings, container.storage.read).load(added)
    bank = FeatureBank.from_bytes(container.storage.read(added.rejection.bank))
    test = training_runs.get_splits(container, ended).test
    believed, right = [], []
    for example in test:
        row = model.forward([model.prepare(read(container.storage, example))], BOTH)[0]
        scores = softmax(row[:3].double().numpy())
        distance = float(bank.distances(row[None, 3:])[0])
        believed.append(scores.max() >= added.rejection.min_score and distance <= (added.rejection.max_distance or 9))
        right.append(added.labels[int(scores.argmax())] == example.label)
    assert (found["pictures"], found["believed"]) == (6, sum(believed))
    assert found["precision"] == pytest.approx(precision_score(np.array(right)[believed], [True] * sum(believed)))
    assert found["curve"][-1]["coverage"] <= 1.0
    rejected = {row["kind"]: (row["pictures"], row["rejected"]) for row in found["foreign"]}
    assert set(rejected) == {"noise", "text", "plain", "gradient", other.name}
    assert rejected["noise"][1] >= 0.8 * rejected["noise"][0]


def test_a_rule_that_the_pictures_cannot_support_is_left_out_with_the_reason(
    container: Container, trainer: Trainer
) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    ended = trained(trainer, submit(container, numbers, parameters=replace(QUICK, reject_below_precision=0.999)))
    assert ended.status is Status.DONE
    assert version(container, ended).rejection is None
    assert "do not suffice" in (ended.evidence or {})["rejection"]["reason"]


def test_the_plots_lie_beside_the_evidence(container: Container, trainer: Trainer) -> None:
    ended = trained(trainer, submit(container, dataset(container, digit_images.files(FEW))))
    plots = {key.rsplit("/", 1)[1] for key in blobs(container, f"plots/{ended.id}")}
    assert plots == {f"{name}.{kind}" for name in ("confusion", "curve", "reliability") for kind in ("svg", "png")}


def test_the_evidence_is_that_of_the_network_that_serves(container: Container, trainer: Trainer) -> None:
    ended = trained(trainer, submit(container, dataset(container, digit_images.files(FEW))))
    model = trainer.engine.load(version(container, ended))
    test = training_runs.get_splits(container, ended).test

    inputs = [model.prepare(container.storage.read(example.blob, example.offset, example.size)) for example in test]
    answers = model.forward(inputs).argmax(dim=1).tolist()

    right = sum(model.version.labels[answer] == example.label for answer, example in zip(answers, test, strict=True))
    assert (ended.evidence or {})["accuracy"] == right / len(test)
    assert (ended.evidence or {})["tested"] == [
        [example.id, answer] for example, answer in zip(test, answers, strict=True)
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(TrainingParameters(fine_tune="never"), id="native"),
        pytest.param(TrainingParameters(20, 0.0001, 32, 15, 0.9, fine_tune="never"), id="einstein"),
        pytest.param(TrainingParameters(150, 0.001, 64, 15, 0.8, fine_tune="never"), id="sap"),
    ],
)
def test_the_head_is_as_good_as_a_linear_probe_on_the_same_features(
    container: Container, trainer: Trainer, parameters: TrainingParameters
) -> None:
    numbers = dataset(container, digit_images.files({0: 60, 3: 60, 5: 60, 6: 60, 8: 60, 9: 60}))
    ended = trained(trainer, submit(container, numbers, parameters=parameters))
    dealt = training_runs.get_splits(container, ended)
    with container.database.read() as uow:
        base = uow.model_versions.find(ended.base_id)
    assert base is not None
    everything = features(
        container.storage, trainer.engine.load(base), (*dealt.training, *dealt.test), lambda done: None
    )
    learnt, tested = everything[: len(dealt.training)].numpy(), everything[len(dealt.training) :].numpy()

    probe = LogisticRegression(max_iter=2000).fit(learnt, [example.label for example in dealt.training])

    theirs = float(np.mean(probe.predict(tested) == [example.label for example in dealt.test]))
    assert (ended.evidence or {})["accuracy"] >= theirs - 0.02


def test_the_progress_of_features_counts_the_pictures_that_are_asked_for(
    container: Container, trainer: Trainer
) -> None:
    ended = trained(trainer, submit(container, dataset(container, digit_images.files(FEW))))
    dealt = training_runs.get_splits(container, ended)
    with container.database.read() as uow:
        base = uow.model_versions.find(ended.base_id)
    assert base is not None
    told: list[int] = []
    features(container.storage, trainer.engine.load(base), dealt.test, told.append)
    assert told[-1] == len(dealt.test), "features that lie there for other pictures are not counted"


@pytest.mark.long
def test_the_same_data_and_seed_give_the_same_network(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    first = trained(trainer, submit(container, numbers))
    second = trained(trainer, submit(container, numbers, name="again"))

    assert version(container, first).checksum == version(container, second).checksum
    assert (first.evidence or {})["accuracy"] == (second.evidence or {})["accuracy"]


def test_a_small_network_is_trained_where_no_base_is_wanted_and_says_so(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files({0: 12, 1: 12}))
    ended = trained(trainer, submit(container, numbers, base="scratch", parameters=TrainingParameters(epochs=3)))

    assert ended.status is Status.DONE
    assert version(container, ended).architecture == "small"
    assert (ended.evidence or {})["method"] == "scratch"
    assert "from nothing" in (ended.evidence or {})["note"]
    assert {point["stage"] for point in ended.curve} == {"network"}


def test_fine_tuning_that_was_asked_for_is_kept_only_if_it_helps(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files({7: 30, 9: 30}))
    ended = trained(
        trainer, submit(container, numbers, parameters=TrainingParameters(epochs=3, fine_tune="always", flip=False))
    )

    evidence = dict(ended.evidence or {})
    assert {point["stage"] for point in ended.curve} == {"head", "fine-tuning", "refit"}
    assert evidence["method"] in ("head", "fine-tuned")
    assert ("did not help" in evidence["note"]) == (evidence["method"] == "head")
    assert evidence["seconds"]["fine_tuning"] > 0


@pytest.mark.long
def test_features_are_computed_once_for_each_picture(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    trained(trainer, submit(container, numbers))
    looked: list[int] = []
    forward = type(trainer.engine.load(models.get_version(container, "anna", "digits"))).forward

    def counted(self: Any, inputs: Any, task: str = "classify") -> torch.Tensor:
        looked.extend([len(inputs)] if task == "features" else [])
        return forward(self, inputs, task)

    monkeypatch.setattr("worker.engine.Loaded.forward", counted)
    more = dataset_import.keep_upload(
        container, "anna", io.BytesIO(digit_images.archive(digit_images.files({1: 4, 2: 4}, start=50)))
    )
    datasets.add_archive(container, "anna", numbers.id, more)
    dataset_import.load(container, numbers.id)

    assert trained(trainer, submit(container, numbers)).status is Status.DONE
    assert sum(looked) <= 8 + 6  # the new ones, and what was test before and is not now


@pytest.mark.long
def test_a_trainer_that_is_stopped_leaves_the_rest_to_another(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    whole = trained(trainer, submit(container, numbers, name="whole"))
    training = submit(container, numbers)
    _after_epochs(monkeypatch, 2, trainer.stopping.set)

    half = trained(trainer, training)
    assert (half.status, half.attempts) == (Status.RUNNING, 0)
    assert [point["epoch"] for point in half.curve] == [1, 2]
    monkeypatch.undo()
    ended = trained(Trainer(container), training)

    assert ended.status is Status.DONE
    assert ended.curve == whole.curve
    assert version(container, ended).checksum == version(container, whole).checksum


@pytest.mark.long
@pytest.mark.parametrize(("epochs", "stage"), [(2, "head"), (4, "fine-tuning"), (7, "refit")])
def test_fine_tuning_goes_on_at_the_stage_in_which_a_trainer_was_stopped(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, epochs: int, stage: str
) -> None:
    numbers = dataset(container, digit_images.files({7: 30, 9: 30}))
    thorough = TrainingParameters(epochs=3, fine_tune="always", flip=False)
    whole = trained(trainer, submit(container, numbers, name="whole", parameters=thorough))
    training = submit(container, numbers, parameters=thorough)
    _after_epochs(monkeypatch, epochs, trainer.stopping.set)

    half = trained(trainer, training)
    assert (half.status, half.curve[-1]["stage"], len(half.curve)) == (Status.RUNNING, stage, epochs)
    monkeypatch.undo()
    ended = trained(Trainer(container), training)

    assert ended.curve == whole.curve
    assert {point["stage"] for point in ended.curve} == {"head", "fine-tuning", "refit"}
    assert version(container, ended).checksum == version(container, whole).checksum


@pytest.mark.long
def test_fine_tuning_that_the_time_cut_short_says_so(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = dataset(container, digit_images.files({7: 30, 9: 30}))
    parameters = TrainingParameters(epochs=3, fine_tune="always", flip=False)
    begin = fine_tuning.Trial.of

    def late(*arguments: Any, **about: Any) -> Any:
        monkeypatch.setattr(Cancellation, "out_of_time", True)
        return begin(*arguments, **about)

    monkeypatch.setattr(fine_tuning.Trial, "of", late)
    ended = trained(trainer, submit(container, numbers, parameters=parameters))
    assert (ended.status, (ended.evidence or {})["method"]) == (Status.DONE, "head")
    assert "The time was over" in (ended.evidence or {})["note"]


@pytest.mark.parametrize("where", ["features", "epoch", "plots"])
def test_a_trainer_that_is_killed_anywhere_leaves_nothing_and_another_finishes(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))

    def crash(*_: Any, **__: Any) -> None:
        raise SystemExit(9)

    if where == "epoch":
        _after_epochs(monkeypatch, 2, crash)
    else:
        monkeypatch.setattr(*{"features": (stages, "features"), "plots": (plots, "render")}[where], crash)
    with pytest.raises(SystemExit):
        trainer._train_all()
    assert trainings.get(container, "anna", training.id).status is Status.RUNNING
    with pytest.raises(errors.NotFound):
        models.get_version(container, "anna", "mine")
    monkeypatch.undo()

    assert trained(Trainer(container), training).status is Status.DONE


def test_what_kills_trainers_again_and_again_fails_with_the_reason(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    monkeypatch.setattr(stages, "features", _raises(SystemExit(9)))
    for _ in range(container.settings.max_attempts):
        with pytest.raises(SystemExit):
            trainer._train_all()

    ended = trained(trainer, training)

    assert (ended.status, ended.error_code) == (Status.FAILED, "poison")
    assert "3 trainers crashed" in ended.error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), "out_of_memory", "too little memory"),
        (torch.OutOfMemoryError("cuda"), "out_of_memory", "too little memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", "too little memory"),
        (errors.BadOption("another base"), "bad_option", "another base"),
        (ZeroDivisionError(), "training_failed", "ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_ends_the_training_with_words_and_leaves_the_dataset(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, words: str
) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    monkeypatch.setattr(stages, "features", _raises(error))

    ended = trained(trainer, submit(container, numbers))

    assert (ended.status, ended.error_code) == (Status.FAILED, code)
    assert words in ended.error
    assert datasets.get(container, "anna", numbers.id).state is DatasetState.READY
    with pytest.raises(errors.NotFound):
        models.get_version(container, "anna", "mine")


FULL = "The disk of the trainer is full; make room on it. It goes on when there is."


@pytest.mark.long
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.Unavailable("The storage does not answer."),
            "The storage does not answer. It goes on when that is back.",
        ),
        (errors.StorageFull("The storage is full."), "The storage is full. It goes on when that is back."),
        (OSError(28, "No space left on device"), FULL),
        (RuntimeError("I/O error: No space left on device (os error 28)"), FULL),
    ],
)
def test_a_storage_that_is_away_or_full_for_a_while_costs_nothing_but_time(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    monkeypatch.setattr(stages, "features", _raises(error))
    for _ in range(container.settings.max_attempts + 2):
        waiting = trained(trainer, training)
        assert (waiting.status, waiting.attempts) == (Status.RUNNING, 0)
    assert waiting.message == message
    monkeypatch.undo()

    assert trained(trainer, training).status is Status.DONE


def test_one_that_another_trainer_has_by_now_is_left_to_it(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    lost = threading.Event()
    monkeypatch.setattr(Locks, "renewed", lambda self, name: contextlib.nullcontext(RenewedLock(lost)))
    _after_epochs(monkeypatch, 2, lost.set)

    left = trained(trainer, training)

    assert (left.status, left.attempts) == (Status.RUNNING, 0)  # the stored epoch has set it back
    with pytest.raises(errors.NotFound):
        models.get_version(container, "anna", "mine")


def test_a_default_that_cannot_be_loaded_does_not_keep_a_new_version_from_being_made(
    container: Container, trainer: Trainer
) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    broken = version(container, trained(trainer, submit(container, numbers)))
    container.storage.write(broken.weights, b"damaged")

    second = trained(Trainer(container), submit(container, numbers))

    assert (second.status, second.version) == (Status.DONE, "2")
    with container.database.read() as uow:
        assert uow.comparisons.of("anna", "mine") == []


def test_a_cancelled_training_ends_between_two_epochs_and_leaves_nothing(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    _after_epochs(monkeypatch, 2, lambda: trainings.cancel(container, "anna", training.id))

    ended = trained(trainer, training)

    assert ended.status is Status.CANCELLED
    assert blobs(container, "checkpoints") == []
    with pytest.raises(errors.NotFound):
        models.get_version(container, "anna", "mine")


def test_one_that_is_cancelled_at_the_last_moment_registers_nothing(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    finish = training_runs.finish

    def cancelled(*arguments: Any) -> ModelVersion:
        trainings.cancel(container, "anna", training.id)
        return finish(*arguments)

    monkeypatch.setattr(training_runs, "finish", cancelled)

    assert trained(trainer, training).status is Status.CANCELLED
    with pytest.raises(errors.NotFound):
        models.get_version(container, "anna", "mine")
    assert blobs(container, f"plots/{training.id}") == []
    assert blobs(container, f"weights/{training.id}") == []
    for folder in ("examples", "checkpoints"):
        assert not [key for key in blobs(container, folder) if training.id in key]


@pytest.mark.long
def test_one_that_is_out_of_time_ends_with_the_best_it_has(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = dataset(container, digit_images.files(FEW))
    training = submit(container, numbers, parameters=TrainingParameters(epochs=1000, max_unimproved_epochs=1000))
    _after_epochs(monkeypatch, 3, lambda: monkeypatch.setattr(Cancellation, "out_of_time", True))

    ended = trained(trainer, training)

    assert (ended.status, (ended.evidence or {})["stopped"], len(ended.curve)) == (Status.DONE, "time", 3)


def test_one_whose_time_is_over_before_it_learned_anything_says_so(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cancellation, "out_of_time", True)
    ended = trained(trainer, submit(container, dataset(container, digit_images.files(FEW))))
    assert (ended.status, ended.error_code) == (Status.FAILED, "out_of_time")
    assert "give it more" in ended.error


def test_a_training_waits_for_a_picture_that_the_storage_lacks(container: Container, trainer: Trainer) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    (blob,) = {example.blob for example in training_runs.get_splits(container, training).training}
    data = container.storage.read(blob)
    container.storage.delete(blob)
    for _ in range(container.settings.max_attempts + 2):
        waiting = trained(trainer, training)
        assert (waiting.status, waiting.attempts) == (Status.RUNNING, 0)
    assert f"The storage lacks {blob}, which nobody removed" in waiting.message
    assert absences.report(container)[0] == 1
    container.storage.write(blob, data)
    assert trained(trainer, training).status is Status.DONE
    assert absences.report(container) == (0, 0.0)


def test_a_picture_that_stays_missing_is_named_with_the_time_since_when(container: Container, trainer: Trainer) -> None:
    training = submit(container, dataset(container, digit_images.files(FEW)))
    (blob,) = {example.blob for example in training_runs.get_splits(container, training).training}
    container.storage.delete(blob)
    began = container.now()
    for minute in (0, 5, 10):  # each try may take long until it comes to the picture
        trainer.container = replace(container, now=lambda minute=minute: began + 60 * minute)  # type: ignore[misc]
        ended = trained(trainer, training)
        assert (ended.status is Status.FAILED) == (minute == 10)
    assert ".png" in ended.error
    assert "not in the storage" in ended.error
    assert f"missing since {absences.in_words(began)}" in ended.error


def test_another_version_is_compared_with_the_default_and_waits_for_promotion(
    container: Container, trainer: Trainer
) -> None:
    numbers = dataset(container, digit_images.files({1: 40, 7: 40}))
    trained(trainer, submit(container, numbers))
    second = trained(
        trainer, submit(container, numbers, parameters=TrainingParameters(epochs=1, seed=0, fine_tune="never"))
    )

    assert (second.version, version(container, second).is_default) == ("2", False)
    with container.database.read() as uow:
        (report,) = [comparison.report for comparison in uow.comparisons.of("anna", "mine")]
    assert report is not None
    assert (report["candidate"]["version"], report["baseline"]["version"]) == ("2", "1")
    assert report["pictures"] == 8
    assert report["left_out"] == 0
    assert report["candidate"]["accuracy"] == (second.evidence or {})["accuracy"]
    assert report["baseline"]["milliseconds"] > 0
    assert promotions.promote(container, "anna", "mine", "2").is_default
    assert models.get_ready_version(container, "anna", "mine").version == "2"
    assert promotions.rollback(container, "anna", "mine").version == "1"


def test_pictures_that_the_default_has_learned_from_are_left_out(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files({1: 40, 7: 40}))
    trained(trainer, submit(container, numbers))
    trained(trainer, submit(container, numbers, parameters=TrainingParameters(epochs=1, seed=1, fine_tune="never")))

    with container.database.read() as uow:
        (comparison,) = uow.comparisons.of("anna", "mine")
    report = dict(comparison.report or {})
    assert report["left_out"] > 0
    assert report["pictures"] + report["left_out"] == 8


def test_two_versions_are_compared_on_request(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files({1: 40, 7: 40}))
    for _ in range(2):
        trained(trainer, submit(container, numbers))
    other = dataset(container, digit_images.files({1: 20, 7: 20}, start=100), "fresh")

    comparison = comparisons.request(container, "anna", "mine", "2", "1", dataset_id=other.id)
    with container.database.read() as uow:
        (blob,) = uow.datasets.blobs(other.id)
    data = container.storage.read(blob)
    container.storage.delete(blob)
    trainer._run_errands()
    assert comparisons.get(container, "anna", comparison.id).status is Status.QUEUED  # the storage may have it again
    container.storage.write(blob, data)
    trainer._run_errands()

    ended = comparisons.get(container, "anna", comparison.id)
    assert (ended.status, ended.error) == (Status.DONE, "")
    assert ended.report is not None
    assert ended.report["agreement"] == 1.0  # the same data and seed


def test_no_tenant_waits_behind_all_archives_of_another(
    container: Container, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(tenant: str) -> int:
        return datasets.create(container, tenant, "numbers", source="uploads/none").id

    first, second = sorted([create("anna"), create("anna")])  # ids within a hundredth of a second are chance
    done: list[object] = []
    later: list[int] = []

    def load(container: Container, dataset_id: int, stopping: threading.Event) -> None:
        done.append(dataset_id)
        if not later:  # while the first is being loaded, another tenant adds one
            later.append(create("bert"))
        with container.database.write() as uow:
            loading = uow.datasets.find_by_id(dataset_id)
            assert loading
            if dataset_id != second:
                uow.datasets.save(replace(loading, state=DatasetState.READY))

    monkeypatch.setattr(dataset_import, "load", load)
    monkeypatch.setattr(trainer, "_compare_all", lambda: done.append("compared"))
    trainer._run_errands()
    # The last one stays as it is, as one whose storage is away does, and is tried once.
    assert done == ["compared", first, "compared", *later, "compared", second, "compared"]


def test_a_training_waits_for_its_dataset_and_then_begins(container: Container, trainer: Trainer) -> None:
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(digit_images.files(FEW))))
    waiting = datasets.create(container, "anna", "numbers", source=key)
    training = submit(container, waiting, allow_unready_dataset=True)
    assert trained(trainer, training).status is Status.QUEUED

    trainer._run_errands()

    ended = trained(trainer, training)
    assert (ended.status, ended.dataset_version) == (Status.DONE, 1)


def test_a_dataset_that_turns_out_unfit_fails_the_training_that_waited_for_it(
    container: Container, trainer: Trainer
) -> None:
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(digit_images.files({1: 5}))))
    waiting = datasets.create(container, "anna", "numbers", source=key)
    training = submit(container, waiting, allow_unready_dataset=True)

    trainer._run_errands()

    ended = trained(trainer, training)
    assert (ended.status, ended.error_code) == (Status.FAILED, "bad_dataset")
    assert "at least 2 labels" in ended.error


def test_imbalance_does_not_make_the_rare_label_disappear(container: Container, trainer: Trainer) -> None:
    numbers = dataset(container, digit_images.files({3: 100, 8: 10}))
    ended = trained(trainer, submit(container, numbers))
    recalls = {row["label"]: row["recall"] for row in (ended.evidence or {})["per_label"]}
    assert recalls["eight"] >= 0.5


def test_a_trained_version_answers_jobs_like_any_other(container: Container, trainer: Trainer) -> None:
    from worker import consumer
    from worker.process import WorkerProcess

    trained(trainer, submit(container, dataset(container, digit_images.files(FEW))))
    worker = WorkerProcess(container)
    data = digit_images.pictures(2)[100]
    picture = Submission([_picture(data)], model="mine")
    job, _ = run(jobs.submit(container, "anna", picture))

    consumer.consume(worker, job.version_id)

    with container.database.read() as uow:
        (item,) = uow.jobs.items(job.id)
    assert item.result[0][0] == "two"


def _picture(data: bytes) -> Any:
    from shared.domain.pictures import Limits
    from shared.imaging import images

    return images.check("held-back.png", data, Limits(10**7, 10**8, 100.0, 10, 10**8))


def _raises(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _after_epochs(monkeypatch: pytest.MonkeyPatch, count: int, then: Callable[[], object]) -> None:
    """Call a function just before the epoch of that number is recorded."""
    record_epoch, recorded = TrainingRun.record_epoch, []
    for module in (checkpoint_store, progress):
        monkeypatch.setattr(module, "OFTEN", 0.0)

    def counted(self: TrainingRun, *arguments: Any) -> None:
        recorded.append(1)
        if len(recorded) == count:
            then()
        record_epoch(self, *arguments)

    monkeypatch.setattr(TrainingRun, "record_epoch", counted)
