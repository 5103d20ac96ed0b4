"""Dead letters on SQLite and PostgreSQL: listed by reason from an index, and taken back into the queue of their job."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import uuid6

from shared.adapters.database.unit_of_work import Database
from shared.domain.dead_letters import Wanted, cursor
from shared.domain.jobs import AnswerOptions, Item, Job, Outcome, Status
from shared.domain.webhooks import Attempt, Reply
from tests.query_plans import plan, reads_more_than_it_shows

NOW = 1_700_000_000.0


def a_job(number: int, *reasons: str, ended: Status | None = None, **about: Any) -> tuple[Job, list[Outcome]]:
    """Return a job with a picture for each reason, and its outcomes; an empty reason is an answer."""
    fields: dict[str, Any] = {"tenant": "anna", "model": "m"} | about
    job = Job(id=str(uuid6.uuid7()), wire="native", version="1", version_id="v1", options=AnswerOptions(),
              priority="normal", created_at=NOW + number, total=len(reasons),
              status=ended or Status.QUEUED, **fields)  # fmt: skip
    outcomes = [
        Outcome(job.id, position, error_code=reason, error=f"It is {reason}.")
        if reason
        else Outcome(job.id, position, [["cat", 0.9]])
        for position, reason in enumerate(reasons)
    ]
    return job, outcomes


def stored(database: Database, *given: tuple[Job, list[Outcome]], now: float = NOW + 100) -> list[Job]:
    """Store jobs; those without a status of their own end with their outcomes."""
    with database.write() as uow:
        uow.jobs.add([(job, [Item(job.id, n, f"{n}.png", "blob", n, 1) for n in range(job.total)]) for job, _ in given])
        uow.jobs.record([outcome for job, outcomes in given for outcome in outcomes], now)
    return [again(database, job) for job, _ in given]


def again(database: Database, job: Job) -> Job:
    with database.read() as uow:
        return uow.jobs.get(job.tenant, job.id)


def listed(database: Database, tenant: str = "anna", after: str = "", limit: int = 99, **wanted: Any) -> list[str]:
    """Return each dead letter as its job's number, its position and its reason."""
    with database.read() as uow:
        page = uow.dead_letters.page(tenant, Wanted(**wanted), after=after, limit=limit)
    return [f"{letter.created_at - NOW:.0f}.{letter.position} {letter.reason}" for letter in page]


def test_the_failed_pictures_of_ended_jobs_are_listed_and_no_others(database: Database) -> None:
    stored(
        database,
        a_job(1, "", "poison", "gone"),
        a_job(2, "", ""),
        a_job(3, "poison"),
        a_job(4, "poison", "poison", ended=Status.CANCELLED),
        a_job(5, "expired", "", ended=Status.EXPIRED),
        a_job(6, "poison", tenant="bert"),
    )
    still_running, outcomes = a_job(7, "poison", "")
    stored(database, (still_running, outcomes[:1]))
    assert again(database, still_running).status is Status.RUNNING

    assert listed(database) == ["5.0 expired", "5.1 expired", "3.0 poison", "1.1 poison", "1.2 gone"]
    assert listed(database, "bert") == ["6.0 poison"]


def test_a_dead_letter_says_what_failed_and_why(database: Database) -> None:
    (job,) = stored(database, a_job(1, "", "poison", model="birds"))
    with database.read() as uow:
        (letter,) = uow.dead_letters.page("anna", Wanted())
    assert (letter.job_id, letter.position, letter.name) == (job.id, 1, "1.png")
    assert (letter.reason, letter.error, letter.model, letter.version) == ("poison", "It is poison.", "birds", "1")


def test_dead_letters_are_narrowed_by_reason_model_and_time(database: Database) -> None:
    stored(
        database,
        a_job(1, "poison", "gone"),
        a_job(2, "poison", model="other"),
        a_job(3, "gone"),
        a_job(4, "", ended=Status.EXPIRED),
        a_job(5, "expired", ""),
    )
    assert listed(database, reason="poison") == ["2.0 poison", "1.0 poison"]
    assert listed(database, reason="expired") == ["5.0 expired", "4.0 expired"]
    assert listed(database, model="other") == ["2.0 poison"]
    assert listed(database, reason="gone", since=NOW + 2) == ["3.0 gone"]
    assert listed(database, since=NOW + 2, until=NOW + 4) == ["3.0 gone", "2.0 poison"]
    assert listed(database, reason="never") == []


def test_pages_of_dead_letters_leave_none_out_and_show_none_twice(database: Database) -> None:
    jobs = stored(
        database, *(a_job(0, "gone", "", "gone", "gone") for _ in range(3)), a_job(0, "", "", ended=Status.EXPIRED)
    )
    seen: list[str] = []
    with database.read() as uow:
        while page := uow.dead_letters.page("anna", Wanted(), after=seen[-1] if seen else "", limit=2):
            assert len(page) <= 2
            seen += [letter.id for letter in page]
    newest_first = [cursor(job.id, position) for job in reversed(jobs[:3]) for position in (0, 2, 3)]
    assert seen == [cursor(jobs[3].id, 0), cursor(jobs[3].id, 1), *newest_first]
    with database.read() as uow:
        rest = uow.dead_letters.page("anna", Wanted(), after=cursor(jobs[1].id), limit=9)
    assert {letter.job_id for letter in rest} == {jobs[0].id}


