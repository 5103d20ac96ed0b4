"""Queries on SQLite and PostgreSQL: another tenant sees nothing, and no outcome is recorded twice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uuid6

from shared.adapters.database import unit_of_work
from shared.adapters.database.sqlite_write_lock import SqliteWriteLock
from shared.adapters.database.unit_of_work import Database
from shared.domain.jobs import AnswerOptions, Item, Job, JobChange, JobTrace, Outcome, Status
from shared.domain.keys import ApiKey
from shared.domain.models import ALL_TENANTS, ModelExample, ModelState, ModelVersion
from shared.domain.preprocessing import Preprocessing
from shared.domain.stored_images import StoredImage
from shared.domain.webhooks import Attempt, Delivery, Receiver, Reply
from shared.errors import BadRequest, Conflict, StorageFull, Unavailable
from shared.settings import Settings
from worker import create_app

NOW = 1_700_000_000.0


def a_job(tenant: str = "anna", total: int = 2, **about: Any) -> Job:
    fields: dict[str, Any] = {"wire": "native", "model": "m", "version": "1", "version_id": "v1", "priority": "normal"}
    fields |= {"id": str(uuid6.uuid7()), "status": Status.QUEUED, "options": AnswerOptions(), "created_at": NOW}
    return Job(tenant=tenant, total=total, **fields | about)


def its_items(job: Job) -> list[Item]:
    return [Item(job.id, number, f"{number}.png", "blob", 10 * number, 10) for number in range(job.total)]


def stored(database: Database, *jobs: Job) -> Job:
    """Add jobs with their items; return the first job."""
    with database.write() as uow:
        for job in jobs:
            uow.jobs.add([(job, its_items(job))])
    return jobs[0]


def stored_job(database: Database, job: Job) -> Job:
    with database.read() as uow:
        again = uow.jobs.find(job.tenant, job.id)
    assert again is not None
    return again


def running(database: Database, *jobs: Job) -> Job:
    """Add jobs that a worker has begun; return the first job."""
    stored(database, *jobs)
    with database.write() as uow:
        uow.jobs.start({job.id for job in jobs}, NOW)
    return jobs[0]


def good(job: Job, position: int, label: str = "cat") -> Outcome:
    return Outcome(job.id, position, [[label, 0.9]])


def bad(job: Job, position: int) -> Outcome:
    return Outcome(job.id, position, error_code="broken_picture", error="It is damaged.")


def record(database: Database, *outcomes: Outcome, now: float = NOW + 5) -> list[JobChange]:
    """Record outcomes; return what has changed of the jobs that have ended by it."""
    with database.write() as uow:
        return [change for change in uow.jobs.record(outcomes, now) if change.finished_at is not None]


def items(database: Database, job: Job) -> list[Item]:
    with database.read() as uow:
        return uow.jobs.items(job.id)


def together(*steps: Callable[[], None]) -> None:
    """Run the steps at the same time; the first error of any is raised."""
    wrong: list[BaseException] = []
    gate = threading.Barrier(len(steps))

    def run(step: Callable[[], None]) -> None:
        try:
            gate.wait(10)
            step()
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if wrong:
        raise wrong[0]


# jobs


def test_a_job_comes_back_as_it_was_stored(database: Database) -> None:
    job = a_job(
        options=AnswerOptions(task="features", top_k=3, function_to_apply="none", exif=False),
        deadline=NOW + 60,
        metadata={"their": ["own", {"words": "ü"}]},
        idempotency_key="once",
        fingerprint="f" * 64,
        webhook="https://example.org/hook",
        webhook_secret="s",
        blob="jobs/2023-11-14/x",
        priority="high",
        wire="sap",
    )
    stored(database, job)
    assert stored_job(database, job) == job


def test_items_come_back_in_upload_order_and_in_pages(database: Database) -> None:
    job = a_job(total=12_000)
    with database.write() as uow:
        uow.jobs.add([(job, list(reversed(its_items(job))))])
    with database.read() as uow:
        assert uow.jobs.items(job.id) == its_items(job)
        assert [item.position for item in uow.jobs.items(job.id, start=11_998)] == [11_998, 11_999]
        assert [item.position for item in uow.jobs.items(job.id, start=5, limit=3)] == [5, 6, 7]


def test_a_job_is_not_found_by_another_tenant(database: Database) -> None:
    job = stored(database, a_job("anna"))
    with database.read() as uow:
        assert uow.jobs.find("anna", job.id) is not None
        assert uow.jobs.find("bert", job.id) is None
        assert uow.jobs.page("bert") == []


def test_pages_are_newest_first_and_leave_none_out(database: Database) -> None:
    jobs = [a_job() for _ in range(7)]
    stored(database, *jobs, a_job("bert"))
    seen: list[str] = []
    with database.read() as uow:
        while page := uow.jobs.page("anna", before=seen[-1] if seen else "", limit=3):
            assert len(page) <= 3
            seen += [job.id for job in page]
    assert seen == [job.id for job in reversed(jobs)]


def test_pages_can_be_narrowed_by_status_model_and_time(database: Database) -> None:
    old, other, ended = a_job(created_at=NOW - 100), a_job(model="other"), a_job(status=Status.DONE)
    stored(database, old, other, ended)
    with database.read() as uow:
        assert [job.id for job in uow.jobs.page("anna", status="DONE")] == [ended.id]
        assert [job.id for job in uow.jobs.page("anna", model="other")] == [other.id]
        assert [job.id for job in uow.jobs.page("anna", until=NOW)] == [old.id]
        assert [job.id for job in uow.jobs.page("anna", since=NOW)] == [ended.id, other.id]


def test_an_error_in_the_block_takes_everything_back(database: Database) -> None:
    job = a_job()
    with pytest.raises(AssertionError), database.write() as uow:  # noqa: PT012
        uow.jobs.add([(job, its_items(job))])
        raise AssertionError
    with database.read() as uow:
        assert uow.jobs.find("anna", job.id) is None
        assert uow.jobs.items(job.id) == []


def test_an_idempotency_key_is_found_by_its_tenant_only(database: Database) -> None:
    job = stored(database, a_job("anna", idempotency_key="once"), a_job("anna"), a_job("anna"))
    with database.read() as uow:
        assert uow.jobs.find_by_idempotency_key("anna", "once") == job
        assert uow.jobs.find_by_idempotency_key("bert", "once") is None
        assert uow.jobs.find_by_idempotency_key("anna", "twice") is None


def test_two_tenants_may_use_the_same_idempotency_key_but_one_tenant_not_twice(database: Database) -> None:
    stored(database, a_job("anna", idempotency_key="once"), a_job("bert", idempotency_key="once"))
    with pytest.raises(Conflict):
        stored(database, a_job("anna", idempotency_key="once"))
    with database.read() as uow:
        assert len(uow.jobs.page("anna")) == 1


# start


def test_starting_moves_queued_jobs_to_running_once(database: Database) -> None:
    job = stored(database, a_job())
    for now in (NOW + 1, NOW + 2):
        with database.write() as uow:
            uow.jobs.start({job.id}, now)
    again = stored_job(database, job)
    assert (again.status, again.started_at) == (Status.RUNNING, NOW + 1)


def test_ended_and_unknown_jobs_are_neither_live_nor_started(database: Database) -> None:
    ended = [a_job(status=status) for status in Status if status.terminal]
    stored(database, *ended)
    with database.write() as uow:
        assert uow.jobs.live_among({job.id for job in ended} | {"unknown"}) == []
        uow.jobs.start({job.id for job in ended} | {"unknown"}, NOW)
    assert [stored_job(database, job).status for job in ended] == [job.status for job in ended]


def test_a_thousand_jobs_are_looked_at_and_started_in_one_call(database: Database) -> None:
    jobs = [a_job(total=1) for _ in range(1200)]
    stored(database, *jobs)
    ids = {job.id for job in jobs}
    with database.write() as uow:
        assert {job.id for job in uow.jobs.live_among(ids)} == ids
        uow.jobs.start(ids, NOW)
    with database.read() as uow:
        assert {job.status for job in uow.jobs.live_among(ids)} == {Status.RUNNING}


# record


def test_outcomes_are_stored_with_their_items(database: Database) -> None:
    job = running(database, a_job(total=3))

    ended = record(database, good(job, 2, "dog"), bad(job, 0))

    assert ended == []
    first, second, third = items(database, job)
    assert (first.status, first.result) == ("FAILED", None)
    assert (first.error_code, first.error) == ("broken_picture", "It is damaged.")
    assert (second.status, second.result) == ("QUEUED", None)
    assert (third.status, third.result, third.error_code) == ("DONE", [["dog", 0.9]], "")
    again = stored_job(database, job)
    assert (again.status, again.done, again.failed, again.left) == (Status.RUNNING, 1, 1, 1)


@pytest.mark.parametrize(
    ("outcomes", "status", "code"),
    [
        ([good, good], Status.DONE, ""),
        ([good, bad], Status.DONE, ""),
        ([bad, bad], Status.FAILED, "no_picture_succeeded"),
    ],
)
def test_the_last_outcome_ends_the_job(
    database: Database, outcomes: list[Callable[[Job, int], Outcome]], status: Status, code: str
) -> None:
    job = running(database, a_job(total=2))
    assert record(database, outcomes[0](job, 0)) == []

    ended = record(database, outcomes[1](job, 1))

    assert [again.id for again in ended] == [job.id]
    again = stored_job(database, job)
    assert ended[0].status == status
    assert (again.status, again.error_code, again.finished_at, again.left) == (status, code, NOW + 5, 0)


def test_what_is_delivered_twice_is_recorded_once(database: Database) -> None:
    job = running(database, a_job(total=3))
    record(database, good(job, 0, "first"), good(job, 1))

    record(database, good(job, 0, "second"), bad(job, 1))

    assert items(database, job)[0].result == [["first", 0.9]]
    assert items(database, job)[1].status == "DONE"
    assert (stored_job(database, job).done, stored_job(database, job).failed) == (2, 0)


def test_twice_in_the_same_batch_is_recorded_once_too(database: Database) -> None:
    job = running(database, a_job(total=2))
    record(database, good(job, 0, "first"), good(job, 0, "second"), bad(job, 0))
    assert items(database, job)[0].result == [["first", 0.9]]
    assert (stored_job(database, job).done, stored_job(database, job).failed) == (1, 0)


def test_one_batch_may_end_many_jobs(database: Database) -> None:
    jobs = [a_job(total=1) for _ in range(700)]
    running(database, *jobs)
    ended = record(database, *[good(job, 0) for job in jobs])
    assert {job.id for job in ended} == {job.id for job in jobs}
    assert {job.status for job in ended} == {Status.DONE}


def test_cancelled_while_running_nothing_more_is_written(database: Database) -> None:
    job = running(database, a_job(total=2))
    record(database, good(job, 0))
    with database.write() as uow:
        uow.jobs.end([job.id], Status.CANCELLED, NOW + 1)

    assert record(database, good(job, 1)) == []

    again = stored_job(database, job)
    assert (again.status, again.done, again.finished_at) == (Status.CANCELLED, 1, NOW + 1)
    assert items(database, job)[1].status == "QUEUED"


def test_an_outcome_of_a_deleted_job_is_dropped(database: Database) -> None:
    job = running(database, a_job())
    with database.write() as uow:
        uow.jobs.delete([job.id])
    assert record(database, good(job, 0)) == []


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_no_move_leads_away_from_an_ended_job(database: Database, status: Status) -> None:
    job = stored(database, a_job(status=status, finished_at=NOW))
    with database.write() as uow:
        for target in Status:
            uow.jobs.end([job.id], target, NOW + 9)
    again = stored_job(database, job)
    assert (again.status, again.finished_at) == (status, NOW)


def test_two_workers_that_record_the_same_pictures_at_once_count_them_once(database: Database) -> None:
    jobs = [a_job(total=20) for _ in range(10)]
    running(database, *jobs)
    outcomes = [good(job, number) for job in jobs for number in range(20)]
    ended: list[str] = []

    def work(mine: list[Outcome]) -> None:
        for start in range(0, len(mine), 25):
            ended.extend(job.id for job in record(database, *mine[start : start + 25]))

    together(lambda: work(outcomes), lambda: work(outcomes[::-1]), lambda: work(outcomes))

    assert [(stored_job(database, job).done, stored_job(database, job).status) for job in jobs] == [
        (20, Status.DONE)
    ] * 10
    assert sorted(ended) == sorted(job.id for job in jobs)


def test_a_cancel_in_the_middle_of_recording_leaves_counters_and_items_in_step(database: Database) -> None:
    job = running(database, a_job(total=200))

    def work() -> None:
        for number in range(0, 200, 10):
            record(database, *[good(job, n) for n in range(number, number + 10)])

    def cancel() -> None:
        with database.write() as uow:
            uow.jobs.end([job.id], Status.CANCELLED, NOW + 1)

    together(work, cancel)

    assert stored_job(database, job).done == sum(item.status == "DONE" for item in items(database, job))


# queries of the maintenance


def test_left_by_version_adds_up_live_jobs(database: Database) -> None:
    job = running(database, a_job(total=5, version_id="v1"))
    stored(database, a_job("bert", total=2, version_id="v1"), a_job(total=4, version_id="v2"))
    stored(database, a_job(total=9, version_id="v3", status=Status.CANCELLED))
    record(database, good(job, 0), bad(job, 1))
    with database.read() as uow:
        assert uow.jobs.left_by_version() == {"v1": 5, "v2": 4}


def test_live_and_unfinished_are_what_a_lost_stream_is_filled_from(database: Database) -> None:
    old, young, other = a_job(created_at=NOW - 10, total=3), a_job(created_at=NOW), a_job(version_id="v2")
    running(database, old, young, other)
    stored(database, a_job(created_at=NOW - 10, status=Status.DONE))
    record(database, good(old, 1))
    with database.read() as uow:
        assert [job.id for job in uow.jobs.live("v1", "normal", created_before=NOW - 1)] == [old.id]
        unfinished = uow.jobs.unfinished_items([old.id, young.id, "unknown"])
    assert {job_id: [item.position for item in left] for job_id, left in unfinished.items()} == {
        old.id: [0, 2], young.id: [0, 1],
    }  # fmt: skip


def test_live_jobs_come_in_pages_oldest_first_and_by_priority(database: Database) -> None:
    ids = sorted(str(uuid6.uuid7()) for _ in range(5))
    stored(database, *[a_job(id=job_id) for job_id in reversed(ids)], a_job(priority="high"))
    with database.read() as uow:
        first = uow.jobs.live("v1", "normal", created_before=NOW + 1, limit=3)
        rest = uow.jobs.live("v1", "normal", created_before=NOW + 1, after=first[-1].id, limit=3)
    assert [job.id for job in first + rest] == ids


def test_finished_items_are_distinguished_from_the_others(database: Database) -> None:
    job = running(database, a_job(total=600))
    record(database, *[good(job, number) for number in range(0, 600, 2)])
    with database.read() as uow:
        answered = uow.jobs.finished_items([(job.id, number) for number in range(600)] + [("unknown", 0)])
    assert answered == {(job.id, number) for number in range(0, 600, 2)}


def test_only_queued_jobs_are_past_their_deadline(database: Database) -> None:
    late = stored(database, a_job(deadline=NOW - 1), a_job(deadline=NOW + 1), a_job())
    running(database, a_job(deadline=NOW + 1))
    stored(database, a_job(deadline=NOW - 1, status=Status.CANCELLED))
    with database.read() as uow:
        assert uow.jobs.past_deadline(NOW) == [late.id]


def test_old_jobs_are_found_and_deleted_with_their_items_and_callbacks(database: Database) -> None:
    old = a_job(status=Status.DONE, finished_at=NOW - 100, blob="b1", webhook="https://example.org")
    young = a_job(status=Status.DONE, finished_at=NOW, blob="b2")
    stored(database, old, young, a_job())
    with database.write() as uow:
        uow.jobs.end([old.id], Status.DONE, NOW)

    with database.write() as uow:
        assert uow.tenant_limits.jobs_kept_too_long(NOW, 50) == [(old.id, "b1")]
        uow.jobs.delete([old.id])

    with database.read() as uow:
        assert uow.jobs.known([old.id, young.id]) == {young.id}
        assert uow.jobs.items(old.id) == []
        assert len(uow.jobs.items(young.id)) == 2


# callbacks


def ended_with_a_callback(database: Database, now: float = NOW) -> Job:
    job = running(database, a_job(total=1, webhook="https://example.org/hook", webhook_secret="s"))
    record(database, good(job, 0), now=now)
    return job


def test_traces_are_found_counted_replaced_and_deleted_with_their_jobs(database: Database) -> None:
    traced, again, other = a_job(), a_job(), a_job()
    stored(database, traced, again, other)
    ids = [traced.id, again.id, other.id]

    def traces() -> dict[str, JobTrace]:
        with database.read() as uow:
            return uow.job_traces.find(ids)

    with database.write() as uow:
        uow.job_traces.add({traced.id: "00-a-b-01", again.id: "00-c-d-01"})
        uow.job_traces.add({})
        uow.job_traces.count_push([again.id, traced.id])
        uow.job_traces.count_push([again.id])
    assert traces() == {traced.id: JobTrace("00-a-b-01", 2), again.id: JobTrace("00-c-d-01", 3)}
    with database.write() as uow:
        uow.job_traces.replace(again.id, "00-e-f-01")
        uow.job_traces.replace(other.id, "00-g-h-01")
        uow.jobs.delete([traced.id])
    assert traces() == {again.id: JobTrace("00-e-f-01"), other.id: JobTrace("00-g-h-01")}
    with database.write() as uow:
        uow.job_traces.replace(again.id, "")
    assert set(traces()) == {other.id}


def test_a_callback_becomes_due_in_the_commit_that_ends_the_job(database: Database) -> None:
    job = running(database, a_job(total=2, webhook="https://example.org/hook", webhook_secret="s"), a_job(total=1))
    record(database, good(job, 0))
    with database.read() as uow:
        assert uow.webhook_deliveries.due(NOW + 9) == []

    record(database, good(job, 1), now=NOW + 5)

    with database.read() as uow:
        assert uow.webhook_deliveries.due(NOW + 4) == []
        (due,) = uow.webhook_deliveries.due(NOW + 5)
    assert (due.job_id, due.tenant, due.url, due.secret, due.attempts) == (
        job.id, "anna", "https://example.org/hook", "s", 0,
    )  # fmt: skip


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.FAILED])
def test_every_end_calls_back_and_only_once(database: Database, status: Status) -> None:
    job = stored(database, a_job(webhook="https://example.org/hook"))
    with database.write() as uow:
        uow.jobs.end([job.id], status, NOW)
        uow.jobs.end([job.id], status, NOW)
    with database.read() as uow:
        assert [due.job_id for due in uow.webhook_deliveries.due(NOW)] == [job.id]


def test_two_deliverers_never_take_the_same_callback(database: Database) -> None:
    ended_with_a_callback(database)
    with database.read() as uow:
        (due,) = uow.webhook_deliveries.due(NOW)
    taken: list[bool] = []

    def take() -> None:
        with database.write() as uow:
            taken.append(uow.webhook_deliveries.take(due, NOW + 60))

    together(take, take, take)

    assert sorted(taken) == [False, False, True]
    with database.read() as uow:
        assert uow.webhook_deliveries.due(NOW + 59) == []
        assert [again.attempts for again in uow.webhook_deliveries.due(NOW + 60)] == [1]


GOOD, BAD = Attempt("0" * 64, 0.1, Reply(200, "")), Attempt("0" * 64, 0.1, Reply(500, ""), "answered 500")


def taken(database: Database, job: Job, until: float = NOW + 60) -> Delivery:
    """Return the due callback of a job as its deliverer has it."""
    with database.write() as uow:
        (due,) = [due for due in uow.webhook_deliveries.due(until) if due.id == job.id]
        assert uow.webhook_deliveries.take(due, until)
    return replace(due, attempts=due.attempts + 1, due_at=until)


def test_a_failed_callback_is_due_again_and_a_good_or_given_up_one_never(database: Database) -> None:
    again, never, good_one = (taken(database, ended_with_a_callback(database)) for _ in range(3))
    with database.write() as uow:
        assert uow.webhook_deliveries.record(again, BAD, NOW, due_at=NOW + 30)
        assert uow.webhook_deliveries.record(never, BAD, NOW, due_at=None)
        assert uow.webhook_deliveries.record(good_one, GOOD, NOW, due_at=None)
    with database.read() as uow:
        assert uow.webhook_deliveries.due(NOW + 29) == []
        assert [due.job_id for due in uow.webhook_deliveries.due(NOW + 1e9)] == [again.id]
        stored = [uow.webhook_deliveries.find("anna", delivery.id) for delivery in (again, never, good_one)]
    assert [delivery.status for delivery in stored if delivery] == ["WAITING", "FAILED", "DELIVERED"]
    assert [delivery.response_status for delivery in stored if delivery] == [500, 500, 200]


def test_a_deliverer_whose_time_is_up_does_not_overwrite_the_end_of_the_next_one(database: Database) -> None:
    job = ended_with_a_callback(database)
    late = taken(database, job, NOW + 60)
    next_one = taken(database, job, NOW + 120)
    with database.write() as uow:
        assert uow.webhook_deliveries.record(next_one, GOOD, NOW + 70, due_at=None)
        assert not uow.webhook_deliveries.record(late, BAD, NOW + 71, due_at=NOW + 80)
    with database.read() as uow:
        assert uow.webhook_deliveries.due(NOW + 1e9) == []


def test_callbacks_of_full_tenants_and_receivers_are_left_out(database: Database) -> None:
    jobs = [
        running(database, a_job(tenant, total=1, webhook=f"https://{host}/{number}"))
        for number, (tenant, host) in enumerate([("anna", "A.org:1"), ("anna", "a.org"), ("bert", "a.org:1")])
    ]
    for number, job in enumerate(jobs):
        record(database, good(job, 0), now=NOW + number)
    full = Receiver("anna", "a.org:1")

    def due(**without: Any) -> list[int]:
        with database.read() as uow:
            found = [delivery.id for delivery in uow.webhook_deliveries.due(NOW + 9, **without)]
        return [number for number, job in enumerate(jobs) if job.id in found]

    assert due(without=[full]) == [0, 1, 2]  # the host of none is stored yet
    with database.write() as uow:
        for delivery in uow.webhook_deliveries.due(NOW + 9):
            uow.webhook_deliveries.note_receiver(delivery)
    assert due(without=[full]) == [1, 2]
    assert due(without_tenants=["anna"]) == [2]


def test_a_callback_that_an_older_process_has_inserted_is_due_and_gets_its_tenant(database: Database) -> None:
    job = ended_with_a_callback(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE deliveries SET tenant = NULL"))
    with database.read() as uow:
        assert uow.webhook_deliveries.page("anna") == []
    assert taken(database, job).tenant == "anna"
    with database.read() as uow:
        assert [delivery.id for delivery in uow.webhook_deliveries.page("anna")] == [job.id]


def test_the_longest_due_callbacks_come_first(database: Database) -> None:
    late, early = ended_with_a_callback(database, NOW + 2), ended_with_a_callback(database, NOW + 1)
    with database.read() as uow:
        assert [due.job_id for due in uow.webhook_deliveries.due(NOW + 9)] == [early.id, late.id]
        assert [due.job_id for due in uow.webhook_deliveries.due(NOW + 9, limit=1)] == [early.id]


# models


def a_version(tenant: str = "anna", name: str = "m", version: str = "1", **about: Any) -> ModelVersion:
    fields = {
        "family": "digits",
        "architecture": "digits",
        "state": ModelState.READY,
        "created_at": NOW + float(version),
    }
    return ModelVersion(str(uuid6.uuid7()), tenant, name, version, **fields | about)  # type: ignore[arg-type]


def added(database: Database, *versions: ModelVersion) -> ModelVersion:
    with database.write() as uow:
        for version in versions:
            uow.model_versions.add(version)
    return versions[0]


def test_a_version_comes_back_as_it_was_stored(database: Database) -> None:
    version = added(
        database,
        a_version(
            labels=("a", "b"),
            preprocessing=Preprocessing(256, 224, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "bicubic", "RGB"),
            example=ModelExample("examples/x", (1.5, -2.25)),
            metrics={"accuracy": 0.99},
            weights="weights/w",
            checksum="c",
            is_default=True,
        ),
    )
    bare = added(database, a_version(name="bare"))
    with database.read() as uow:
        assert uow.model_versions.find(version.id) == version
        assert uow.model_versions.find(bare.id) == bare
        assert uow.model_versions.find("unknown") is None


def test_models_of_the_catalogue_are_seen_by_all_and_a_tenants_by_that_tenant(database: Database) -> None:
    shared, own = added(database, a_version(ALL_TENANTS, "shared")), added(database, a_version("anna", "own"))
    with database.read() as uow:
        assert {version.id for version in uow.model_versions.visible("anna")} == {shared.id, own.id}
        assert {version.id for version in uow.model_versions.visible("bert")} == {shared.id}
        assert uow.model_versions.named("bert", "own") == []
        assert uow.model_versions.named("bert", "shared") == [shared]


def test_a_tenants_own_model_hides_that_of_the_catalogue_of_the_same_name(database: Database) -> None:
    shared = added(database, a_version(ALL_TENANTS, "resnet50"))
    own = added(database, a_version("anna", "resnet50", "2"))
    with database.read() as uow:
        assert uow.model_versions.named("anna", "resnet50") == [own]
        assert uow.model_versions.named("bert", "resnet50") == [shared]


def test_versions_are_listed_oldest_first(database: Database) -> None:
    second, first = added(database, a_version(version="2")), added(database, a_version(version="1"))
    with database.read() as uow:
        assert uow.model_versions.named("anna", "m") == [first, second]


def test_a_name_and_version_exist_once_per_tenant(database: Database) -> None:
    added(database, a_version("anna"), a_version("bert"), a_version("anna", version="2"))
    with pytest.raises(Conflict):
        added(database, a_version("anna"))


def test_one_version_of_a_model_is_the_default(database: Database) -> None:
    first = added(database, a_version(is_default=True))
    second = added(database, a_version(version="2"))
    others = a_version("bert", is_default=True), a_version(name="other", is_default=True)
    added(database, *others)
    with database.write() as uow:
        uow.model_versions.make_default(second)
    with database.read() as uow:
        assert [version.is_default for version in uow.model_versions.named("anna", "m")] == [False, True]
        assert [uow.model_versions.find(version.id) for version in others] == list(others)
    assert first.is_default


def test_states_reasons_and_blobs_are_kept(database: Database) -> None:
    version = added(database, a_version(state=ModelState.CHECKING, weights="w1"), a_version(version="2", weights="w2"))
    with database.write() as uow:
        uow.model_versions.set_reason(version.id, "half way")
    with database.read() as uow:
        assert [version.reason for version in uow.model_versions.in_state(ModelState.CHECKING)] == ["half way"]
        assert uow.model_versions.known_weights(["w1", "w3"]) == {"w1"}
    with database.write() as uow:
        uow.model_versions.save(replace(version, state=ModelState.READY))
        assert uow.model_versions.in_state(ModelState.CHECKING) == []
        uow.model_versions.delete([version.id])
    with database.read() as uow:
        assert uow.model_versions.find(version.id) is None


# images, keys, key_values


def an_image(number: int, tenant: str = "anna", stage: str = "live") -> StoredImage:
    name = f"{tenant}_{stage}_{number}"
    return StoredImage(f"image_{name}", tenant, stage, name, f"images/{name}", "PNG", 8, 9, 100, NOW + number)


def test_images_are_listed_per_tenant_and_stage_from_any_of_them_on(database: Database) -> None:
    images = [an_image(number) for number in range(4)]
    others = [an_image(1, stage="test"), an_image(1, tenant="bert")]
    with database.write() as uow:
        for image in images + others:
            uow.stored_images.add(image)
    with database.read() as uow:
        assert uow.stored_images.page("anna", "live", limit=2) == [images[3], images[2]]
        assert uow.stored_images.page("anna", "live", first=images[2].id) == [images[2], images[1], images[0]]
        assert uow.stored_images.newer("anna", "live", than=images[0].id, limit=2) == [images[1], images[2]]
        assert uow.stored_images.newer("anna", "live", than=images[3].id, limit=2) == []
        assert uow.stored_images.page("anna", "test") == [others[0]]
        assert uow.stored_images.page("bert", "live") == [others[1]]
        assert uow.stored_images.page("bert", "test") == []


def test_images_are_found_by_id_or_age_and_deleted(database: Database) -> None:
    images = [an_image(number, stage="test") for number in range(4)]
    with database.write() as uow:
        for image in [*images, an_image(0)]:
            uow.stored_images.add(image)
    with database.write() as uow:
        assert uow.stored_images.find(images[1].id) == images[1]
        assert uow.stored_images.find("image_none") is None
        assert uow.stored_images.made_before("test", NOW + 2, limit=99) == images[:2]
        assert uow.stored_images.made_before("test", NOW + 3, limit=2) == images[:2]
        uow.stored_images.delete([images[0].id, images[2].id])
    with database.read() as uow:
        assert uow.stored_images.page("anna", "test") == [images[3], images[1]]
        assert uow.stored_images.page("anna", "live") == [an_image(0)]


def a_key(tenant: str, text: str) -> ApiKey:
    return ApiKey(str(uuid6.uuid7()), tenant, text, text[:8], text, ("infer", "keys"), NOW)


def test_the_last_valid_key_of_a_tenant_with_a_scope_is_known(database: Database) -> None:
    first, second, other = a_key("anna", "hash-1"), a_key("anna", "hash-2"), a_key("bert", "hash-3")
    without = replace(a_key("anna", "hash-4"), scopes=("infer",))
    with database.write() as uow:
        for key in (first, second, other, without):
            uow.keys.add(key)
    with database.write() as uow:
        assert not uow.keys.outlasts_others_with("anna", "keys", first.id, NOW)
        uow.keys.revoke("anna", second.id, NOW)
        assert uow.keys.outlasts_others_with("anna", "keys", first.id, NOW)
        assert not uow.keys.outlasts_others_with("anna", "keys", second.id, NOW)
        assert not uow.keys.outlasts_others_with("anna", "keys", without.id, NOW)
        assert not uow.keys.outlasts_others_with("anna", "models", first.id, NOW)


def test_a_key_is_valid_until_its_own_tenant_revokes_it(database: Database) -> None:
    key = a_key("anna", "hash-1")
    with database.write() as uow:
        uow.keys.add(key)
    with database.write() as uow:
        assert uow.keys.find_by_hash("hash-1") == key
        assert uow.keys.find_by_hash("hash-2") is None
        assert not uow.keys.revoke("bert", key.id, NOW)
        assert uow.keys.find_by_hash("hash-1") == key
        assert uow.keys.revoke("anna", key.id, NOW)
        assert not uow.keys.revoke("anna", key.id, NOW + 1)
        assert uow.keys.find_by_hash("hash-1") is None
    with database.read() as uow:
        assert [key.revoked_at for key in uow.keys.all("anna")] == [NOW]
        assert uow.keys.all("bert") == []


def test_a_revoked_key_still_counts_as_a_key_that_was_made(database: Database) -> None:
    with database.write() as uow:
        assert not uow.keys.any()
        uow.keys.add(key := a_key("anna", "hash-1"))
        uow.keys.revoke("anna", key.id, NOW)
        assert uow.keys.any()


def test_a_fact_can_be_set_by_many_at_once(database: Database) -> None:
    def say(number: int) -> None:
        with database.write() as uow:
            uow.key_values.set("check_seconds", str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(40)))
    with database.read() as uow:
        assert uow.key_values.get("check_seconds").isdigit()


def test_a_fact_is_remembered_until_it_is_set_anew(database: Database) -> None:
    with database.write() as uow:
        assert uow.key_values.get("default_model") == ""
        uow.key_values.set("default_model", "digits")
        uow.key_values.set("default_model", "resnet50")
    with database.read() as uow:
        assert uow.key_values.get("default_model") == "resnet50"


# the database itself


def test_a_database_that_is_away_is_named(tmp_path: Any) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/folder/inferq.db", "postgresql://127.0.0.1:9/none"):
        database = Database(url)
        with pytest.raises(Unavailable):
            database.ping()
        with pytest.raises(Unavailable), database.read() as uow:
            uow.key_values.get("x")
        database.close()


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    job = stored(database, a_job())
    with database.write() as writing:
        writing.jobs.end([job.id], Status.CANCELLED, NOW)
        assert stored_job(database, job).status is Status.QUEUED
    assert stored_job(database, job).status is Status.CANCELLED


def test_text_that_no_database_can_hold_is_refused(database: Database) -> None:
    for odd in ("nul \0 in it", "half a \ud800 surrogate"):
        if database.engine.dialect.name == "sqlite" and "\0" in odd:
            continue  # SQLite takes it
        with pytest.raises(BadRequest), database.read() as uow:
            uow.jobs.find("anna", odd)


def test_a_number_that_no_database_can_hold_is_refused(database: Database) -> None:
    with pytest.raises(BadRequest):
        stored(database, a_job(total=1, done=10**30))


# waiting, and what is on the disk


def test_a_writer_that_waits_too_long_for_another_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "LOCK_TIMEOUT", 0.2)
    second = Database(database.url)
    if isinstance(second._write_lock, SqliteWriteLock):
        second._write_lock = SqliteWriteLock(second._write_lock._path, patience=0.2)
    job = stored(database, a_job())
    with database.write() as first:
        first.jobs.start({job.id}, NOW)
        with pytest.raises(Unavailable, match="The database does not answer"), second.write() as uow:
            uow.jobs.start({job.id}, NOW)
    with second.write() as uow:
        uow.jobs.end([job.id], Status.CANCELLED, NOW)
    second.close()


only_postgres = pytest.mark.parametrize(
    "database", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def shown(database: Database, name: str) -> str:
    with database.engine.connect() as connection:
        return str(connection.exec_driver_sql(f"SHOW {name}").scalar())


@only_postgres
@pytest.mark.parametrize(
    ("durability", "usual", "expected"),
    [
        ("power", "off", "on"),
        ("power", "remote_apply", "remote_apply"),
        ("power", "on", "on"),
        ("process", "off", "off"),
    ],
)
def test_postgresql_waits_for_the_disk_where_a_power_cut_must_lose_nothing(
    database: Database, durability: str, usual: str, expected: str
) -> None:
    with database.engine.connect() as connection:
        name = connection.engine.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = {usual}")
        connection.commit()
    connected = Database(database.url, durability=durability)
    assert shown(connected, "synchronous_commit") == expected
    assert shown(connected, "lock_timeout") == "15s"
    connected.close()


@pytest.mark.parametrize(("durability", "expected"), [("power", 2), ("process", 1)])
def test_sqlite_waits_for_the_disk_where_a_power_cut_must_lose_nothing(
    tmp_path: Any, durability: str, expected: int
) -> None:
    database = Database(f"sqlite:///{tmp_path}/inferq.db", durability=durability)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == expected


def test_a_disk_of_the_database_that_is_full_is_named_and_what_was_stored_stays(
    tmp_path: Path, empty_file: Path
) -> None:
    shutil.copy(empty_file, tmp_path / "inferq.db")
    database = Database(f"sqlite:///{tmp_path}/inferq.db")
    kept = stored(database, a_job())

    @sa.event.listens_for(database.engine, "checkout")
    def limit(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # no more than there are: SQLite then says what a full disk does

    for _ in range(2):
        with pytest.raises(StorageFull, match="disk of the database is full"):  # noqa: PT012 - one of many is too many
            for _ in range(1000):
                stored(database, a_job())
        with database.read() as uow:
            assert uow.jobs.find(kept.tenant, kept.id)
    sa.event.remove(database.engine, "checkout", limit)
    database.engine.dispose()
    stored(database, a_job())
    database.close()


def test_of_the_connections_to_sqlite_the_one_that_was_used_last_is_used_next(tmp_path: Path, empty_file: Path) -> None:
    shutil.copy(empty_file, tmp_path / "inferq.db")
    database = Database(f"sqlite:///{tmp_path}/inferq.db")
    with database.engine.connect(), database.engine.connect(), database.engine.connect():
        assert database.engine.pool.status().count("Current Checked out connections: 3") == 1
    used = set()
    for _ in range(4):
        with database.engine.connect() as connection:
            used.add(id(connection.connection.dbapi_connection))
    assert len(used) == 1  # the pages that the others have read are in no memory twice
    database.close()


def test_maintenance_keeps_little_of_an_sqlite_file_in_memory(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/inferq.db", storage_url=f"file://{tmp_path}/blobs")
    kept = {}
    for is_maintenance in (True, False):
        database = create_app(settings, is_maintenance=is_maintenance).process.container.database
        with database.engine.connect() as connection:
            kept[is_maintenance] = -connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    assert kept == {True: unit_of_work.SMALL_CACHE_KIB, False: unit_of_work.CACHE_KIB}
