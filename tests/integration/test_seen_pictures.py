"""A worker in this process, with the real `digits`: it keeps the pictures that it is unsure about, by choice only."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fakeredis
import numpy as np
import pytest
from PIL import Image

from shared.adapters import pauses
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.jobs import AnswerOptions, ImageReference, Job, Submission
from shared.domain.models import ModelVersion
from shared.domain.pictures import Limits
from shared.domain.rejection import RejectionRule, bank_key
from shared.domain.seen_pictures import LEAST_UNCERTAINTY, SeenPicture, Why
from shared.imaging import images
from shared.services import datasets, jobs, models, stored_images, suggestions
from shared.settings import Settings
from tests import digit_images
from tests.workers import make_container
from worker import consumer
from worker.engine import Loaded
from worker.process import WorkerProcess
from worker.rejection import FeatureBank
from worker.seen_pictures import AT_ONCE

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@pytest.fixture
def container(checked: Path, tmp_path: Path) -> Iterator[Container]:
    shutil.copytree(checked, tmp_path / "data")
    queue = Queue(Settings(lease=5.0), fakeredis.FakeRedis(decode_responses=True))
    container = make_container(tmp_path / "data", queue, lease=5.0, max_batch=64)
    yield container
    container.waiters.close()
    container.database.close()


@pytest.fixture
def worker(container: Container) -> WorkerProcess:
    """A worker without a heartbeat; tests call its steps."""
    return WorkerProcess(container)


@cache
def blended(one: int, other: int, number: int) -> bytes:
    """Return a picture of two digits at once, which no model is sure about."""
    first, second = (
        Image.open(io.BytesIO(digit_images.pictures(digit)[number])).convert("L") for digit in (one, other)
    )
    file = io.BytesIO()
    Image.blend(first, second, 0.5).save(file, "PNG")
    return file.getvalue()


UNSURE = [blended(one, other, number) for one, other in ((1, 7), (3, 8), (4, 9), (0, 5)) for number in range(4)]
SURE = [digit_images.pictures(digit)[number] for digit in (0, 6) for number in range(3)]


def version(container: Container) -> ModelVersion:
    return models.get_ready_version(container, "anna", "digits", "")


def run(worker: WorkerProcess, pictures: list[bytes], tenant: str = "anna", **options: str) -> Job:
    """Have the worker answer pictures in one job; their names are their numbers."""
    checked = [images.check(f"{number}.png", data, LIMITS) for number, data in enumerate(pictures)]
    submission = Submission(checked, model="digits", options=AnswerOptions(**options))  # type: ignore[arg-type]
    job, _ = pauses.run(jobs.submit(worker.container, tenant, submission))
    consumer.consume(worker, job.version_id)
    return jobs.get(worker.container, tenant, job.id)


def choose(container: Container, tenant: str = "anna", most: int = 100) -> None:
    suggestions.choose(container, tenant, "digits", most, 30)


def suggested(container: Container, tenant: str = "anna", limit: int = 100) -> list[SeenPicture]:
    return list(suggestions.suggest(container, tenant, "digits", "", limit).pictures)


def margins(model: Loaded, pictures: list[bytes]) -> list[float]:
    """Return the difference of the two best scores of each picture, by NumPy."""
    logits = model.forward([model.prepare(data) for data in pictures]).double().numpy()
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    ordered = np.sort(scores / scores.sum(axis=1, keepdims=True), axis=1)
    return [float(row[-1] - row[-2]) for row in ordered]


def test_a_worker_keeps_what_it_is_unsure_about_with_the_answer_that_it_gave(
    container: Container, worker: WorkerProcess
) -> None:
    choose(container)
    pictures = [*UNSURE, *SURE]
    job = run(worker, pictures)
    expected = margins(worker.engine.load(version(container)), pictures)
    answers = {item.name: item.result[0] for item in jobs.list_items(container, job)}

    kept = {each.name: each for each in suggested(container)}

    unsure = {f"{number}.png" for number, margin in enumerate(expected) if 1 - margin >= LEAST_UNCERTAINTY}
    assert len(unsure) > 8
    assert {f"{number}.png" for number in range(len(UNSURE), len(pictures))} - unsure  # of some it is sure
    with container.database.read() as uow:
        (choice,) = uow.seen_pictures.all_choices()
        assert {each.name for each in uow.seen_pictures.least_worth(choice.id, 100)} == unsure
    assert set(kept) <= unsure
    for name, each in kept.items():
        assert [each.label, each.score] == pytest.approx(answers[name])
        assert each.uncertainty == pytest.approx(1 - expected[int(name.removesuffix(".png"))], abs=1e-4)
        assert each.why == (Why.UNCERTAIN,)
        assert suggestions.read(container, "anna", "digits", each.id)[1] == pictures[int(name.removesuffix(".png"))]


def test_the_features_are_those_of_a_pass_for_features_and_the_answers_are_as_ever(
    container: Container, worker: WorkerProcess
) -> None:
    before = [item.result for item in jobs.list_items(container, run(worker, UNSURE))]
    choose(container)
    fresh = WorkerProcess(container)
    after = [item.result for item in jobs.list_items(container, run(fresh, UNSURE))]
    for one, other in zip(before, after, strict=True):
        assert [label for label, _ in one] == [label for label, _ in other]
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-5)
    model = fresh.engine.load(version(container))
    kept = suggested(container)
    with container.database.read() as uow:
        stored = uow.seen_pictures.features([each.id for each in kept])
    for each in kept:
        data = UNSURE[int(each.name.removesuffix(".png"))]
        row = model.forward([model.prepare(data)], "features").numpy()[0]
        assert np.frombuffer(stored[each.id], np.float16) == pytest.approx(row / np.linalg.norm(row), abs=2e-3)


def test_without_a_choice_nothing_is_kept_and_the_network_is_asked_for_no_features(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    forward = Loaded.forward

    def spy(model: Loaded, inputs: object, task: str = "classify") -> object:
        asked.append(task)
        return forward(model, inputs, task)  # type: ignore[arg-type]

    monkeypatch.setattr(Loaded, "forward", spy)
    choose(container, "bert")
    run(worker, UNSURE)
    assert set(asked) == {"classify"}
    assert suggested(container, "bert") == []
    assert container.storage.list("seen") == []

    run(worker, UNSURE[:2], "bert")
    assert asked[-1] == "both"
    assert len(suggested(container, "bert")) > 0
    run(worker, UNSURE[:2], "bert", task="features")
    assert asked[-1] == "features"


def test_a_choice_that_is_made_while_the_network_runs_keeps_nothing_of_that_pass(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.engine.load(version(container))  # which tries the network
    forward = Loaded.forward

    def choose_meanwhile(model: Loaded, inputs: object, task: str = "classify") -> object:
        choose(container)
        return forward(model, inputs, task)  # type: ignore[arg-type]

    monkeypatch.setattr("worker.seen_pictures.FRESH", 0.0)
    with monkeypatch.context() as during:
        during.setattr(Loaded, "forward", choose_meanwhile)
        run(worker, UNSURE[:1])
    assert suggested(container) == []
    run(worker, UNSURE[1:])
    kept = suggested(container)
    with container.database.read() as uow:
        widths = {len(row) for row in uow.seen_pictures.features([each.id for each in kept]).values()}
    assert len(widths) == 1


def test_of_a_batch_the_most_uncertain_are_kept(container: Container, worker: WorkerProcess) -> None:
    choose(container)
    pictures = [blended(1, 7, number) for number in range(AT_ONCE)] + [blended(3, 8, n) for n in range(AT_ONCE)]
    run(worker, pictures)
    expected = margins(worker.engine.load(version(container)), pictures)
    with container.database.read() as uow:
        (choice,) = uow.seen_pictures.all_choices()
        kept = uow.seen_pictures.least_worth(choice.id, 1000)
    worth = sorted((1 - margin for margin in expected if 1 - margin >= LEAST_UNCERTAINTY), reverse=True)
    assert len(worth) > AT_ONCE
    assert sorted((each.uncertainty for each in kept), reverse=True) == pytest.approx(worth[:AT_ONCE], abs=1e-4)


def test_a_picture_unlike_the_training_is_kept_however_sure_the_answer_is(
    container: Container, worker: WorkerProcess
) -> None:
    model = worker.engine.load(version(container))
    known = model.forward([model.prepare(data) for data in digit_images.pictures(0)[:30]], "features")
    bank = FeatureBank(known / known.norm(dim=1, keepdim=True))
    rule = RejectionRule(0.9, 0.0, float(bank.distances_within().max()), bank_key(model.version.id, "1"))
    container.storage.write(rule.bank, bank.to_bytes())
    with container.database.write() as uow:
        uow.model_versions.set_rejection(model.version.id, rule)
    choose(container)
    foreign = digit_images.pictures(6)[3]
    assert margins(model, [foreign])[0] > 1 - LEAST_UNCERTAINTY

    run(worker, [foreign, digit_images.pictures(0)[6]])

    (kept,) = suggested(container)
    assert (kept.name, kept.why, kept.worth) == ("0.png", (Why.UNLIKE_TRAINING,), 1.0)


def test_a_picture_that_a_job_refers_to_is_known_by_its_image(container: Container, worker: WorkerProcess) -> None:
    choose(container)
    picture = images.check("two.png", UNSURE[0], LIMITS)
    image = stored_images.store(container, "anna", "live", picture)
    submission = Submission([ImageReference(image.id, image.name, image.blob, image.size)], model="digits")
    job, _ = pauses.run(jobs.submit(container, "anna", submission))
    consumer.consume(worker, job.version_id)
    (kept,) = suggested(container)
    assert (kept.image_id, kept.name) == (image.id, "two.png")
    stored_images.delete(container, "anna", "live", image.id)
    assert suggested(container) == []


def test_a_failure_to_keep_pictures_fails_no_job(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(container)

    def fail(*_: object) -> None:
        raise OSError("broken")

    monkeypatch.setattr("shared.services.seen_pictures.keep", fail)
    assert run(worker, UNSURE[:2]).done == 2
    assert suggested(container) == []


def test_what_is_labelled_is_learned_from_and_suggested_no_more(container: Container, worker: WorkerProcess) -> None:
    choose(container)
    run(worker, UNSURE)
    dataset = datasets.create(container, "anna", "numbers", labels=["1", "7"])
    before = suggested(container)
    first = before[0]
    example = suggestions.label(container, "anna", "digits", first.id, ["7"], dataset.id, LIMITS)
    assert example.name == first.name
    run(worker, UNSURE)
    assert {each.sha256 for each in suggested(container)} == {each.sha256 for each in before[1:]}
