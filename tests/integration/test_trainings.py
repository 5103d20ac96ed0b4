"""Trainings on both databases: what is refused, who is next, every end once, and never half a version."""

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

from shared import datasets, errors, fetch, loading, models, promotion, sweep, trainers, trainings
from shared.datasets import State
from shared.jobs import Job, Options, Status
from shared.models import EVERYBODY
from shared.records import Records
from shared.tools import Tools
from shared.trainers import Ended
from shared.trainings import Parameters, Training
from tests import grounds
from tests.grounds import EVIDENCE, NOW, REPORT, Ground, at_once, picture
from worker import delivery


@pytest.fixture
def ground(records: Records, tmp_path: Path) -> Ground:
    return grounds.on(records, tmp_path)


@pytest.fixture
def here(tools: Tools, tmp_path: Path) -> Ground:
    """On SQLite only, for what is no matter of the database."""
    return grounds.on(tools.records, tmp_path)


def comparisons_of(ground: Ground, name: str = "fruits") -> list[Any]:
    with ground.tools.records.read() as r:
        return r.comparisons.of("anna", name)


def blobs_of(ground: Ground, training: Training) -> list[str]:
    tools = ground.tools
    stored = [key for key in tools.storage.list("checkpoints") if training.id in key]
    return stored + tools.storage.list(f"plots/{training.id}")


# asking for one


def test_a_training_comes_back_as_it_was_asked_for_and_a_trainer_is_called(ground: Ground) -> None:
    base = ground.version("base")
    made = ground.dataset()
    about: dict[str, Any] = {"title": "my own", "metadata": {"order": [7]}, "webhook": "https://example.org"}
    parameters = Parameters(epochs=7, learning_rate=0.5, with_feedback=False, fine_tune="never", max_seconds=60)
    ground.sent.clear()
    training = ground.submit(made, base="base", parameters=parameters, promote=True, withheld=True, **about)
    assert ground.see(training) == training
    assert (training.status, training.base, training.base_id) == (Status.QUEUED, "base 1", base.id)
    assert (training.title, training.dataset_version, training.parameters) == ("my own", 1, parameters)
    assert ground.sent == [("train",)]
    with ground.tools.records.read() as r:
        assert r.trainings.page("anna") == [training]
        assert r.trainings.page("bert") == []
        assert r.trainings.titled("anna", "native", "my own") == training
        assert r.trainings.live_from([base.id]) == [training]


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
        Parameters(**wrong)


def test_what_cannot_be_trained_is_refused_and_leaves_nothing(here: Ground) -> None:
    made, tools = here.dataset(), here.tools
    models.alias(tools, "anna", "taken", "digits")
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (errors.BadOption, "name of a model", lambda: here.submit(made, "no/name")),
        (errors.BadOption, "name of a training", lambda: here.submit(made, title="a\0b")),
        (errors.NotFound, "no dataset 5", lambda: here.submit(replace(made, id=5))),
        (errors.NotFound, "no model 'none'", lambda: here.submit(made, base="none")),
        (errors.NotFound, "no version '9'", lambda: here.submit(made, base="digits", base_version="9")),
        (errors.ModelNotReady, "resnet50", lambda: here.submit(made, base="resnet50")),
        (errors.Conflict, "is an alias", lambda: here.submit(made, "taken")),
        (errors.BadDataset, "has 1", lambda: here.submit(here.dataset({"pear": 9}))),
        (errors.BadDataset, "too few of 'plum'", lambda: here.submit(here.dataset({"pear": 9, "plum": 1}))),
    ]
    for error, match, ask in refusals:
        with pytest.raises(error, match=match):
            ask()
    with tools.records.read() as r:
        assert r.trainings.page("anna") == []
    assert not here.again(made).sealed


def test_a_name_is_trained_by_one_training_at_a_time(ground: Ground) -> None:
    made, other = ground.dataset(), ground.dataset(name="other")
    outcomes = at_once(lambda: ground.submit(made), lambda: ground.submit(other), lambda: ground.submit(made))
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Training)]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "Training"]
    for lost in (made, other):
        if lost.id != won.dataset_id:
            assert not ground.again(lost).sealed
    with pytest.raises(errors.Conflict, match=won.id):
        ground.submit(made)
    with pytest.raises(errors.Conflict, match=won.id):
        models.alias(ground.tools, "anna", "fruits", ground.version("other").name)
    ground.submit(ground.dataset(tenant="bert"))  # another one's model of that name
    trainings.cancel(ground.tools, "anna", won.id)
    assert ground.submit(made).id > won.id


