"""Retries run the pictures without an answer again; a replay retries all jobs that have some; an erased job is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared import errors
from shared.adapters import pauses
from shared.adapters.database.tenant_limits import TenantLimits as Limits
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain.dead_letters import Wanted, cursor
from shared.domain.jobs import ImageReference, Job, Outcome, Status, Submission
from shared.domain.models import ALL_TENANTS
from shared.services import dead_letters, job_retries, jobs, maintenance
from tests.dataset_fixtures import picture

EVERYTHING = Wanted()


def submitted(container: Container, count: int = 3, **about: Any) -> Job:
    job, _ = pauses.run(
        jobs.submit(container, "anna", Submission([picture(n) for n in range(count)], "digits", **about))
    )
    return job


def run(container: Container, version_id: str, **failing: str) -> list[tuple[str, int]]:
    """Run all that waits, as a worker does; `p1="poison"` lets the pictures at position 1 fail. Return what ran."""
    entries = container.queue.streams.claim(version_id, "worker", 100)
    begun = jobs.begin(container, entries)
    outcomes = []
    for entry in begun:
        code = failing.get(f"p{entry.position}", "")
        result = None if code else [["one", 0.9]]
        error = f"It is {code}." if code else ""
        outcomes.append(Outcome(entry.job_id, entry.position, result, code, error, entry.retries))
    jobs.finish(container, outcomes, entries)
    return [(entry.job_id, entry.position) for entry in begun]


def ended(container: Container, count: int = 3, about: dict[str, Any] | None = None, **failing: str) -> Job:
    job = submitted(container, count, **about or {})
    run(container, job.version_id, **failing)
    return again(container, job)


def again(container: Container, job: Job) -> Job:
    return jobs.get(container, job.tenant, job.id)


def at(container: Container, now: float) -> Container:
    return replace(container, now=lambda: now)


# -- one job


def test_a_retry_runs_the_failed_pictures_only_and_the_job_ends_again(container: Container) -> None:
    job = ended(container, p1="poison", p2="gone")
    assert (job.status, job.done, job.failed) == (Status.DONE, 1, 2)

    queued = job_retries.retry(container, "anna", job.id)

    assert queued == again(container, job)
    assert (queued.status, queued.done, queued.failed, queued.retries) == (Status.QUEUED, 1, 0, 1)
    assert run(container, job.version_id) == [(job.id, 1), (job.id, 2)]
    last = again(container, job)
    assert (last.status, last.done, last.failed, last.error_code) == (Status.DONE, 3, 0, "")
    assert all(item.result == [["one", 0.9]] for item in jobs.list_items(container, job))


def test_a_picture_that_fails_again_can_be_retried_again(container: Container) -> None:
    job = ended(container, 1, p0="poison")
    assert job.status is Status.FAILED
    for number in (1, 2):
        assert job_retries.retry(container, "anna", job.id).retries == number
        run(container, job.version_id, p0="poison")
        assert (again(container, job).status, again(container, job).error_code) == ("FAILED", "no_picture_succeeded")


def test_the_entries_of_a_retry_are_those_of_the_submission(container: Container) -> None:
    job = submitted(container, 2)
    before = container.queue.streams.claim(job.version_id, "worker", 9)
    jobs.begin(container, before)
    jobs.finish(container, [Outcome(job.id, n, error_code="poison", error="It is.") for n in range(2)], before)

    job_retries.retry(container, "anna", job.id)

    after = container.queue.streams.claim(job.version_id, "worker", 9)
    assert [entry.retries for entry in after] == [1, 1]
    assert [replace(entry, id="", retries=0) for entry in after] == [replace(entry, id="") for entry in before]


def test_a_job_that_has_expired_is_retried_whole_and_without_its_deadline(container: Container) -> None:
    job = submitted(container, 2, deadline=time.time() + 50)
    maintenance.expire_late(at(container, time.time() + 60))
    assert again(container, job).status is Status.EXPIRED

    queued = job_retries.retry(container, "anna", job.id)

    assert (queued.status, queued.deadline) == (Status.QUEUED, None)
    later = at(container, time.time() + 1000)
    maintenance.expire_late(later)
    assert set(run(later, job.version_id)) == {(job.id, 0), (job.id, 1)}
    assert again(container, job).status is Status.DONE


def still_queued(container: Container) -> Job:
    return submitted(container)


def cancelled(container: Container) -> Job:
    return jobs.cancel(container, "anna", submitted(container).id)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (still_queued, "is QUEUED; it can be retried when it has ended"),
        (cancelled, "was CANCELLED and is not retried"),
        (ended, "No picture of job .* has failed"),
    ],
)
def test_a_job_without_anything_to_retry_is_refused_and_stays(
    container: Container, make: Callable[[Container], Job], says: str
) -> None:
    job = make(container)
    with pytest.raises(errors.Conflict, match=says):
        job_retries.retry(container, "anna", job.id)
    assert again(container, job) == job


def test_another_tenants_job_is_not_found(container: Container) -> None:
    job = ended(container, p1="poison")
    for use in (job_retries.retry, jobs.erase):
        with pytest.raises(errors.NotFound, match=rf"^There is no job {job.id}\.$"):
            use(container, "bert", job.id)
    assert again(container, job) == job


@pytest.mark.parametrize("count", [1, 3], ids=["kept with its item", "in a blob"])
def test_a_retry_without_any_picture_left_is_refused_with_what_to_do(container: Container, count: int) -> None:
    job = ended(container, count, p0="poison")
    if job.blob:
        container.storage.delete(job.blob)
    else:
        forget_pictures(container)
    with pytest.raises(errors.Conflict, match="are not kept any more; send them as a new job"):
        job_retries.retry(container, "anna", job.id)
    assert again(container, job) == job


def forget_pictures(container: Container) -> None:
    with container.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE items SET picture = NULL")


def test_of_stored_images_one_that_is_left_is_enough_for_a_retry(container: Container) -> None:
    container.storage.write("images/kept", b"picture")
    images = [ImageReference(name, name, f"images/{name}", 7) for name in ("removed", "kept")]
    job, _ = pauses.run(jobs.submit(container, "anna", Submission(images, "digits")))
    run(container, job.version_id, p0="gone", p1="gone")
    assert job_retries.retry(container, "anna", job.id).left == 2


def test_a_retry_of_a_version_that_was_removed_is_refused(container: Container) -> None:
    job = ended(container, p0="poison")
    with container.database.write() as uow:
        uow.model_versions.delete([version.id for version in uow.model_versions.named(ALL_TENANTS, "digits")])
    with pytest.raises(errors.Conflict, match=r"Version 1 of the model 'digits', on which job .* was removed"):
        job_retries.retry(container, "anna", job.id)
    assert again(container, job) == job


def test_a_retry_past_the_limit_of_the_queue_is_refused(container: Container) -> None:
    job = ended(container, p0="poison", p1="poison")
    submitted(container, 1)
    for most, refusal in ((2, errors.TooManyRequests), (1, errors.TooManyFiles)):
        tight = replace(container, settings=container.settings.changed(max_queued=most))
        with pytest.raises(refusal):
            job_retries.retry(tight, "anna", job.id)
    assert again(container, job) == job


def test_a_retry_that_the_queue_does_not_take_is_pushed_by_maintenance(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(container, p0="poison")

    def away(_: object) -> None:
        raise errors.Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(container.queue.streams, "push", away)
        assert job_retries.retry(container, "anna", job.id).status is Status.QUEUED
    missing = maintenance.reconcile(at(container, time.time() + 10))
    maintenance.reconcile(at(container, time.time() + 10), missing)
    assert run(container, job.version_id) == [(job.id, 0)]


def test_an_outcome_of_the_first_run_that_comes_late_ends_the_retried_job_once(container: Container) -> None:
    job = ended(container, 1, p0="poison")
    job_retries.retry(container, "anna", job.id)
    jobs.finish(container, [Outcome(job.id, 0, [["late", 0.9]])])
    assert again(container, job).status is Status.DONE
    run(container, job.version_id)
    assert (again(container, job).done, jobs.list_items(container, job)[0].result) == (1, [["late", 0.9]])
    assert container.queue.streams.count_unfinished(job.version_id, "anna") == 0


def test_a_failure_of_the_first_run_that_comes_late_leaves_the_retried_job_to_run(container: Container) -> None:
    job = submitted(container, 2)
    first = container.queue.streams.claim(job.version_id, "worker", 9)
    late = [Outcome(e.job_id, e.position, None, "poison", "It is poison.", e.retries) for e in first]
    jobs.record(container, late, first)  # and the worker is killed before it concludes them
    queued = job_retries.retry(container, "anna", job.id)

    jobs.finish(container, late, first)

    assert again(container, job) == queued
    assert run(container, job.version_id) == [(job.id, 0), (job.id, 1)]
    assert (again(container, job).status, again(container, job).done) == (Status.DONE, 2)


def test_of_a_batch_only_the_late_failures_are_dropped(container: Container) -> None:
    retried, other = ended(container, 1, p0="poison"), submitted(container, 1)
    queued = job_retries.retry(container, "anna", retried.id)
    failure = Outcome(retried.id, 0, None, "poison", "It is poison.")
    jobs.finish(container, [failure, replace(failure, job_id=other.id)])
    assert again(container, retried) == queued
    assert again(container, other).status is Status.FAILED


@pytest.fixture
def stored(database: Database, container: Container) -> Container:
    """The container on each kind of database; its own is the one on SQLite."""
    with container.database.read() as uow:
        versions = uow.model_versions.named(ALL_TENANTS, "digits")
    with database.write() as uow:
        if not uow.model_versions.named(ALL_TENANTS, "digits"):
            for version in versions:
                uow.model_versions.add(version)
    return replace(container, database=database)


def test_a_job_that_is_retried_while_old_jobs_are_dropped_runs_with_its_pictures(
    stored: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    retried, old = (ended(stored, 2, p0="poison", p1="poison") for _ in range(2))
    later = at(stored, time.time() + stored.settings.keep_jobs + 100)
    find = Limits.jobs_kept_too_long

    def find_and_retry(self: Limits, *about: Any, lock: bool = False) -> list[tuple[str, str]]:
        found = find(self, *about, lock=lock)
        if not lock:
            job_retries.retry(stored, "anna", retried.id)
        return found

    monkeypatch.setattr(Limits, "jobs_kept_too_long", find_and_retry)
    maintenance.drop_old_jobs(later)

    assert again(stored, retried).status is Status.QUEUED
    assert [key for key, _ in stored.storage.tree("jobs")] == [retried.blob]
    assert run(stored, retried.version_id) == [(retried.id, 0), (retried.id, 1)]
    with pytest.raises(errors.NotFound):
        again(stored, old)


def test_an_old_job_whose_pictures_cannot_be_removed_is_found_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(container, 2)
    later = at(container, time.time() + container.settings.keep_jobs + 100)

    def away(key: str) -> None:
        raise errors.Unavailable()

    with monkeypatch.context() as patch:
        patch.setattr(container.storage, "delete", away)
        with pytest.raises(errors.Unavailable):
            maintenance.drop_old_jobs(later)
    assert again(container, job).status is Status.DONE

    maintenance.drop_old_jobs(later)
    assert list(container.storage.tree("jobs")) == []


@pytest.mark.parametrize("database", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_an_old_job_that_another_transaction_moves_is_left_to_the_next_run(stored: Container) -> None:
    job = ended(stored, 1)
    later = at(stored, time.time() + stored.settings.keep_jobs + 100)
    with stored.database.write() as uow:
        uow.jobs.get("anna", job.id, lock=True)
        maintenance.drop_old_jobs(later)
    assert again(stored, job).status is Status.DONE
    maintenance.drop_old_jobs(later)
    with pytest.raises(errors.NotFound):
        again(stored, job)


# -- many jobs


def test_a_replay_retries_all_jobs_with_dead_letters(container: Container) -> None:
    some, none, other = ended(container, p1="poison"), ended(container), ended(container, 1, p0="gone")
    assert [letter.job_id for letter in listed(container)] == [other.id, some.id]

    done = dead_letters.replay(container, "anna", EVERYTHING)

    assert (done.jobs, done.pictures, done.skipped, done.left_after) == (2, 2, 0, "")
    assert set(run(container, some.version_id)) == {(some.id, 1), (other.id, 0)}
    assert (again(container, some).done, again(container, none).retries) == (3, 0)
    assert listed(container) == []


def listed(container: Container, wanted: Wanted = EVERYTHING) -> list[Any]:
    return list(dead_letters.list_page(container, "anna", wanted, after="", limit=50))


def test_a_replay_by_reason_leaves_the_other_failures(container: Container) -> None:
    job = ended(container, p0="poison", p1="gone")
    done = dead_letters.replay(container, "anna", Wanted(reason="gone"))
    assert (done.jobs, done.pictures) == (1, 1)
    assert run(container, job.version_id) == [(job.id, 1)]
    assert [letter.reason for letter in listed(container)] == ["poison"]
    assert (again(container, job).done, again(container, job).failed) == (2, 1)


def test_a_replay_skips_jobs_that_cannot_run_again_and_runs_the_others(container: Container) -> None:
    lost, kept = ended(container, p0="poison", p1="poison"), ended(container, p0="poison")
    container.storage.delete(lost.blob)
    done = dead_letters.replay(container, "anna", EVERYTHING)
    assert (done.jobs, done.skipped, done.left_after) == (1, 1, "")
    assert run(container, kept.version_id) == [(kept.id, 0)]


def test_a_replay_in_small_pages_skips_each_job_once(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE", 1)
    lost = [ended(container, p0="poison", p1="poison") for _ in range(3)]
    for job in lost:
        container.storage.delete(job.blob)
    assert dead_letters.replay(container, "anna", EVERYTHING).skipped == 3


def test_a_replay_stops_where_the_queue_is_full_and_continues_there(container: Container) -> None:
    jobs_ = [ended(container, 2, p0="poison", p1="poison") for _ in range(3)]
    tight = replace(container, settings=container.settings.changed(max_queued=4))

    done = dead_letters.replay(tight, "anna", EVERYTHING)

    assert (done.jobs, done.pictures, done.left_after) == (2, 4, cursor(jobs_[1].id))
    with pytest.raises(errors.TooManyRequests):
        dead_letters.replay(tight, "anna", EVERYTHING, after=done.left_after)
    run(container, jobs_[0].version_id)
    rest = dead_letters.replay(tight, "anna", EVERYTHING, after=done.left_after)
    assert (rest.jobs, rest.left_after) == (1, "")


def test_a_replay_passes_over_a_job_that_never_fits_into_the_queue(container: Container) -> None:
    fits, _ = ended(container, p0="poison"), ended(container, p0="poison", p1="poison")
    tight = replace(container, settings=container.settings.changed(max_queued=1))
    done = dead_letters.replay(tight, "anna", EVERYTHING)
    assert (done.jobs, done.skipped, done.left_after) == (1, 1, "")
    assert again(container, fits).status is Status.QUEUED


def test_a_replay_that_takes_too_long_says_where_to_continue(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = ended(container, p0="poison"), ended(container, p0="poison")
    monkeypatch.setattr(dead_letters, "BUDGET", -1.0)
    done = dead_letters.replay(container, "anna", EVERYTHING)
    assert (done.jobs, done.left_after) == (1, cursor(newer.id))
    assert again(container, older).status is Status.DONE
    monkeypatch.undo()
    rest = dead_letters.replay(container, "anna", EVERYTHING, after=done.left_after)
    assert (rest.jobs, rest.left_after) == (1, "")
    assert again(container, older).status is Status.QUEUED


@pytest.mark.parametrize("cursor", ["x", "x_", "_1", "x_-1", "x_99999999999", "x_y"])
def test_what_is_no_place_in_the_list_is_refused(container: Container, cursor: str) -> None:
    for use in (
        lambda: dead_letters.replay(container, "anna", EVERYTHING, after=cursor),
        lambda: dead_letters.list_page(container, "anna", EVERYTHING, after=cursor, limit=5),
    ):
        with pytest.raises(errors.BadOption, match="cursor must be the `next`"):
            use()


# -- erasing


@pytest.mark.parametrize("count", [1, 3], ids=["kept with its item", "in a blob"])
def test_an_erased_job_is_gone_with_its_pictures_its_answers_and_its_callback(container: Container, count: int) -> None:
    about = {"webhook": "https://example.org/hook", "idempotency_key": "once"}
    job, other = ended(container, count, about), ended(container)
    assert due(container) == [job.id]

    jobs.erase(container, "anna", job.id)

    with pytest.raises(errors.NotFound):
        again(container, job)
    assert (jobs.list_items(container, job), due(container)) == ([], [])
    assert [key for key, _ in container.storage.tree("jobs")] == [other.blob]
    assert again(container, other) == other
    assert submitted(container, count, idempotency_key="once").id != job.id


def due(container: Container) -> list[str]:
    with container.database.read() as uow:
        return [delivery.job_id for delivery in uow.webhook_deliveries.due(time.time() + 1e6)]


def test_a_cancelled_job_can_be_erased_while_a_worker_runs_its_pictures(container: Container) -> None:
    job = submitted(container)
    entries = container.queue.streams.claim(job.version_id, "worker", 2)
    jobs.begin(container, entries)
    jobs.cancel(container, "anna", job.id)
    jobs.erase(container, "anna", job.id)
    jobs.finish(container, [Outcome(job.id, entry.position, [["one", 0.9]]) for entry in entries], entries)
    assert run(container, job.version_id) == []
    assert container.queue.streams.count_unfinished(job.version_id, "anna") == 0
    assert maintenance.count_missing(container) == frozenset()


def test_a_job_that_has_not_ended_is_not_erased(container: Container) -> None:
    job = submitted(container)
    with pytest.raises(errors.Conflict, match="is QUEUED; cancel it before it is erased"):
        jobs.erase(container, "anna", job.id)
    assert run(container, job.version_id) == [(job.id, position) for position in range(3)]


def test_a_job_whose_blob_cannot_be_removed_stays_to_be_erased_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(container)

    def away(_: str) -> None:
        raise errors.Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(container.storage, "delete", away)
        with pytest.raises(errors.Unavailable):
            jobs.erase(container, "anna", job.id)
    assert again(container, job) == job
    jobs.erase(container, "anna", job.id)


def test_erasing_a_job_leaves_the_stored_images_that_it_has_used(container: Container) -> None:
    container.storage.write("images/kept", b"picture")
    job, _ = pauses.run(
        jobs.submit(
            container, "anna", Submission([ImageReference("i", "a.png", "images/kept", 7), picture(1)], "digits")
        )
    )
    run(container, job.version_id)
    jobs.erase(container, "anna", job.id)
    assert container.storage.read("images/kept") == b"picture"