FILTERS: dict[str, Any] = {"reason": "poison", "model": "m", "since": NOW, "until": NOW + 50}


@pytest.mark.parametrize("after", [False, True], ids=["first", "next"])
@pytest.mark.parametrize(
    "names",
    [names for count in range(5) for names in itertools.combinations(FILTERS, count)],
    ids="-".join,
)
def test_dead_letters_are_found_in_the_indexes_of_what_has_failed(
    database: Database, names: tuple[str, ...], after: bool
) -> None:
    job, *_ = stored(database, a_job(20, "poison", ""))
    wanted = Wanted(**{name: FILTERS[name] for name in names})
    lines = plan(database, lambda uow: uow.dead_letters.page("anna", wanted, after=job.id + "_0" if after else ""))

    text = "\n".join(lines)
    assert "ix_jobs_failed" in text, text
    assert "ix_items_failed" in text, text
    assert ("ix_jobs_tenant_status" in text or "ix_jobs_tenant_model" in text) == ("reason" not in names), text
    assert not any(reads_more_than_it_shows(line) for line in lines if not line.startswith("Filter:")), text


def test_reopening_takes_back_the_failed_pictures_and_keeps_the_answers(database: Database) -> None:
    (job,) = stored(database, a_job(1, "", "poison", "gone", deadline=NOW + 50))
    with database.write() as uow:
        reopened, items = uow.dead_letters.reopen(job, "")

    assert [item.position for item in items] == [1, 2]
    assert reopened == again(database, job)
    assert (reopened.status, reopened.done, reopened.failed, reopened.retries) == (Status.QUEUED, 1, 0, 1)
    assert (reopened.started_at, reopened.finished_at, reopened.deadline) == (None, None, None)
    assert statuses(database, job) == ["DONE", "QUEUED", "QUEUED"]
    assert listed(database) == []


def statuses(database: Database, job: Job) -> list[str]:
    with database.read() as uow:
        return [item.status for item in uow.jobs.items(job.id)]


def test_reopening_for_a_reason_leaves_the_other_failures(database: Database) -> None:
    (job,) = stored(database, a_job(1, "poison", "gone"))
    with database.write() as uow:
        reopened, items = uow.dead_letters.reopen(job, "gone")
    assert [item.position for item in items] == [1]
    assert (reopened.failed, reopened.left) == (1, 1)
    assert statuses(database, job) == ["FAILED", "QUEUED"]


def test_an_expired_job_is_reopened_with_all_that_never_ran(database: Database) -> None:
    (job,) = stored(database, a_job(1, "", "", ended=Status.EXPIRED, deadline=NOW))
    with database.write() as uow:
        reopened, items = uow.dead_letters.reopen(job, "expired")
    assert (len(items), reopened.status, reopened.left) == (2, Status.QUEUED, 2)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.CANCELLED])
def test_a_job_that_is_not_to_be_retried_is_not_reopened(database: Database, status: Status) -> None:
    given, _ = a_job(1, "poison", ended=status)
    (job,) = stored(database, (given, []))
    with database.write() as uow:
        assert uow.dead_letters.reopen(job, "") == (job, [])
    assert again(database, job) == job


def test_a_job_is_reopened_once_by_two_that_have_both_seen_it_ended(database: Database) -> None:
    (job,) = stored(database, a_job(1, "poison"))
    found = []
    for _ in range(2):
        with database.write() as uow:
            found.append(len(uow.dead_letters.reopen(job, "")[1]))
    assert found == [1, 0]
    assert again(database, job).retries == 1


def test_a_retried_job_calls_back_again_and_a_slow_receiver_of_the_first_end_does_not_hide_it(
    database: Database,
) -> None:
    (job,) = stored(database, a_job(1, "poison", webhook="https://example.org/hook"))
    with database.write() as uow:
        (first,) = uow.webhook_deliveries.due(NOW + 100)
        assert uow.webhook_deliveries.take(first, NOW + 160)
        uow.dead_letters.reopen(job, "")
        uow.jobs.record([Outcome(job.id, 0, [["cat", 0.9]])], NOW + 101)
        sent = replace(first, attempts=1, due_at=NOW + 160)
        assert not uow.webhook_deliveries.record(sent, Attempt("0" * 64, 0.1, Reply(200, "")), NOW + 102, due_at=None)
        (second,) = uow.webhook_deliveries.due(NOW + 103)
    assert (first.message_id, second.message_id) == (job.id, f"{job.id}-1")
    assert second == replace(first, retries=1, due_at=NOW + 101)


def test_an_old_callback_is_not_sent_after_a_retry(database: Database) -> None:
    (job,) = stored(database, a_job(1, "poison", webhook="https://example.org/hook"))
    with database.write() as uow:
        (due,) = uow.webhook_deliveries.due(NOW + 100)
        uow.dead_letters.reopen(job, "")
        assert not uow.webhook_deliveries.take(due, NOW + 160)
        assert uow.webhook_deliveries.due(NOW + 1e6) == []