def test_a_base_that_is_removed_meanwhile_is_told_at_once(here: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    base, made = here.version("base"), here.dataset()
    choose = trainings.choose_base

    def removed_at_once(*asked: Any) -> Any:
        chosen = choose(*asked)
        models.remove(here.tools, "anna", base.name)
        return chosen

    monkeypatch.setattr(trainings, "choose_base", removed_at_once)
    with pytest.raises(errors.NotFound, match="base 1 has just been removed"):
        here.submit(made, base="base")


def test_a_canary_answers_but_is_not_built_on(here: Ground) -> None:
    default, canary, made = here.version("base"), here.version("base", "2"), here.dataset()
    promotion.set_canary(here.tools, "anna", "base", "2", 1.0)
    assert models.servable(here.tools, "anna", "base").id == canary.id
    assert here.submit(made, base="base").base_id == default.id


def test_a_dataset_that_is_loading_is_refused_or_waited_for(ground: Ground) -> None:
    tools = ground.tools
    made = datasets.create(tools, "anna", "fruit", source="uploads/1", labels=["pear", "plum"])
    with pytest.raises(errors.Conflict, match="still being loaded"):
        ground.submit(made)
    training = ground.submit(made, patient=True)
    assert (training.status, training.dataset_version) == (Status.QUEUED, 0)
    with pytest.raises(Ended):
        trainers.begin(tools, training)
    assert ground.see(training) == training  # no attempt is counted for waiting

    with tools.records.write() as r:
        r.datasets.save(replace(made, state=State.READY))
    for number in range(4):
        datasets.add_example(tools, "anna", made.id, number % 2 + 1, picture(number))
    begun = trainers.begin(tools, training)
    assert (begun.status, begun.dataset_version, begun.attempts) == (Status.RUNNING, 1, 1)
    assert ground.again(made).sealed


def test_one_that_waited_for_an_unfit_dataset_fails_with_the_reason_and_calls_back(here: Ground) -> None:
    made = datasets.create(here.tools, "anna", "fruit", source="uploads/1")
    training = here.submit(made, patient=True, webhook="https://example.org")
    with here.tools.records.write() as r:
        r.datasets.save(replace(made, state=State.FAILED, message="no picture in it"))
    with pytest.raises(Ended):
        trainers.begin(here.tools, training)
    failed = here.see(training)
    assert (failed.status, failed.error_code) == (Status.FAILED, "conflict")
    assert "no picture in it" in failed.error

    few = here.submit(here.dataset({"pear": 9}), patient=True, webhook="https://example.org")
    assert (few.status, few.error_code) == (Status.FAILED, "bad_dataset")
    assert here.see(few) == few
    with here.tools.records.read() as r:
        assert {due.job_id for due in r.deliveries.due(here.tools.now())} == {training.id, few.id}


# whose turn it is


def test_nobody_has_his_second_before_everybody_has_his_first(ground: Ground) -> None:
    mine, theirs = ground.dataset(), ground.dataset(tenant="bert")
    first, second, third = (ground.submit(mine, name) for name in ("a", "b", "c"))
    other = ground.submit(theirs, "a")
    waiting = [first, other, second, third]
    assert [trainings.position(ground.tools, one) for one in waiting] == [1, 2, 3, 4]
    trainers.begin(ground.tools, first)
    assert [trainings.position(ground.tools, one) for one in waiting] == [0, 1, 2, 3]


# a trainer's side


def test_progress_is_kept_and_an_epoch_forgives_the_deaths_before_it(ground: Ground) -> None:
    training = ground.submit(ground.dataset())
    trainers.begin(ground.tools, training)
    assert trainers.begin(ground.tools, training).attempts == 2
    trainers.tell(ground.tools, training.id, 0.3, "reading")
    assert (ground.see(training).attempts, ground.see(training).message) == (2, "reading")
    trainers.tell(ground.tools, training.id, 7.0, "head", [{"epoch": 1, "train_loss": 0.5}])
    told = ground.see(training)
    assert (told.attempts, told.progress, told.curve) == (0, 1.0, ({"epoch": 1, "train_loss": 0.5},))
    again = trainers.begin(ground.tools, training)
    assert (again.attempts, again.curve) == (1, told.curve)
    assert again.started_at == told.started_at
    with ground.tools.records.write() as r:
        r.trainings.put_back(training.id)
        r.trainings.put_back(training.id)
    assert ground.see(training).attempts == 0


def test_one_that_kills_its_trainers_fails_and_leaves_no_blob(here: Ground) -> None:
    training = here.submit(here.dataset(), webhook="https://example.org")
    for _ in range(here.tools.settings.max_attempts):
        trainers.begin(here.tools, training)
        here.tools.storage.write(trainings.checkpoint(training.id), b"before the first epoch was told")
    here.sent.clear()
    with pytest.raises(Ended):
        trainers.begin(here.tools, training)
    failed = here.see(training)
    assert (failed.status, failed.error_code) == (Status.FAILED, "poison")
    assert "3 trainers died" in failed.error
    assert here.sent == [("deliver",)]
    assert blobs_of(here, training) == []


def test_what_is_cancelled_registers_nothing_at_any_moment(ground: Ground) -> None:
    tools, made = ground.tools, ground.dataset()
    before = ground.submit(made)
    assert trainings.cancel(tools, "anna", before.id).status is Status.CANCELLED
    with pytest.raises(Ended):
        trainers.begin(tools, before)

    between = trainers.begin(tools, ground.submit(made))
    tools.storage.write(trainings.checkpoint(between.id), b"an epoch")
    cancelled = trainings.cancel(tools, "anna", between.id)
    assert trainings.cancel(tools, "anna", between.id) == cancelled
    for step in (
        lambda: trainers.tell(tools, between.id, 0.5, "head", []),
        lambda: ground.finish(between),
        lambda: trainers.begin(tools, between),
    ):
        with pytest.raises(Ended):
            step()
    trainers.fail(tools, between.id, "late", "too late")
    assert ground.see(between) == cancelled
    assert ground.versions("fruits") == {}
    assert tools.storage.list("checkpoints") == []
    with pytest.raises(errors.NotFound):
        trainings.cancel(tools, "bert", between.id)


def test_a_failure_says_why_and_the_dataset_stays(here: Ground) -> None:
    made = here.dataset()
    training = trainers.begin(here.tools, here.submit(made))
    here.tools.storage.write(trainings.checkpoint(training.id), b"an epoch")
    here.tools.storage.write(trainings.plot(training.id, "curve.svg"), b"<svg/>")
    trainers.fail(here.tools, training.id, "out_of_memory", "too little")
    failed = here.see(training)
    assert (failed.status, failed.error_code, failed.error) == (Status.FAILED, "out_of_memory", "too little")
    assert blobs_of(here, training) == []
    assert len(here.ids(made)) == 6
    with pytest.raises(errors.Conflict, match="has ended as FAILED"):
        trainings.cancel(here.tools, "anna", training.id)


def test_the_first_version_is_the_default_and_later_ones_are_compared_with_it(ground: Ground) -> None:
    made = ground.dataset()
    first, second = ground.trained(made), ground.trained(made)
    assert (first.version, first.is_default, second.version, second.is_default) == ("1", True, "2", False)
    assert ground.versions("fruits") == {"1": first, "2": second}
    done = trainings.get(ground.tools, "anna", second.training_id)
    assert (done.status, done.version, done.version_id, done.progress) == (Status.DONE, "2", second.id, 1.0)
    assert (done.evidence, done.curve) == (EVIDENCE, ({"epoch": 1},))
    (compared,) = comparisons_of(ground)
    assert (compared.candidate_id, compared.baseline_id, compared.status) == (second.id, first.id, Status.DONE)
    assert compared.report == {**REPORT, "candidate": {**REPORT["candidate"], "version": "2"}}  # type: ignore[dict-item]
    with ground.tools.records.read() as r:
        assert r.trainings.summaries([first.id, second.id, "x"])[second.id] == {"accuracy": 0.9, "method": "head"}
        assert r.trainings.page("anna")[0].evidence is None
    assert promotion.promote(ground.tools, "anna", "fruits", "2").is_default


def test_a_version_is_promoted_or_withheld_where_that_was_asked_for(here: Ground) -> None:
    made = here.dataset()
    first = here.trained(made, withheld=True)
    assert first.withheld
    withheld = here.trained(made, withheld=True)
    assert (withheld.withheld, withheld.is_default) == (True, False)
    here.trained(made, promote=True, withheld=True)
    defaults = {number: (known.is_default, known.withheld) for number, known in here.versions("fruits").items()}
    assert defaults == {"1": (False, True), "2": (False, True), "3": (True, False)}
    assert promotion.rollback(here.tools, "anna", "fruits").version == "1"


def test_no_model_of_ones_own_takes_a_name_of_the_catalogue(here: Ground) -> None:
    made = here.dataset()
    with pytest.raises(errors.Conflict, match="of the catalogue; take another name"):
        here.submit(made, name="digits")
    assert models.find(here.tools, "anna", "digits").tenant == EVERYBODY


def test_an_import_that_takes_the_number_meanwhile_costs_no_training(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = trainers.begin(ground.tools, ground.submit(ground.dataset()))
    numbers = iter(["1", "2"])
    ground.version("fruits")
    monkeypatch.setattr(models, "next_version", lambda _: next(numbers))
    assert ground.finish(training).version == "2"
    assert ground.see(training).status is Status.DONE


def test_of_two_trainers_that_finish_at_once_one_does(ground: Ground) -> None:
    training = trainers.begin(ground.tools, ground.submit(ground.dataset()))
    outcomes = at_once(*[lambda: ground.finish(training)] * 2)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Ended", "Version"]
    assert list(ground.versions("fruits")) == ["1"]
    trainers.fail(ground.tools, training.id, "late", "the other one was first")
    trainers.abandon(ground.tools, training.id)
    assert list(ground.versions("fruits")) == ["1"]
    assert ground.see(training).status is Status.DONE
    assert ground.tools.storage.list(f"plots/{training.id}")  # are the evidence of the one that is there


def test_a_cancel_and_a_finish_at_once_agree_on_the_end(ground: Ground) -> None:
    training = trainers.begin(ground.tools, ground.submit(ground.dataset()))
    cancelled, finished = at_once(
        lambda: trainings.cancel(ground.tools, "anna", training.id), lambda: ground.finish(training)
    )
    if ground.see(training).status is Status.DONE:
        assert isinstance(cancelled, errors.Conflict)
        assert list(ground.versions("fruits")) == ["1"]
    else:
        assert isinstance(finished, Ended)
        assert ground.versions("fruits") == {}


# being called back


def test_an_ended_training_calls_back_once_and_signed_and_a_job_as_ever(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[bytes, dict[str, str]]] = []

    def post(url: str, body: bytes, headers: dict[str, str], **_: Any) -> int:
        calls.append((body, headers))
        return 200

    monkeypatch.setattr(fetch, "post", post)
    about: dict[str, Any] = {"webhook": "https://example.org", "webhook_secret": "s3cret", "metadata": {"order": 7}}
    made = ground.trained(ground.dataset(), **about)
    job = Job(str(uuid6.uuid7()), "anna", "native", Status.QUEUED, "fruits", "1", made.id, Options(), "normal", NOW, 0,
              webhook="https://example.org/job")  # fmt: skip
    with ground.tools.records.write() as r:
        r.jobs.add(job, [])
        r.jobs.end([job.id], Status.CANCELLED, NOW)
        due = {one.job_id: (one.kind, one.tenant, one.url) for one in r.deliveries.due(ground.tools.now())}
    assert due == {
        made.training_id: ("training", "anna", "https://example.org"),
        job.id: ("job", "anna", "https://example.org/job"),
    }

    delivery.deliver(ground.tools)
    delivery.deliver(replace(ground.tools, now=lambda: NOW + 10**6))

    told = {json.loads(body)["data"].pop("_id"): (body, headers) for body, headers in calls}
    assert len(calls) == len(told) == 2
    assert json.loads(told[job.id][0])["type"] == "job.cancelled"
    body, headers = told[made.training_id]
    assert json.loads(body)["type"] == "training.done"
    assert json.loads(body)["data"] == {
        "_id": made.training_id,
        "terminal": True,
        "status": "DONE",
        "model": {"name": "fruits", "version": "1"},
        "error": "",
        "metadata": {"order": 7},
    }
    signed = f"{made.training_id}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


def test_a_training_that_is_cancelled_twice_calls_back_once(here: Ground) -> None:
    training = here.submit(here.dataset(), webhook="https://example.org")
    trainings.cancel(here.tools, "anna", training.id)
    trainings.cancel(here.tools, "anna", training.id)
    with here.tools.records.read() as r:
        assert [due.job_id for due in r.deliveries.due(here.tools.now())] == [training.id]
    trainings.remove(here.tools, "anna", training.id)
    with here.tools.records.read() as r:
        assert r.deliveries.due(here.tools.now()) == []


# the housekeeper, and taking things away


def test_the_sweep_rings_only_for_what_nobody_holds(here: Ground) -> None:
    tools = here.tools
    training = here.submit(here.dataset())
    loading_one = datasets.create(tools, "anna", "more", source="uploads/1")
    tools.queue.lock(trainers.lock_name(training.id), "a trainer", 60)
    tools.queue.lock(loading.lock_name(loading_one.id), "a trainer", 60)
    here.sent.clear()
    sweep.retrain(tools)
    assert here.sent == []
    tools.queue.unlock(trainers.lock_name(training.id), "a trainer")
    tools.queue.unlock(loading.lock_name(loading_one.id), "a trainer")
    sweep.retrain(tools)
    sweep.retrain(tools)
    assert sorted(here.sent) == [("load",), ("train",)]


def test_a_model_that_a_training_needs_is_not_removed(ground: Ground) -> None:
    tools, made = ground.tools, ground.dataset()
    first = ground.trained(made)
    child = ground.submit(made, "children", base="fruits")
    for name, version in (("fruits", ""), ("fruits", "1")):
        with pytest.raises(errors.Conflict, match=child.id):
            models.remove(tools, "anna", name, version)
    assert ground.versions("fruits") == {"1": first}
    trainings.cancel(tools, "anna", child.id)
    again = ground.submit(made)
    with pytest.raises(errors.Conflict, match=again.id):
        models.remove(tools, "anna", "fruits")
    models.remove(tools, "anna", "fruits", "1")  # what it makes will stand alone
    assert ground.finish(trainers.begin(tools, again)).is_default


def test_with_a_version_goes_its_evidence_and_with_the_model_everything(ground: Ground) -> None:
    tools, made = ground.tools, ground.dataset()
    first, second, third = (ground.trained(made) for _ in range(3))
    trainings.cancel(tools, "anna", ground.submit(made).id)
    promotion.promote(tools, "anna", "fruits", "2")
    promotion.set_canary(tools, "anna", "fruits", "3", 0.5)
    with pytest.raises(errors.Conflict, match="evidence of fruits 2"):
        trainings.remove(tools, "anna", second.training_id)
    with tools.records.write() as r:
        r.versions.make_default(third)

    models.remove(tools, "anna", "fruits", "2")
    with pytest.raises(errors.NotFound):
        trainings.get(tools, "anna", second.training_id)
    assert [one.candidate_id for one in comparisons_of(ground)] == [third.id]
    assert [number for number, known in ground.versions("fruits").items() if known.is_default] == ["3"]
    with pytest.raises(errors.Conflict, match="No promotion"):
        promotion.rollback(tools, "anna", "fruits")
    assert [tools.storage.list(f"weights/{one.id}") for one in (first, second, third)] == [
        [first.weights], [], [third.weights],
    ]  # fmt: skip
    assert tools.storage.list(f"plots/{second.id}") == []

    models.remove(tools, "anna", "fruits")
    assert comparisons_of(ground) == []
    with tools.records.read() as r:
        assert r.trainings.page("anna") == []
        assert not r.promotions.is_canary(third.id)
    for folder in ("weights", "plots"):
        assert [tools.storage.list(f"{folder}/{version.id}") for version in (first, third)] == [[], []]


def test_the_live_ones_are_found_by_their_index(here: Ground) -> None:
    with here.tools.records.engine.connect() as connection, here.tools.records.read() as r:
        for ask in (
            lambda: r.trainings.in_status(Status.QUEUED),
            lambda: r.trainings.live_of("anna", "fruits"),
            lambda: r.trainings.live_from(["x"]),
        ):
            ((statement, parameters),) = here.statements(ask)
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert "uq_trainings_tenant_name" in str(plan)


def test_what_trainers_left_behind_is_tidied_away_when_nobody_can_need_it(here: Ground) -> None:
    tools = here.tools
    live = here.submit(here.dataset(name="one"), name="one")
    ended = here.submit(here.dataset(name="two"), name="two")
    trainings.cancel(tools, ended.tenant, ended.id)
    for training in (live, ended):
        tools.storage.write(trainings.checkpoint(training.id), b"an epoch")
    strange = str(uuid6.uuid7())
    for training_id in (ended.id, strange):
        tools.storage.write(trainings.plot(training_id, "curve.svg"), b"<svg/>")

    sweep.drop_training_orphans(replace(tools, now=lambda: time.time() + 7200))

    assert tools.storage.list("checkpoints") == [trainings.checkpoint(live.id)]
    assert tools.storage.list(f"plots/{ended.id}") == [trainings.plot(ended.id, "curve.svg")]
    assert tools.storage.list(f"plots/{strange}") == []


def test_who_lost_a_training_removes_nothing_of_who_has_it_now(here: Ground) -> None:
    training = trainers.begin(here.tools, here.submit(here.dataset()))
    weights = models.trained_weights(training.id, "0123")
    here.tools.storage.write(weights, b"proven by another trainer")

    trainers.abandon(here.tools, training.id)
    assert here.tools.storage.list(f"weights/{training.id}") == [weights]

    trainings.cancel(here.tools, training.tenant, training.id)
    assert here.tools.storage.list(f"weights/{training.id}") == []
