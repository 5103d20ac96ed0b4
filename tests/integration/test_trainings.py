"""Trainings on both databases: refusals, the order of the queue, one end for each, and no incomplete version."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uuid6

from shared import errors
from shared.adapters import http_fetch
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain import lock_names
from shared.domain.datasets import DatasetState
from shared.domain.jobs import AnswerOptions, Job, Status
from shared.domain.metrics import TRAINING_SECONDS, below
from shared.domain.models import ALL_TENANTS, trained_weights_key
from shared.domain.trainings import Training, TrainingParameters, checkpoint_key, plot_key
from shared.services import datasets, maintenance, metrics, models, promotions, training_runs, trainings
from shared.services.training_runs import TrainingEnded
from tests import dataset_fixtures
from tests.dataset_fixtures import EVIDENCE, NOW, REPORT, Ground, at_once, picture
from tests.webhook_receivers import deliver


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    return dataset_fixtures.on(database, tmp_path)


@pytest.fixture
def here(container: Container, tmp_path: Path) -> Ground:
    """The same on SQLite only, for tests that do not depend on the kind of database."""
    return dataset_fixtures.on(container.database, tmp_path)


def comparisons_of(ground: Ground, name: str = "fruits") -> list[Any]:
    with ground.container.database.read() as uow:
        return uow.comparisons.of("anna", name)


def blobs_of(ground: Ground, training: Training) -> list[str]:
    container = ground.container
    stored = [key for key in container.storage.list("checkpoints") if training.id in key]
    return stored + container.storage.list(f"plots/{training.id}")


# submitting


def test_a_training_comes_back_as_it_was_asked_for_and_a_trainer_is_called(ground: Ground) -> None:
    base = ground.version("base")
    dataset = ground.dataset()
    about: dict[str, Any] = {"title": "my own", "metadata": {"order": [7]}, "webhook": "https://example.org"}
    parameters = TrainingParameters(epochs=7, learning_rate=0.5, with_feedback=False, fine_tune="never", max_seconds=60)
    ground.sent.clear()
    training = ground.submit(
        dataset, base="base", parameters=parameters, promote=True, requires_deployment=True, **about
    )
    assert ground.see(training) == training
    assert (training.status, training.base, training.base_id) == (Status.QUEUED, "base 1", base.id)
    assert (training.title, training.dataset_version, training.parameters) == ("my own", 1, parameters)
    assert ground.sent == [("train",)]
    with ground.container.database.read() as uow:
        assert uow.trainings.page("anna") == [training]
        assert uow.trainings.page("bert") == []
        assert uow.trainings.find_by_title("anna", "native", "my own") == training
        assert uow.trainings.live_from([base.id]) == [training]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"epochs": 10_001}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": 1.0},
        {"learning_rate": float("nan")}, {"train_split_ratio": float("nan")}, {"train_split_ratio": 0.99},
        {"max_unimproved_epochs": 0}, {"seed": -1}, {"seed": 2**31}, {"fine_tune": "maybe"}, {"max_seconds": 0.5},
        {"max_seconds": float("inf")},
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.BadOption, match=next(iter(wrong))):
        TrainingParameters(**wrong)


def test_what_cannot_be_trained_is_refused_and_leaves_nothing(here: Ground) -> None:
    dataset, container = here.dataset(), here.container
    models.alias(container, "anna", "taken", "digits")
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (errors.BadOption, "name of a model", lambda: here.submit(dataset, "no/name")),
        (errors.BadOption, "name of a training", lambda: here.submit(dataset, title="a\0b")),
        (errors.NotFound, "no dataset 5", lambda: here.submit(replace(dataset, id=5))),
        (errors.NotFound, "no model 'none'", lambda: here.submit(dataset, base="none")),
        (errors.NotFound, "no version '9'", lambda: here.submit(dataset, base="digits", base_version="9")),
        (errors.ModelNotReady, "resnet50", lambda: here.submit(dataset, base="resnet50")),
        (errors.Conflict, "is an alias", lambda: here.submit(dataset, "taken")),
        (errors.BadDataset, "has 1", lambda: here.submit(here.dataset({"pear": 9}))),
        (errors.BadDataset, "too few of 'plum'", lambda: here.submit(here.dataset({"pear": 9, "plum": 1}))),
    ]
    for error, match, ask in refusals:
        with pytest.raises(error, match=match):
            ask()
    with container.database.read() as uow:
        assert uow.trainings.page("anna") == []
    assert not here.again(dataset).sealed


def test_a_name_is_trained_by_one_training_at_a_time(ground: Ground) -> None:
    dataset, other = ground.dataset(), ground.dataset(name="other")
    outcomes = at_once(lambda: ground.submit(dataset), lambda: ground.submit(other), lambda: ground.submit(dataset))
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Training)]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "Training"]
    for lost in (dataset, other):
        if lost.id != won.dataset_id:
            assert not ground.again(lost).sealed
    with pytest.raises(errors.Conflict, match=won.id):
        ground.submit(dataset)
    with pytest.raises(errors.Conflict, match=won.id):
        models.alias(ground.container, "anna", "fruits", ground.version("other").name)
    ground.submit(ground.dataset(tenant="bert"))  # another one's model of that name
    trainings.cancel(ground.container, "anna", won.id)
    assert ground.submit(dataset).id > won.id


def test_a_base_that_is_removed_meanwhile_is_refused_at_once(here: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    base, dataset = here.version("base"), here.dataset()
    choose = trainings.choose_base

    def removed_at_once(*arguments: Any) -> Any:
        chosen = choose(*arguments)
        models.remove(here.container, "anna", base.name)
        return chosen

    monkeypatch.setattr(trainings, "choose_base", removed_at_once)
    with pytest.raises(errors.NotFound, match="base 1 has just been removed"):
        here.submit(dataset, base="base")


def test_a_canary_answers_but_is_not_built_on(here: Ground) -> None:
    default, canary, dataset = here.version("base"), here.version("base", "2"), here.dataset()
    promotions.set_canary(here.container, "anna", "base", "2", 1.0)
    assert models.get_ready_version(here.container, "anna", "base").id == canary.id
    assert here.submit(dataset, base="base").base_id == default.id


def test_a_dataset_that_is_loading_is_refused_or_waited_for(ground: Ground) -> None:
    container = ground.container
    dataset = datasets.create(container, "anna", "fruit", source="uploads/1", labels=["pear", "plum"])
    with pytest.raises(errors.Conflict, match="still being loaded"):
        ground.submit(dataset)
    training = ground.submit(dataset, allow_unready_dataset=True)
    assert (training.status, training.dataset_version) == (Status.QUEUED, 0)
    with pytest.raises(TrainingEnded):
        training_runs.begin(container, training)
    assert ground.see(training) == training  # no attempt is counted for waiting

    with container.database.write() as uow:
        uow.datasets.save(replace(dataset, state=DatasetState.READY))
    for number in range(4):
        datasets.add_example(container, "anna", dataset.id, [number % 2 + 1], picture(number))
    begun = training_runs.begin(container, training)
    assert (begun.status, begun.dataset_version, begun.attempts) == (Status.RUNNING, 1, 1)
    assert ground.again(dataset).sealed


def test_one_that_waited_for_an_unfit_dataset_fails_with_the_reason_and_calls_back(here: Ground) -> None:
    dataset = datasets.create(here.container, "anna", "fruit", source="uploads/1")
    training = here.submit(dataset, allow_unready_dataset=True, webhook="https://example.org")
    with here.container.database.write() as uow:
        uow.datasets.save(replace(dataset, state=DatasetState.FAILED, message="no picture in it"))
    with pytest.raises(TrainingEnded):
        training_runs.begin(here.container, training)
    failed = here.see(training)
    assert (failed.status, failed.error_code) == (Status.FAILED, "conflict")
    assert "no picture in it" in failed.error

    few = here.submit(here.dataset({"pear": 9}), allow_unready_dataset=True, webhook="https://example.org")
    assert (few.status, few.error_code) == (Status.FAILED, "bad_dataset")
    assert here.see(few) == few
    with here.container.database.read() as uow:
        assert {due.job_id for due in uow.webhook_deliveries.due(here.container.now())} == {training.id, few.id}


# the order of trainings


def test_the_first_training_of_each_tenant_comes_before_the_second_of_any(ground: Ground) -> None:
    mine, theirs = ground.dataset(), ground.dataset(tenant="bert")
    first, second, third = (ground.submit(mine, name) for name in ("a", "b", "c"))
    other = ground.submit(theirs, "a")
    waiting = [first, other, second, third]
    assert [trainings.position(ground.container, training) for training in waiting] == [1, 2, 3, 4]
    training_runs.begin(ground.container, first)
    assert [trainings.position(ground.container, training) for training in waiting] == [0, 1, 2, 3]


# a trainer's side


def test_progress_is_kept_and_a_stored_epoch_resets_the_attempts(ground: Ground) -> None:
    training = ground.submit(ground.dataset())
    training_runs.begin(ground.container, training)
    assert training_runs.begin(ground.container, training).attempts == 2
    training_runs.report_progress(ground.container, training.id, 0.3, "reading")
    assert (ground.see(training).attempts, ground.see(training).message) == (2, "reading")
    training_runs.report_progress(ground.container, training.id, 7.0, "head", [{"epoch": 1, "train_loss": 0.5}])
    reported = ground.see(training)
    assert (reported.attempts, reported.progress, reported.curve) == (0, 1.0, ({"epoch": 1, "train_loss": 0.5},))
    again = training_runs.begin(ground.container, training)
    assert (again.attempts, again.curve) == (1, reported.curve)
    assert again.started_at == reported.started_at
    with ground.container.database.write() as uow:
        uow.trainings.put_back(training.id)
        uow.trainings.put_back(training.id)
    assert ground.see(training).attempts == 0


def test_one_that_kills_its_trainers_fails_and_leaves_no_blob(here: Ground) -> None:
    training = here.submit(here.dataset(), webhook="https://example.org")
    for _ in range(here.container.settings.max_attempts):
        training_runs.begin(here.container, training)
        here.container.storage.write(checkpoint_key(training.id), b"before the first epoch was reported")
    here.sent.clear()
    with pytest.raises(TrainingEnded):
        training_runs.begin(here.container, training)
    failed = here.see(training)
    assert (failed.status, failed.error_code) == (Status.FAILED, "poison")
    assert "3 trainers crashed" in failed.error
    assert here.sent == [("deliver",)]
    assert blobs_of(here, training) == []


def test_what_is_cancelled_registers_nothing_at_any_moment(ground: Ground) -> None:
    container, dataset = ground.container, ground.dataset()
    before = ground.submit(dataset)
    assert trainings.cancel(container, "anna", before.id).status is Status.CANCELLED
    with pytest.raises(TrainingEnded):
        training_runs.begin(container, before)

    between = training_runs.begin(container, ground.submit(dataset))
    container.storage.write(checkpoint_key(between.id), b"an epoch")
    cancelled = trainings.cancel(container, "anna", between.id)
    assert trainings.cancel(container, "anna", between.id) == cancelled
    for step in (
        lambda: training_runs.report_progress(container, between.id, 0.5, "head", []),
        lambda: ground.finish(between),
        lambda: training_runs.begin(container, between),
    ):
        with pytest.raises(TrainingEnded):
            step()
    training_runs.fail(container, between.id, "late", "too late")
    assert ground.see(between) == cancelled
    assert ground.versions("fruits") == {}
    assert container.storage.list("checkpoints") == []
    with pytest.raises(errors.NotFound):
        trainings.cancel(container, "bert", between.id)


def test_a_failure_says_why_and_the_dataset_stays(here: Ground) -> None:
    dataset = here.dataset()
    training = training_runs.begin(here.container, here.submit(dataset))
    here.container.storage.write(checkpoint_key(training.id), b"an epoch")
    here.container.storage.write(plot_key(training.id, "curve.svg"), b"<svg/>")
    training_runs.fail(here.container, training.id, "out_of_memory", "too little")
    failed = here.see(training)
    assert (failed.status, failed.error_code, failed.error) == (Status.FAILED, "out_of_memory", "too little")
    assert blobs_of(here, training) == []
    assert len(here.ids(dataset)) == 6
    with pytest.raises(errors.Conflict, match="has ended as FAILED"):
        trainings.cancel(here.container, "anna", training.id)


def test_each_training_that_began_is_counted_once_by_its_end(here: Ground) -> None:
    container, dataset = here.container, here.dataset()
    here.trained(dataset)
    failed = training_runs.begin(container, here.submit(dataset))
    for _ in range(2):  # the second changes nothing
        training_runs.fail(container, failed.id, "out_of_memory", "too little")
    cancelled = training_runs.begin(container, here.submit(dataset))
    for _ in range(2):
        trainings.cancel(container, "anna", cancelled.id)
    trainings.cancel(container, "anna", here.submit(dataset).id)  # it never began
    container.queue.counts.store()
    counted = metrics.read(container).of(TRAINING_SECONDS)
    assert {outcome: below(TRAINING_SECONDS, numbers)[-1] for (outcome,), numbers in counted.items()} == {
        "done": 1, "failed": 1, "cancelled": 1,
    }  # fmt: skip


def test_the_first_version_is_the_default_and_later_ones_are_compared_with_it(ground: Ground) -> None:
    dataset = ground.dataset()
    first, second = ground.trained(dataset), ground.trained(dataset)
    assert (first.version, first.is_default, second.version, second.is_default) == ("1", True, "2", False)
    assert ground.versions("fruits") == {"1": first, "2": second}
    done = trainings.get(ground.container, "anna", second.training_id)
    assert (done.status, done.version, done.version_id, done.progress) == (Status.DONE, "2", second.id, 1.0)
    assert (done.evidence, done.curve) == (EVIDENCE, ({"epoch": 1},))
    (compared,) = comparisons_of(ground)
    assert (compared.candidate_id, compared.baseline_id, compared.status) == (second.id, first.id, Status.DONE)
    assert compared.report == {**REPORT, "candidate": {**REPORT["candidate"], "version": "2"}}  # type: ignore[dict-item]
    with ground.container.database.read() as uow:
        assert uow.trainings.summaries([first.id, second.id, "x"])[second.id] == {
            "accuracy": 0.9, "mean_average_precision": None, "method": "head",
        }  # fmt: skip
        assert uow.trainings.page("anna")[0].evidence is None
    assert promotions.promote(ground.container, "anna", "fruits", "2").is_default


def test_a_version_is_promoted_or_waits_for_its_deployment_on_request(here: Ground) -> None:
    dataset = here.dataset()
    first = here.trained(dataset, requires_deployment=True)
    assert first.requires_deployment
    withheld = here.trained(dataset, requires_deployment=True)
    assert (withheld.requires_deployment, withheld.is_default) == (True, False)
    here.trained(dataset, promote=True, requires_deployment=True)
    defaults = {
        number: (version.is_default, version.requires_deployment) for number, version in here.versions("fruits").items()
    }
    assert defaults == {"1": (False, True), "2": (False, True), "3": (True, False)}
    assert promotions.rollback(here.container, "anna", "fruits").version == "1"


def test_no_model_of_ones_own_takes_a_name_of_the_catalogue(here: Ground) -> None:
    dataset = here.dataset()
    with pytest.raises(errors.Conflict, match="of the catalogue; take another name"):
        here.submit(dataset, name="digits")
    assert models.get_version(here.container, "anna", "digits").tenant == ALL_TENANTS


def test_an_import_that_takes_the_number_meanwhile_costs_no_training(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_runs.begin(ground.container, ground.submit(ground.dataset()))
    numbers = iter(["1", "2"])
    ground.version("fruits")
    monkeypatch.setattr(models, "next_version", lambda _: next(numbers))
    assert ground.finish(training).version == "2"
    assert ground.see(training).status is Status.DONE


def test_of_two_trainers_that_finish_at_once_one_does(ground: Ground) -> None:
    training = training_runs.begin(ground.container, ground.submit(ground.dataset()))
    outcomes = at_once(*[lambda: ground.finish(training)] * 2)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ModelVersion", "TrainingEnded"]
    assert list(ground.versions("fruits")) == ["1"]
    training_runs.fail(ground.container, training.id, "late", "the other one was first")
    training_runs.abandon(ground.container, training.id)
    assert list(ground.versions("fruits")) == ["1"]
    assert ground.see(training).status is Status.DONE
    assert ground.container.storage.list(f"plots/{training.id}")  # are the evidence of the one that is there


def test_a_cancel_and_a_finish_at_once_agree_on_the_end(ground: Ground) -> None:
    training = training_runs.begin(ground.container, ground.submit(ground.dataset()))
    cancelled, finished = at_once(
        lambda: trainings.cancel(ground.container, "anna", training.id), lambda: ground.finish(training)
    )
    if ground.see(training).status is Status.DONE:
        assert isinstance(cancelled, errors.Conflict)
        assert list(ground.versions("fruits")) == ["1"]
    else:
        assert isinstance(finished, TrainingEnded)
        assert ground.versions("fruits") == {}


# webhooks


def test_an_ended_training_calls_back_once_and_signed_and_a_job_as_ever(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[bytes, dict[str, str]]] = []

    def post(url: str, body: bytes, headers: dict[str, str], **_: Any) -> tuple[int, str]:
        calls.append((body, headers))
        return 200, ""

    monkeypatch.setattr(http_fetch, "post", post)
    about: dict[str, Any] = {"webhook": "https://example.org", "webhook_secret": "s3cret", "metadata": {"order": 7}}
    version = ground.trained(ground.dataset(), **about)
    job = Job(
        str(uuid6.uuid7()),
        "anna",
        "native",
        Status.QUEUED,
        "fruits",
        "1",
        version.id,
        AnswerOptions(),
        "normal",
        NOW,
        0,
        webhook="https://example.org/job",
    )
    with ground.container.database.write() as uow:
        uow.jobs.add([(job, [])])
        uow.jobs.end([job.id], Status.CANCELLED, NOW)
        due = {
            delivery.job_id: (delivery.kind, delivery.tenant, delivery.url)
            for delivery in uow.webhook_deliveries.due(ground.container.now())
        }
    assert due == {
        version.training_id: ("training", "anna", "https://example.org"),
        job.id: ("job", "anna", "https://example.org/job"),
    }

    deliver(ground.container)
    deliver(replace(ground.container, now=lambda: NOW + 10**6))

    received = {headers["webhook-id"]: (body, headers) for body, headers in calls}
    assert len(calls) == len(received) == 2
    of_job = json.loads(received[job.id][0])
    assert (of_job["type"], of_job["data"]["_id"]) == ("job.cancelled", job.id)
    body, headers = received[version.training_id]
    assert json.loads(body)["type"] == "training.done"
    assert json.loads(body)["data"] == {
        "id": version.training_id,
        "terminal": True,
        "status": "DONE",
        "model": {"name": "fruits", "version": "1"},
        "error": "",
        "metadata": {"order": 7},
    }
    signed = f"{version.training_id}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


def test_a_training_that_is_cancelled_twice_calls_back_once(here: Ground) -> None:
    training = here.submit(here.dataset(), webhook="https://example.org")
    trainings.cancel(here.container, "anna", training.id)
    trainings.cancel(here.container, "anna", training.id)
    with here.container.database.read() as uow:
        assert [due.job_id for due in uow.webhook_deliveries.due(here.container.now())] == [training.id]
    trainings.remove(here.container, "anna", training.id)
    with here.container.database.read() as uow:
        assert uow.webhook_deliveries.due(here.container.now()) == []


# maintenance and removals


def test_maintenance_notifies_only_of_what_is_not_held(here: Ground) -> None:
    container = here.container
    training = here.submit(here.dataset())
    loading_one = datasets.create(container, "anna", "more", source="uploads/1")
    names = (lock_names.training(training.id), lock_names.dataset_import(loading_one.id))
    held = [container.queue.locks.acquire(name, 60) for name in names]
    here.sent.clear()
    maintenance.retrain(container)
    assert here.sent == []
    for lock in held:
        assert lock
        lock.release()
    maintenance.retrain(container)
    assert here.sent == []  # no trainer runs; one looks for work when it starts
    container.queue.workers.heartbeat("trainer", {}, 60, role="trainers")
    maintenance.retrain(container)
    maintenance.retrain(container)
    assert sorted(here.sent) == [("load",), ("train",)]


def test_a_model_that_a_training_needs_is_not_removed(ground: Ground) -> None:
    container, dataset = ground.container, ground.dataset()
    first = ground.trained(dataset)
    child = ground.submit(dataset, "children", base="fruits")
    for name, version in (("fruits", ""), ("fruits", "1")):
        with pytest.raises(errors.Conflict, match=child.id):
            models.remove(container, "anna", name, version)
    assert ground.versions("fruits") == {"1": first}
    trainings.cancel(container, "anna", child.id)
    again = ground.submit(dataset)
    with pytest.raises(errors.Conflict, match=again.id):
        models.remove(container, "anna", "fruits")
    models.remove(container, "anna", "fruits", "1")  # what it makes will stand alone
    assert ground.finish(training_runs.begin(container, again)).is_default


def test_with_a_version_goes_its_evidence_and_with_the_model_everything(ground: Ground) -> None:
    container, dataset = ground.container, ground.dataset()
    first, second, third = (ground.trained(dataset) for _ in range(3))
    trainings.cancel(container, "anna", ground.submit(dataset).id)
    promotions.promote(container, "anna", "fruits", "2")
    promotions.set_canary(container, "anna", "fruits", "3", 0.5)
    with pytest.raises(errors.Conflict, match="evidence of fruits 2"):
        trainings.remove(container, "anna", second.training_id)
    with container.database.write() as uow:
        uow.model_versions.make_default(third)

    models.remove(container, "anna", "fruits", "2")
    with pytest.raises(errors.NotFound):
        trainings.get(container, "anna", second.training_id)
    assert [comparison.candidate_id for comparison in comparisons_of(ground)] == [third.id]
    assert [number for number, version in ground.versions("fruits").items() if version.is_default] == ["3"]
    with pytest.raises(errors.Conflict, match="No promotion"):
        promotions.rollback(container, "anna", "fruits")
    assert [container.storage.list(f"weights/{version.id}") for version in (first, second, third)] == [
        [first.weights], [], [third.weights],
    ]  # fmt: skip
    assert container.storage.list(f"plots/{second.id}") == []

    models.remove(container, "anna", "fruits")
    assert comparisons_of(ground) == []
    with container.database.read() as uow:
        assert uow.trainings.page("anna") == []
        assert not uow.promotions.is_canary(third.id)
    for folder in ("weights", "plots"):
        assert [container.storage.list(f"{folder}/{version.id}") for version in (first, third)] == [[], []]


def test_the_live_ones_are_found_by_their_index(here: Ground) -> None:
    with here.container.database.engine.connect() as connection, here.container.database.read() as uow:
        for ask in (
            lambda: uow.trainings.in_status(Status.QUEUED),
            lambda: uow.trainings.find_live_of("anna", "fruits"),
            lambda: uow.trainings.live_from(["x"]),
        ):
            ((statement, parameters),) = here.statements(ask)
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert "uq_trainings_tenant_name" in str(plan)


def test_what_trainers_left_behind_is_collected_when_it_cannot_be_needed(here: Ground) -> None:
    container = here.container
    live = here.submit(here.dataset(name="one"), name="one")
    ended = here.submit(here.dataset(name="two"), name="two")
    trainings.cancel(container, ended.tenant, ended.id)
    for training in (live, ended):
        container.storage.write(checkpoint_key(training.id), b"an epoch")
    strange = str(uuid6.uuid7())
    for training_id in (ended.id, strange):
        container.storage.write(plot_key(training_id, "curve.svg"), b"<svg/>")

    maintenance.drop_training_orphans(replace(container, now=lambda: time.time() + 7200))

    assert container.storage.list("checkpoints") == [checkpoint_key(live.id)]
    assert container.storage.list(f"plots/{ended.id}") == [plot_key(ended.id, "curve.svg")]
    assert container.storage.list(f"plots/{strange}") == []


def test_a_trainer_that_lost_a_training_removes_nothing_of_its_successor(here: Ground) -> None:
    training = training_runs.begin(here.container, here.submit(here.dataset()))
    weights = trained_weights_key(training.id, "0123")
    here.container.storage.write(weights, b"proven by another trainer")

    training_runs.abandon(here.container, training.id)
    assert here.container.storage.list(f"weights/{training.id}") == [weights]

    trainings.cancel(here.container, training.tenant, training.id)
    assert here.container.storage.list(f"weights/{training.id}") == []
