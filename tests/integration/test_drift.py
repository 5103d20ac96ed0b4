"""Drift with a real worker: what is counted, when it is judged, who is called back, and what is removed."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fakeredis
import numpy as np
import pytest
import sqlalchemy as sa
import uuid6
from PIL import Image

from shared import errors
from shared.adapters import pauses, postponed_calls
from shared.adapters.database.drift_tables import drift_counts
from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain import drift as rules
from shared.domain.datasets import Dataset
from shared.domain.drift import Kind, Profile, Reference, Source, Verdict, measure_name
from shared.domain.jobs import AnswerOptions, Item, Job, Outcome, Status, Submission
from shared.domain.models import ALL_TENANTS, ModelImport, ModelVersion, pick
from shared.domain.observations import Observation
from shared.domain.pictures import Limits
from shared.domain.rejection import RejectionRequest
from shared.domain.trainings import TrainingParameters, TrainingRequest
from shared.domain.webhooks import ModelWebhook
from shared.imaging import images
from shared.services import (
    absences,
    dataset_import,
    datasets,
    drift,
    drift_references,
    jobs,
    maintenance,
    models,
    rejection,
    result_cache,
    trainings,
    webhook_deliveries,
)
from shared.settings import Settings
from tests import dataset_fixtures, digit_images
from tests.webhook_receivers import deliver, receiving
from tests.workers import checked_container, registered
from worker import consumer, drift_reference, model_check, process, rejection_fit
from worker.process import WorkerProcess
from worker.trainer import Trainer
from worker.training import plots

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)
DAY = 86_400.0


@pytest.fixture
def container(checked: Path, tmp_path: Path) -> Iterator[Container]:
    queue = Queue(Settings(prefix="drift:", lease=0.5), fakeredis.FakeRedis(decode_responses=True))
    with checked_container(checked, tmp_path, queue) as container:
        yield replace(container, settings=container.settings.changed(webhook_private=True))
    queue.close()


@pytest.fixture
def worker(container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """A worker that reads a version again for each notification."""
    monkeypatch.setattr(process, "FRESH", 0.0)
    with registered(container) as worker:
        yield worker


def later(container: Container, days: float) -> Container:
    return replace(container, now=lambda: time.time() + days * DAY)


def dataset(container: Container, members: Mapping[str, bytes], name: str = "numbers") -> Dataset:
    key = dataset_import.keep_upload(container, "anna", io.BytesIO(digit_images.archive(members)))
    created = datasets.create(container, "anna", name, source=key)
    dataset_import.load(container, created.id)
    return datasets.get(container, "anna", created.id)


def imported(worker: WorkerProcess) -> ModelVersion:
    """Import the weights of `digits` with words for labels."""
    container = worker.container
    with container.database.read() as uow:
        digits = pick(uow.model_versions.named(ALL_TENANTS, "digits"), "digits")
    container.storage.write("uploads/x", container.storage.read(digits.weights))
    wanted = ModelImport("uploads/x", digit_images.WORDS)
    added = models.add(container, "anna", "mine", architecture="digits", imported=wanted)
    model_check.check(worker, added.id)
    return added


def digits(count: int, start: int = 1) -> list[bytes]:
    """Return so many pictures of each digit, in the handwritings of all: they are in the order of their writers."""
    places = [start + 2 * (number * 80 // count) for number in range(count)]
    return [digit_images.pictures(digit)[place] for place in places for digit in range(10)]


def members(count: int) -> dict[str, bytes]:
    """Return the files of a dataset as `digits`, none of which is among those."""
    return {f"{digit_images.WORDS[place % 10]}/{place}.png": data for place, data in enumerate(digits(count, start=0))}


def noise(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (40, 40), dtype=np.uint8) for _ in range(count)]
    files = [io.BytesIO() for _ in pixels]
    for file, values in zip(files, pixels, strict=True):
        Image.fromarray(values).save(file, "PNG")
    return [file.getvalue() for file in files]


def run(worker: WorkerProcess, pictures: list[bytes], name: str = "mine", **about: Any) -> Job:
    """Submit pictures in one job, and run them."""
    checked = [images.check(f"{number}.png", data, LIMITS) for number, data in enumerate(pictures)]
    job, _ = pauses.run(jobs.submit(worker.container, "anna", Submission(checked, model=name, **about)))
    consumer.consume(worker, job.version_id)
    return job


def look(container: Container, name: str = "mine", days: int = 30) -> drift.Report:
    return drift.get(container, "anna", name, "", days)


@pytest.mark.slow
def test_foreign_pictures_are_a_drift_that_calls_back_once_and_known_ones_are_none(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = dataset(container, members(40))
    parameters = TrainingParameters(epochs=5, fine_tune="never", reject_below_precision=0.9)
    request = TrainingRequest(numbers.id, "mine", base="digits", parameters=parameters)
    training = trainings.submit(container, "anna", request)
    monkeypatch.setattr(plots, "render", lambda evidence: {})  # which take a second each
    Trainer(container)._train_all()
    assert trainings.get(container, "anna", training.id).status is Status.DONE
    reference = look(container).reference
    assert reference
    assert reference.profile.distance.total() == reference.profile.pictures >= rules.FEWEST_KNOWN
    assert reference.source is Source.TEST
    rule = look(container).version.rejection
    assert rule
    assert reference.bank == rules.bank_name(rule.bank)

    run(worker, digits(12))
    report = look(container)
    (today,) = report.days
    assert (today.pictures, today.drifted, report.verdict) == (120, [], Verdict.ALIKE)
    assert all(shift.effect is not None for shift in today.shifts.values())

    with receiving() as hook:
        drift.set_webhook(container, "anna", "mine", ModelWebhook(hook.url, "s3cret"))
        run(worker, noise(120))
        report = look(container)
        assert Kind.DISTANCE in report.days[0].drifted
        assert report.verdict is Verdict.UNLIKE_PICTURES
        maintenance.reconcile(container)
        deliver(container)
        assert hook.calls == [], "the day is not over"
        for _ in range(3):
            maintenance.reconcile(later(container, 1.01))
            deliver(later(container, 1.01))
    events = [json.loads(body) for _, body in hook.calls]
    assert sorted(event["data"]["kind"] for event in events) == sorted(report.days[0].drifted)
    (far,) = [event["data"] for event in events if event["data"]["kind"] == "distance"]
    assert (far["model"], far["day"]) == ({"name": "mine", "version": "1"}, report.days[0].day)
    assert far["effect"] == report.days[0].shifts[Kind.DISTANCE].effect
    assert far["effect"] >= rules.LEAST_EFFECT
    assert (far["pictures"], far["reference_pictures"]) == (240, reference.profile.pictures)
    assert "unlike those that it has learned from" in far["message"]
    listed = webhook_deliveries.list_page(
        container, "anna", status="DELIVERED", kind="drift", job_id="", training_id="", before="", limit=9
    )
    assert {delivery.id for delivery in listed} == {event["data"]["id"] for event in events}


@pytest.mark.slow
def test_an_import_gets_a_reference_from_a_dataset_or_with_its_rule(
    container: Container, worker: WorkerProcess
) -> None:
    version = imported(worker)
    run(worker, digits(5))
    assert look(container).verdict is Verdict.NO_REFERENCE
    numbers = dataset(container, members(12))

    assert drift_references.request(container, "anna", "mine", "1", numbers.id).is_running
    drift_reference.measure_requested(worker, version.id)
    report = look(container)
    assert not drift_references.find(container, version.id).is_running
    assert report.reference
    assert (report.reference.source, report.reference.dataset, report.reference.profile.pictures) == (
        Source.DATASET, "numbers", 120,
    )  # fmt: skip
    assert (report.verdict, report.days[0].shifts[Kind.DISTANCE].effect) == (Verdict.ALIKE, None)

    rejection.request(container, "anna", "mine", "1", RejectionRequest(0.9, numbers.id))
    rejection_fit.fit_requested(worker, version.id)
    run(worker, digits(5))
    report = look(container)
    within = report.reference
    assert within
    assert (within.profile.distance.total(), report.days[0].pictures) == (120, 100)
    assert report.days[0].shifts[Kind.DISTANCE].effect is not None
    assert report.verdict is Verdict.ALIKE

    drift_references.request(container, "anna", "mine", "1", numbers.id)
    drift_reference.measure_requested(worker, version.id)
    again = look(container).reference
    assert again
    assert again.profile == within.profile, "pictures of the rule are compared with the others"


@pytest.mark.slow
def test_a_rule_that_is_fitted_on_rare_labels_leaves_a_reference_with_the_shares_of_the_dataset(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(worker)
    many = {f"{digit_images.WORDS[0]}/more{place}.png": digit_images.pictures(0)[20 + place] for place in range(90)}
    numbers = dataset(container, members(10) | many)
    monkeypatch.setattr(rejection, "MOST_PICTURES", 100)
    rejection.request(container, "anna", "mine", "1", RejectionRequest(0.8, numbers.id))
    rejection_fit.fit_requested(worker, version.id)
    reference = look(container).reference
    assert reference
    shown = reference.profile
    assert (shown.pictures, shown.distance.total()) == (19, 19)
    assert shown.labels[0] == pytest.approx(10, abs=1)


@pytest.mark.slow
def test_a_reference_that_cannot_be_measured_says_why(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(worker)
    few = dataset(container, members(1), "few")
    with pytest.raises(errors.BadDataset, match="has 10 pictures that mine 1 has not learned from"):
        drift_references.request(container, "anna", "mine", "1", few.id)
    with pytest.raises(errors.NotFound, match="There is no dataset 12345"):
        drift_references.request(container, "anna", "mine", "1", 12345)
    with pytest.raises(errors.Forbidden, match="catalogue"):
        drift_references.request(container, "anna", "digits", "1", few.id)

    numbers = dataset(container, members(4))
    drift_references.request(container, "anna", "mine", "1", numbers.id)
    for blob in container.storage.list(f"datasets/{numbers.id}"):
        container.storage.delete(blob)
    drift_reference.measure_requested(worker, version.id)
    assert drift_references.find(container, version.id).is_running  # the storage may have them again
    monkeypatch.setattr(absences, "WAITED", 0.0)
    drift_reference.measure_requested(worker, version.id)
    found = drift_references.find(container, version.id)
    assert (found.is_running, "is not in the storage any more" in found.failure) == (False, True)

    drift_references.request(container, "anna", "mine", "1", numbers.id)
    for _ in range(container.settings.max_attempts):
        assert drift_references.begin(container, version.id)
    assert drift_references.begin(container, version.id) is None
    assert "workers crashed on it" in drift_references.find(container, version.id).failure


@pytest.mark.slow
def test_an_answer_from_the_cache_counts_as_one_of_a_worker(
    container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(worker)
    picture = digit_images.pictures(3)[100]
    run(worker, [picture], remember=True)
    known = models.find_version_by_id(container, version.id)
    assert known
    monkeypatch.setattr(postponed_calls, "AFTER", 3600.0)
    for _ in range(2):
        assert result_cache.recall(container, "anna", known, AnswerOptions(), picture)
    assert look(container).days[0].pictures == 1
    container.postponed(drift._count).flush()
    with container.database.read() as uow:
        (counted,) = uow.drift.counted(version.id, "")
    assert counted.profile.labels == {3: 3}
    assert len(counted.profile.confidence) == 1


@pytest.mark.slow
def test_features_failures_and_models_of_all_tenants_are_not_counted(
    container: Container, worker: WorkerProcess
) -> None:
    imported(worker)
    run(worker, digits(1), options=AnswerOptions(task="features"))
    run(worker, digits(1), name="digits")
    assert look(container).days == []
    assert look(container, "digits").verdict is Verdict.NOT_COUNTED
    run(worker, digits(1), options=AnswerOptions(top_k=1, function_to_apply="none"))
    assert look(container).days[0].pictures == 10


# on each database, without a worker


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> dataset_fixtures.Ground:
    """A container whose clock stands, an hour into a day."""
    ground = dataset_fixtures.on(database, tmp_path)
    ground.container = replace(ground.container, now=lambda: 20_000 * DAY + 3600)
    return ground


def observed(version: ModelVersion, count: int, label: int = 0) -> list[Observation]:
    return [Observation(version.id, label, 0.9, 0.3 + label, "bank")] * count


def refer(container: Container, version: ModelVersion, count: int = 200) -> None:
    counted = rules.count(observed(version, count))[version.id, "bank"]
    with container.database.write() as uow:
        uow.drift.set_reference(Reference(version.id, counted, Source.TEST, 0.0, bank="bank"))


def counts(container: Container, version: ModelVersion) -> int:
    with container.database.read() as uow:
        return sum((each.profile for each in uow.drift.counted(version.id, "")), Profile()).pictures


def answer(container: Container, version: ModelVersion, count: int, label: int = 0, at: float | None = None) -> Job:
    """Store a job of so many pictures, and their answers."""
    job = Job(
        str(uuid6.uuid7()), version.tenant, "native", Status.QUEUED, version.name, version.version, version.id,
        AnswerOptions(), "normal", container.now(), count,
    )  # fmt: skip
    with container.database.write() as uow:
        uow.jobs.add([(job, [Item(job.id, number, f"{number}.png", "blob", 0, 1) for number in range(count)])])
        uow.jobs.record(outcomes(job, version, label), container.now() if at is None else at)
    return job


def outcomes(job: Job, version: ModelVersion, label: int = 0) -> list[Outcome]:
    return [
        Outcome(job.id, number, [["pear", 0.9]], observation=seen)
        for number, seen in enumerate(observed(version, job.total, label))
    ]


def test_a_picture_is_counted_once_however_often_its_outcome_is_recorded(ground: dataset_fixtures.Ground) -> None:
    container, version = ground.container, ground.version("fruit")
    job = answer(container, version, 3)
    jobs.record(container, outcomes(job, version))
    more = replace(job, id=str(uuid6.uuid7()), total=2)
    with container.database.write() as uow:
        uow.jobs.add([(more, [Item(more.id, number, "a.png", "blob", 0, 1) for number in range(2)])])
    for _ in range(2):  # the reply to the first commit was lost
        jobs.record(container, outcomes(more, version)[:1])
    jobs.record(container, [Outcome(more.id, 1, error_code="poison", error="It is.")])
    assert counts(container, version) == 4


def test_a_reference_has_the_shares_of_labels_of_its_dataset_however_large_that_is(
    ground: dataset_fixtures.Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, version = ground.container, ground.version("fruit")
    fruit = ground.dataset({"pear": 900, "plum": 100})
    monkeypatch.setattr(rejection, "MOST_PICTURES", 200)
    measured = drift_references.get_pictures(container, version, fruit.id)
    plums = sum(example.label == "plum" for example in measured)
    assert (len(measured), 8 <= plums <= 34) == (200, True), "20 are expected, with a standard deviation of 4"

    with container.database.read() as uow:
        in_turn = rejection.spread(uow.datasets.examples(fruit))
    assert Counter(example.label for example in in_turn) == {"pear": 100, "plum": 100}
    places = drift_references.find_in_shares(container, version, fruit.id, in_turn)
    assert Counter(in_turn[place].label for place in places) == {"pear": 100, "plum": 11}


def test_many_rows_are_folded_into_one_for_each_day_and_bank(
    ground: dataset_fixtures.Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, version = ground.container, ground.version("fruit")
    monkeypatch.setattr(drift, "FOLDED", 4)
    monkeypatch.setattr(drift, "FOLDED_AT_ONCE", 4)
    now = container.now()
    with container.database.write() as uow:
        for when in (now, now - DAY):
            for _ in range(9):
                uow.drift.count(observed(version, 2, 1), when)
        uow.drift.count([observed(version, 1)[0]._replace(bank="other")], now)
    with container.database.read() as uow:
        before = uow.drift.counted(version.id, "")
    drift.fold(container)
    with container.database.read() as uow:
        assert uow.drift.counted(version.id, "") == before
    with container.database.engine.connect() as connection:
        rows = connection.execute(sa.select(drift_counts.c.day, drift_counts.c.bank)).all()
    assert len(rows) < 10
    assert [(each.day, each.bank, each.profile.pictures) for each in before] == [
        (rules.day_of(now - DAY), "bank", 18), (rules.day_of(now), "bank", 18), (rules.day_of(now), "other", 1),
    ]  # fmt: skip


def test_each_finished_day_is_judged_once_for_each_kind(ground: dataset_fixtures.Ground) -> None:
    container, version = ground.container, ground.version("fruit")
    refer(container, version)
    drift.set_webhook(container, "anna", "fruit", ModelWebhook("https://example.org/hook", ""))
    answer(container, version, 100, 1, at=container.now() - DAY)
    drift.raise_alarms(container)
    drift.raise_alarms(container)
    due = webhook_deliveries.list_due(container, limit=9, without_tenants=(), without=())
    alarms = [drift.find_alarm(container, "anna", delivery.id) for delivery in due]
    day = rules.day_of(container.now() - DAY)
    assert sorted((alarm.kind, alarm.day) for alarm in alarms if alarm) == [(Kind.DISTANCE, day), (Kind.LABELS, day)]
    assert {(delivery.kind, delivery.tenant, delivery.url) for delivery in due} == {
        ("drift", "anna", "https://example.org/hook")
    }
    assert drift.find_alarm(container, "bert", due[0].id) is None

    answer(container, version, 100, 1)
    drift.raise_alarms(container)
    assert len(webhook_deliveries.list_due(container, limit=9, without_tenants=(), without=())) == 2
    tomorrow = replace(container, now=lambda: 20_001 * DAY + drift.SETTLED + 1)
    drift.raise_alarms(tomorrow)
    drift.raise_alarms(tomorrow)
    assert len(webhook_deliveries.list_due(tomorrow, limit=9, without_tenants=(), without=())) == 4


def test_a_day_is_not_judged_before_it_is_over_and_stored(ground: dataset_fixtures.Ground) -> None:
    container, version = ground.container, ground.version("fruit")
    refer(container, version)
    answer(container, version, 100, 1)
    for seconds, finished in ((0.0, 0), (drift.SETTLED - 1, 0), (drift.SETTLED, 1)):
        at = replace(container, now=partial(float, 20_001 * DAY + seconds))
        assert len(drift.list_finished(at)) == finished


def test_what_is_old_or_of_a_removed_model_is_removed(ground: dataset_fixtures.Ground) -> None:
    container = ground.container
    kept, gone = ground.version("fruit"), ground.version("flowers")
    for version in (kept, gone):
        refer(container, version)
        drift.set_webhook(container, "anna", version.name, ModelWebhook("https://example.org/hook", ""))
        answer(container, version, 40, 1, at=container.now() - DAY)
        answer(container, version, 2, at=container.now() - 89 * DAY)
        answer(container, version, 5, at=container.now() - 91 * DAY)
    drift.raise_alarms(container)
    drift.drop_old(container)
    assert counts(container, kept) == 42

    models.remove(container, "anna", "flowers")
    assert counts(container, gone) == 0
    with container.database.read() as uow:
        assert uow.drift.find_reference(gone.id) is None
        assert uow.drift.find_webhook("anna", "flowers") is None
        assert uow.drift.find_webhook("anna", "fruit")
        assert uow.drift.find_reference(kept.id)
        assert uow.key_values.get(measure_name(gone.id)) == ""
    due = webhook_deliveries.list_due(container, limit=9, without_tenants=(), without=())
    alarms = [drift.find_alarm(container, "anna", delivery.id) for delivery in due]
    assert {alarm.name for alarm in alarms if alarm} == {"fruit"}
    drift.drop_old(replace(container, now=lambda: container.now() + 100 * DAY))
    assert webhook_deliveries.list_due(container, limit=9, without_tenants=(), without=()) == []


def test_the_last_seven_days_are_judged_together_for_who_sends_few_pictures(ground: dataset_fixtures.Ground) -> None:
    container, version = ground.container, ground.version("fruit")
    refer(container, version)
    for days in range(9):
        answer(container, version, 6, 1, at=container.now() - days * DAY)
    report = drift.get(container, "anna", "fruit", "", 9)
    assert [day.pictures for day in report.days] == [6] * 9
    assert {shift.unknown for day in report.days for shift in day.shifts.values()} == {rules.Unknown.TOO_FEW}
    assert report.recent
    assert (report.recent.pictures, report.verdict) == (42, Verdict.UNLIKE_PICTURES)
    assert len(drift.get(container, "anna", "fruit", "1", 2).days) == 2


def test_only_the_owner_of_a_model_is_called_back(ground: dataset_fixtures.Ground) -> None:
    ground.version("fruit", tenant=ALL_TENANTS)
    change: Callable[..., None] = drift.set_webhook
    with pytest.raises(errors.Forbidden, match="catalogue"):
        change(ground.container, "anna", "fruit", ModelWebhook("https://example.org/hook", ""))
    with pytest.raises(errors.NotFound):
        drift.clear_webhook(ground.container, "anna", "flowers")
