"""Use-cases of jobs: submission, idempotency keys, the begin of pictures, and the end of a job."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from shared import errors
from shared.adapters.database import tables
from shared.adapters.database.jobs import Jobs
from shared.adapters.pauses import run
from shared.container import Container, UnitOfWork
from shared.domain import metrics as declared
from shared.domain.jobs import AnswerOptions, BatchRun, ImageReference, Job, JobChange, Outcome, Status, Submission
from shared.domain.models import ALL_TENANTS, ProblemType
from shared.domain.pictures import Picture
from shared.domain.stream_entry import StreamEntry
from shared.services import jobs, maintenance, metrics
from tests.dataset_fixtures import picture


def submitted(container: Container, count: int = 2, tenant: str = "anna", **about: Any) -> Job:
    job, new = run(jobs.submit(container, tenant, Submission([picture(n) for n in range(count)], "digits", **about)))
    assert new
    return job


def claimed(container: Container, job: Job, count: int = 10) -> list[StreamEntry]:
    return container.queue.streams.claim(job.version_id, "worker", count)


def ends(container: Container, outcome: str) -> float:
    """Return how many jobs were counted as ended so."""
    container.queue.counts.store()
    counted = metrics.read(container).of(declared.JOBS)
    return sum(numbers[0] for labels, numbers in counted.items() if labels[-1] == outcome)


def at(container: Container, now: float) -> Container:
    return replace(container, now=lambda: now)


def answered(job: Job, *positions: int) -> list[Outcome]:
    return [Outcome(job.id, position, [["one", 0.9]]) for position in positions]


def all_done(container: Container, job: Job) -> Job:
    jobs.begin(container, claimed(container, job))
    jobs.finish(container, answered(job, *range(job.total)))
    return jobs.get(container, job.tenant, job.id)


def limited(container: Container, most: int) -> Container:
    return replace(container, settings=container.settings.changed(max_queued=most))


def blobs(container: Container) -> list[str]:
    return [key for key, _ in container.storage.tree("jobs")]


@contextmanager
def away(part: Any, method: str) -> Iterator[None]:
    """Let this method of an adapter raise Unavailable."""

    def fail(*_: object, **__: object) -> None:
        raise errors.Unavailable("It is away.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, method, fail)
        yield


# -- submitting


def test_a_job_is_stored_as_it_was_asked_for(container: Container) -> None:
    options = AnswerOptions(task="features", top_k=3, function_to_apply="none", exif=False)
    fields: dict[str, Any] = {
        "options": options, "priority": "low", "deadline": 2000.0, "metadata": {"order": 7}, "wire": "einstein",
        "webhook": "https://example.org", "webhook_secret": "secret", "idempotency_key": "once",
    }  # fmt: skip

    job = submitted(at(container, 1000.0), **fields)

    assert {name: getattr(job, name) for name in fields} == fields
    assert (job.tenant, job.status, job.model, job.version, job.total) == ("anna", Status.QUEUED, "digits", "1", 2)
    assert (job.created_at, job.started_at, job.finished_at, job.done, job.failed) == (1000.0, None, None, 0, 0)
    assert jobs.get(container, "anna", job.id) == job


def test_the_pictures_lie_one_after_the_other_in_the_blob_of_the_job(container: Container) -> None:
    job = submitted(container, 3)
    items = jobs.list_items(container, job)
    assert blobs(container) == [job.blob]
    assert [(item.position, item.name) for item in items] == [(0, "0.png"), (1, "1.png"), (2, "2.png")]
    read = [container.storage.read(item.blob, item.offset, item.size) for item in items]
    assert read == [picture(number).data for number in range(3)]


def test_a_stored_image_is_referred_to_and_not_copied(container: Container) -> None:
    image = ImageReference("image_1", "duck.png", "images/1", 77)
    job, _ = run(jobs.submit(container, "anna", Submission([picture(0), image, picture(1)], "digits")))
    items = jobs.list_items(container, job)
    assert (items[1].blob, items[1].offset, items[1].size, items[1].name) == ("images/1", 0, 77, "duck.png")
    assert (items[2].position, items[2].offset) == (2, items[0].size)


def test_the_entries_say_all_that_a_worker_needs(container: Container) -> None:
    options = AnswerOptions(task="features", top_k=3, function_to_apply="sigmoid", exif=False)
    job = submitted(container, options=options, remember=True)
    for entry, item in zip(claimed(container, job), jobs.list_items(container, job), strict=True):
        assert (entry.job_id, entry.position, entry.blob, entry.offset, entry.size) == (
            job.id, item.position, item.blob, item.offset, item.size)  # fmt: skip
        of_the_entry = (entry.task, entry.top_k, entry.function_to_apply, entry.exif, entry.remember)
        assert of_the_entry == ("features", 3, "sigmoid", False, True)
        assert (entry.tenant, entry.attempts) == ("anna", 1)


def make_multi_label(container: Container) -> None:
    with container.database.write() as uow:
        (digits,) = uow.model_versions.named(ALL_TENANTS, "digits")
        uow.model_versions.save(replace(digits, problem_type=ProblemType.MULTI_LABEL, thresholds=(0.5,)))


def stored(container: Container, job: Job) -> dict[str, Any]:
    """Return the row of a job."""
    with container.database.engine.connect() as connection:
        return dict(connection.execute(sa.select(tables.jobs).where(tables.jobs.c.id == job.id)).one()._mapping)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("asked", ["", "softmax", "sigmoid", "none"])
def test_a_job_is_stored_and_queued_with_a_function_that_the_version_before_knows(
    container: Container, multi_label: bool, asked: str
) -> None:
    if multi_label:
        make_multi_label(container)
    job = submitted(container, 1, options=AnswerOptions(function_to_apply=asked))
    function, with_thresholds = asked or ("sigmoid" if multi_label else "softmax"), multi_label and not asked
    known_before = {"task": "classify", "top_k": 5, "function_to_apply": function, "exif": True}
    assert stored(container, job)["options"] == known_before
    assert jobs.get(container, "anna", job.id).with_thresholds is with_thresholds
    (entry,) = claimed(container, job)
    assert (entry.function_to_apply, entry.with_thresholds) == (function, with_thresholds)


def test_what_is_not_asked_for_is_not_remembered(container: Container) -> None:
    job = submitted(container)
    jobs.push(container, [jobs.Registration(job, jobs.list_items(container, job))])
    assert [entry.remember for entry in claimed(container, job)] == [False] * 4


@pytest.mark.parametrize("name", ["a\0b.png", "a\udc80b.png"])
def test_a_file_name_that_a_database_refuses_is_mended(container: Container, name: str) -> None:
    renamed = replace(picture(1), name=name)
    job, _ = run(jobs.submit(container, "anna", Submission([renamed], "digits")))
    assert jobs.list_items(container, job)[0].name == name.replace("\0", "").replace("\udc80", "?")


def test_a_job_without_a_picture_is_refused_and_leaves_nothing(container: Container) -> None:
    with pytest.raises(errors.NoInput):
        submitted(container, 0)
    assert blobs(container) == []


def test_a_picture_that_turns_out_bad_while_they_are_read_leaves_nothing(container: Container) -> None:
    def pictures() -> Iterator[Picture]:
        yield picture(1)
        raise errors.NotAPicture("That is none.")

    with pytest.raises(errors.NotAPicture):
        run(jobs.submit(container, "anna", Submission(pictures(), "digits")))
    assert blobs(container) == []


def test_a_version_that_was_removed_meanwhile_is_not_found_and_leaves_nothing(container: Container) -> None:
    def pictures() -> Iterator[Picture]:
        yield picture(1)
        with container.database.write() as uow:
            uow.model_versions.delete([version.id for version in uow.model_versions.named(ALL_TENANTS, "digits")])

    with pytest.raises(errors.NotFound, match="The model 'digits' has just been removed"):
        run(jobs.submit(container, "anna", Submission(pictures(), "digits")))
    assert blobs(container) == []


# -- the quota


def test_a_tenant_may_fill_its_quota_to_the_last_picture(container: Container) -> None:
    tight = limited(container, 3)
    submitted(tight, 2)
    submitted(tight, 1)


def test_a_job_of_more_pictures_than_the_quota_is_refused_for_good(container: Container) -> None:
    with pytest.raises(errors.TooManyFiles, match="more than the 3 of yours that may wait"):
        submitted(limited(container, 3), 4)
    assert blobs(container) == []


@pytest.mark.parametrize(("first", "more"), [(1, 3), (3, 1)])
def test_a_picture_past_the_quota_is_refused_with_a_time_to_come_back(
    container: Container, first: int, more: int
) -> None:
    tight = limited(container, 3)
    before = [submitted(tight, first).blob] if first > 1 else []
    if first == 1:
        submitted(tight, 1)  # kept with its item
    with pytest.raises(errors.TooManyRequests, match="would pass the limit of 3") as refused:
        submitted(tight, more)
    assert refused.value.retry_after == 5.0
    assert blobs(container) == before


def working(container: Container, version_id: str, *rates: float) -> None:
    """Let as many workers say that they run that many pictures of the version per second."""
    for number, rate in enumerate(rates):
        container.queue.workers.heartbeat(f"worker-{number}", {"rates": {version_id: rate}}, 60.0)


def test_whoever_would_wait_in_vain_is_refused_with_a_time_to_come_back(container: Container) -> None:
    job = submitted(container, 30)
    working(container, job.version_id, 4.0, 6.0)
    with pytest.raises(errors.Overloaded, match="may take 5 s, and this request waits for 2 s") as refused:
        run(jobs.submit(container, "anna", Submission([picture(0)], "digits"), patience=2.0))
    assert refused.value.retry_after == 2.5  # it allows for half as much time more than the 3 s that are expected
    assert [found.id for found in every_job(container)] == [job.id]
    run(jobs.submit(container, "anna", Submission([picture(0)], "digits"), patience=5.0))
    run(jobs.submit(container, "anna", Submission([picture(0)], "digits")))


def test_pictures_of_other_tenants_count_as_far_as_their_turn_comes_before(container: Container) -> None:
    others, _ = run(jobs.submit(container, "bert", Submission([picture(n % 10) for n in range(30)], "digits")))
    working(container, others.version_id, 10.0)
    run(jobs.submit(container, "anna", Submission([picture(0)], "digits"), patience=0.3))  # it runs after one of bert's
    submitted(container, 14)
    container.lookups.clear()
    with pytest.raises(errors.Overloaded, match="may take 5 s"):  # 15 of anna's, and 16 of bert's
        run(jobs.submit(container, "anna", Submission([picture(0)], "digits"), patience=2.0))


def test_pictures_that_run_count_whosesoever_they_are(container: Container) -> None:
    others, _ = run(jobs.submit(container, "bert", Submission([picture(n % 10) for n in range(30)], "digits")))
    working(container, others.version_id, 10.0)
    container.queue.streams.claim(others.version_id, "worker", 30)
    with pytest.raises(errors.Overloaded, match="may take 5 s"):
        run(jobs.submit(container, "anna", Submission([picture(0)], "digits"), patience=2.0))


def test_where_no_worker_has_said_how_fast_it_is_nobody_is_refused(container: Container) -> None:
    submitted(container, 30)
    run(jobs.submit(container, "anna", Submission([picture(0)], "digits"), patience=0.1))


def every_job(container: Container) -> list[Job]:
    return jobs.list_page(container, "anna", before="", limit=100, status="", model="", since=None, until=None)


def test_a_full_quota_is_noticed_before_a_picture_is_read(container: Container) -> None:
    tight = limited(container, 1)
    submitted(tight, 1)

    read: list[int] = []

    def pictures() -> Iterator[Picture]:
        read.append(1)
        yield picture(1)

    with pytest.raises(errors.TooManyRequests, match="1 pictures of yours wait for this model and 1 more"):
        run(jobs.submit(tight, "anna", Submission(pictures(), "digits")))
    assert read == []


def test_the_quota_is_each_tenants_own_and_frees_with_each_answer(container: Container) -> None:
    tight = limited(container, 2)
    job = submitted(tight, 2)
    submitted(tight, 2, "bert")
    mine = [entry for entry in claimed(container, job) if entry.tenant == "anna"]
    container.queue.conclude(mine[:1], [])
    submitted(tight, 1)


# -- the same request again


@pytest.mark.parametrize("asked", [AnswerOptions(), AnswerOptions(function_to_apply="softmax")])
def test_a_fingerprint_is_what_stacks_have_stored_since_the_first_version(
    container: Container, asked: AnswerOptions
) -> None:
    sent = picture(1)
    pictures = hashlib.sha256(f"{sent.name}\0{len(sent.data)}\0".encode() + sent.data).hexdigest()
    options = "Options(task='classify', top_k=5, function_to_apply='softmax', exif=True)"
    text = json.dumps([pictures, "digits", "1", options, "low", {"order": 7}], sort_keys=True)

    request = Submission([sent], "digits", "1", options=asked, priority="low", metadata={"order": 7})
    job, _ = run(jobs.submit(container, "anna", request))

    assert job.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_same_request_with_the_same_key_gets_the_same_job_and_no_second_blob(container: Container) -> None:
    job = submitted(container, idempotency_key="once")
    request = Submission([picture(0), picture(1)], "digits", idempotency_key="once")
    again, new = run(jobs.submit(container, "anna", request))
    assert (again.id, new) == (job.id, False)
    assert blobs(container) == [job.blob]
    assert len(claimed(container, job)) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"pictures": [picture(0)]},
        {"pictures": [picture(1), picture(0)]},
        {"pictures": [picture(0), replace(picture(1), name="x.png")]},
        {"options": AnswerOptions(top_k=4)},
        {"options": AnswerOptions(exif=False)},
        {"options": AnswerOptions(function_to_apply="sigmoid")},
        {"priority": "high"},
        {"metadata": {"order": 8}},
        {"version": "1"},
    ],
)
def test_another_request_with_the_same_key_is_a_conflict(container: Container, other: dict[str, Any]) -> None:
    job = submitted(container, idempotency_key="once")
    request = Submission(**{"pictures": [picture(0), picture(1)], "model": "digits", "idempotency_key": "once"} | other)
    with pytest.raises(errors.Conflict, match=f"'once' was used for another request \\(job {job.id}\\)"):
        run(jobs.submit(container, "anna", request))
    assert blobs(container) == [job.blob]


def test_a_request_is_the_same_whichever_function_its_version_has(container: Container) -> None:
    job = submitted(container, idempotency_key="once")
    make_multi_label(container)
    request = Submission([picture(0), picture(1)], "digits", idempotency_key="once")
    assert run(jobs.submit(container, "anna", request)) == (job, False)


def test_two_references_to_different_images_are_different_requests(container: Container) -> None:
    first, other = (ImageReference(f"image_{number}", "duck.png", "images/1", 77) for number in (1, 2))
    run(jobs.submit(container, "anna", Submission([first], "digits", idempotency_key="once")))
    with pytest.raises(errors.Conflict):
        run(jobs.submit(container, "anna", Submission([other], "digits", idempotency_key="once")))


def test_a_key_is_its_tenants_own_and_no_key_is_none(container: Container) -> None:
    job_ids = [submitted(container, tenant=tenant, idempotency_key="once").id for tenant in ("anna", "bert")]
    job_ids += [submitted(container).id, submitted(container).id]
    assert len(set(job_ids)) == 4


# -- outages


def test_a_queue_that_is_away_refuses_a_job_before_it_is_stored(container: Container) -> None:
    with away(container.queue.streams, "count_unfinished"), pytest.raises(errors.Unavailable):
        submitted(container)
    assert blobs(container) == []


def test_a_job_is_accepted_when_the_queue_goes_away_after_the_commit(container: Container) -> None:
    with away(container.queue.streams, "push"):
        job = submitted(container)
    assert jobs.get(container, "anna", job.id).status is Status.QUEUED


def test_the_pictures_stay_when_it_is_not_known_whether_the_commit_succeeded(container: Container) -> None:
    with away(container.database, "write"), pytest.raises(errors.Unavailable):
        submitted(container)
    assert len(blobs(container)) == 1


@contextmanager
def commit_failing(container: Container, error: Exception, *, after: bool) -> Iterator[None]:
    """Let every commit fail with the error: before it has happened, or `after`."""
    write = container.database.write

    @contextmanager
    def failing() -> Iterator[UnitOfWork]:
        with write() as uow:
            yield uow
            if not after:
                raise error
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container.database, "write", failing)
        yield


def test_a_caller_whose_commit_has_no_reply_is_told_the_job_that_may_exist(container: Container) -> None:
    gone = commit_failing(container, errors.Unavailable("It went away."), after=True)
    with gone, pytest.raises(errors.Unavailable) as refused:
        submitted(container, 1)
    assert refused.value.job_id in refused.value.message
    assert jobs.get(container, "anna", refused.value.job_id).status is Status.QUEUED


def test_a_database_that_answers_that_its_disk_is_full_has_stored_no_job(container: Container) -> None:
    full = commit_failing(container, errors.StorageFull("It is full."), after=False)
    with full, pytest.raises(errors.StorageFull) as refused:
        submitted(container, 1)
    assert not refused.value.job_id, "a caller who asks for it would only be told that there is no such job"
    assert blobs(container) == []


# -- beginning and finishing


def test_beginning_makes_a_job_running_and_all_its_entries_runnable(container: Container) -> None:
    job = submitted(container)
    entries = claimed(container, job)
    assert jobs.begin(at(container, 50.0), entries) == entries
    begun = jobs.get(container, "anna", job.id)
    assert (begun.status, begun.started_at) == (Status.RUNNING, 50.0)


def test_entries_of_cancelled_jobs_are_skipped_and_others_run(container: Container) -> None:
    cancelled, job = submitted(container, 1), submitted(container, 1)
    jobs.cancel(container, "anna", cancelled.id)
    later = at(container, time.time() + 10)
    assert [entry.job_id for entry in jobs.begin(later, claimed(container, job))] == [job.id]


def test_a_picture_that_was_sent_just_now_runs_unseen_and_a_cancelled_job_drops_its_outcome(
    container: Container,
) -> None:
    job = submitted(container, 1)
    jobs.cancel(container, "anna", job.id)
    (entry,) = claimed(container, job)
    assert jobs.begin(container, [entry]) == [entry]
    jobs.finish(container, answered(job, 0), [entry])
    again = jobs.get(container, "anna", job.id)
    assert (again.status, again.done) == (Status.CANCELLED, 0)
    assert container.queue.streams.count_unfinished(job.version_id, "anna") == 0


def test_a_deadline_that_passes_while_a_picture_runs_does_not_take_its_answer(container: Container) -> None:
    job = submitted(container, 1, deadline=100.0)
    runnable = jobs.begin(at(container, 99.0), claimed(container, job))
    maintenance.expire_late(at(container, 101.0))
    jobs.finish(at(container, 102.0), answered(job, 0), runnable)
    assert jobs.get(container, "anna", job.id).status is Status.DONE


@pytest.mark.parametrize("total", [1, 2])
def test_a_job_with_a_deadline_or_with_several_pictures_is_looked_at(container: Container, total: int) -> None:
    job = submitted(container, total, deadline=time.time() + 100 if total == 1 else None)
    entries = claimed(container, job)
    jobs.cancel(container, "anna", job.id)
    assert jobs.begin(container, entries) == []


def test_an_entry_that_comes_again_is_skipped_where_its_outcome_is_recorded(container: Container) -> None:
    job = submitted(container)
    entries = claimed(container, job)
    jobs.begin(container, entries)
    jobs.finish(container, answered(job, 0))
    again = [replace(entry, attempts=2) for entry in entries]
    assert jobs.begin(container, again) == [again[1]]


def test_a_job_past_its_deadline_expires_before_its_first_picture(container: Container) -> None:
    job = submitted(container, deadline=100.0)
    assert jobs.begin(at(container, 101.0), claimed(container, job)) == []
    assert jobs.get(container, "anna", job.id).status is Status.EXPIRED


def test_a_deadline_in_the_middle_of_a_job_fails_the_pictures_that_are_left(container: Container) -> None:
    job, other = submitted(container, deadline=100.0), submitted(container, 1)
    entries = claimed(container, job)
    jobs.begin(at(container, 99.0), entries[:1])
    jobs.finish(container, answered(job, 0))

    runnable = jobs.begin(at(container, 101.0), entries[1:])

    assert [entry.job_id for entry in runnable] == [other.id]
    late = jobs.list_items(container, job)[1]
    assert (late.error_code, late.error) == ("expired", "The deadline of the job passed before this picture ran.")
    ended = jobs.get(container, "anna", job.id)
    assert (ended.status, ended.done, ended.failed) == (Status.DONE, 1, 1)


def test_pictures_that_expire_in_a_running_job_are_told_once(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    job = submitted(container, deadline=100.0)
    entries, missed = claimed(container, job), list[Outcome]()
    jobs.begin(at(container, 99.0), entries)
    with caplog.at_level("INFO"):
        for entry in (*entries, entries[1]):
            assert jobs.begin(at(container, 101.0), [entry], missed) == []
    assert [(outcome.position, outcome.error_code) for outcome in missed] == [(0, "expired"), (1, "expired")]
    assert [vars(line)["jobs"] for line in caplog.records if vars(line).get("event") == "expired"] == [[job.id]]
    assert ends(container, "failed") == 1.0


def test_pictures_that_expire_during_an_outage_are_told_once(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(container, deadline=100.0)
    entries, missed = claimed(container, job), list[Outcome]()
    jobs.begin(at(container, 99.0), entries)

    def away(*_: object) -> None:
        raise errors.Unavailable("The queue does not answer.")

    for owner, step in ((container.database, "write"), (container.queue, "conclude")):
        with monkeypatch.context() as outage:
            outage.setattr(owner, step, away)
            with pytest.raises(errors.Unavailable):
                jobs.begin(at(container, 101.0), entries, missed)
    assert jobs.begin(at(container, 101.0), entries, missed) == []
    assert [outcome.position for outcome in missed] == [0, 1]
    assert ends(container, "failed") == 1.0


def test_the_last_outcome_ends_a_job_and_a_second_one_changes_nothing(container: Container) -> None:
    job = all_done(container, submitted(container))
    jobs.finish(container, [Outcome(job.id, 0, error_code="crash", error="late")])
    assert jobs.get(container, "anna", job.id) == job
    assert (job.status, job.done, job.failed) == (Status.DONE, 2, 0)


@pytest.mark.parametrize(("webhook", "sent"), [("https://example.org", [("deliver",)]), ("", [])])
def test_a_deliverer_is_called_where_an_ended_job_has_a_webhook(
    container: Container, monkeypatch: pytest.MonkeyPatch, webhook: str, sent: list[tuple[str]]
) -> None:
    job, calls = submitted(container, webhook=webhook), list[tuple[str, ...]]()
    jobs.begin(container, claimed(container, job))
    monkeypatch.setattr(container.queue.notifications, "send_task", lambda *task: calls.append(task))
    jobs.finish(container, answered(job, 0))
    assert calls == []
    jobs.finish(container, answered(job, 1))
    assert calls == sent


def test_the_end_of_a_single_picture_is_announced_with_its_outcome_and_progress_without(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, moved, told = submitted(container, 1), submitted(container, 2), list[JobChange]()
    entries = claimed(container, ended)
    monkeypatch.setattr(container.queue, "conclude", lambda entries, changes: told.extend(changes))
    runnable = jobs.begin(at(container, 50.0), entries)
    run = BatchRun(50.0, "w", 2, 0.1, 0.2)
    jobs.finish(at(container, 60.0), answered(ended, 0) + answered(moved, 0), runnable, run)
    answer = Outcome(ended.id, 0, [["one", 0.9]])
    timeline = jobs.get(container, "anna", ended.id).timeline
    assert timeline
    assert told == [
        JobChange(ended.id, Status.DONE, 1, 0, 50.0, 60.0, outcome=answer, timeline=timeline),
        JobChange(moved.id, Status.RUNNING, 1, 0, 50.0, None),
    ]


def test_an_outcome_that_was_there_before_is_not_announced_a_second_time(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, told = submitted(container, 1), submitted(container, 1), list[JobChange]()
    with container.database.write() as uow:  # another worker has recorded it, and was killed before the job's counts
        uow.jobs.record(answered(second, 0), 1.0)
    monkeypatch.setattr(container.queue, "conclude", lambda entries, changes: told.extend(changes))
    jobs.finish(container, [*answered(first, 0), Outcome(second.id, 0, [["other", 0.1]])])
    assert [(change.id, change.outcome) for change in told] == [(first.id, Outcome(first.id, 0, [["one", 0.9]]))]


def test_a_single_picture_is_running_only_where_it_takes_long(container: Container) -> None:
    short, long = submitted(container, 1), submitted(container, 1)
    jobs.begin(container, claimed(container, short))
    assert jobs.get(container, "anna", short.id).status is Status.QUEUED
    jobs.mark_running(container, {long.id: 7.0})
    again = jobs.get(container, "anna", long.id)
    assert (again.status, again.started_at) == (Status.RUNNING, 7.0)


# -- looking


def test_another_tenants_job_is_not_found_in_the_words_of_an_unknown_one(container: Container) -> None:
    job = submitted(container)
    for ask in (jobs.get, jobs.cancel):
        with pytest.raises(errors.NotFound, match=rf"^There is no job {job.id}\.$"):
            ask(container, "bert", job.id)


def test_jobs_are_listed_newest_first_in_pages(container: Container) -> None:
    first, second, third = [submitted(container, 1).id for _ in range(3)]
    everything: dict[str, Any] = {"status": "", "model": "", "since": None, "until": None}
    page = jobs.list_page(container, "anna", before="", limit=2, **everything)
    assert [job.id for job in page] == [third, second]
    rest = jobs.list_page(container, "anna", before=second, limit=2, **everything)
    assert [job.id for job in rest] == [first]


def test_items_are_listed_from_a_position_on_and_up_to_a_limit(container: Container) -> None:
    job = submitted(container, 4)
    assert [item.position for item in jobs.list_items(container, job, start=2)] == [2, 3]
    assert [item.position for item in jobs.list_items(container, job, start=1, limit=2)] == [1, 2]


def test_waiting_returns_the_job_as_it_is_when_the_time_is_over(container: Container) -> None:
    job = submitted(container)
    assert run(jobs.wait(container, job, 0.05)).status is Status.QUEUED


def test_waiting_returns_soon_after_a_job_has_ended(container: Container) -> None:
    job = submitted(container, 1)
    timer = threading.Timer(0.1, all_done, (container, job))
    timer.start()
    assert run(jobs.wait(container, job, 30.0)).status is Status.DONE
    timer.join()


# -- failing and cancelling


def test_a_failed_job_raises_the_error_of_its_picture_with_the_id_of_the_job(container: Container) -> None:
    job = submitted(container, 1)
    jobs.begin(container, claimed(container, job))
    jobs.finish(container, [Outcome(job.id, 0, error_code="not_a_picture", error="That is none.")])
    failed = jobs.get(container, "anna", job.id)
    assert failed.status is Status.FAILED
    with pytest.raises(errors.NotAPicture, match="That is none") as raised:
        jobs.raise_failure(container, failed)
    assert raised.value.job_id == job.id


def test_a_failed_job_without_items_raises_its_own_error(container: Container) -> None:
    job = replace(submitted(container, 1), id="gone", status=Status.FAILED, error="It broke.", items=None)
    with pytest.raises(errors.InferqError, match="It broke"):
        jobs.raise_failure(container, job)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.FAILED])
def test_a_job_that_has_not_failed_raises_nothing(container: Container, status: Status) -> None:
    jobs.raise_failure(container, replace(submitted(container, 1), status=status))


def test_a_job_is_cancelled_once_or_twice_and_says_when(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    job, published = submitted(container), list[list[str]]()
    monkeypatch.setattr(container.queue.events, "publish", published.append)
    first = jobs.cancel(at(container, 70.0), "anna", job.id)
    assert (first.status, first.finished_at) == (Status.CANCELLED, 70.0)
    assert jobs.cancel(at(container, 80.0), "anna", job.id) == first
    assert published == [[job.id]]
    assert ends(container, "cancelled") == 1.0


@pytest.mark.parametrize("other", ["begin", "expire_late"])
def test_of_two_processes_that_end_a_job_one_tells_so(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    job = submitted(container, deadline=100.0)
    entries, late = claimed(container, job), at(container, 101.0)
    end = Jobs.end

    def end_after_the_other(self: Jobs, job_ids: Sequence[str], status: Status, now: float) -> list[str]:
        assert end(self, job_ids, status, now) == [job.id]
        return end(self, job_ids, status, now)

    monkeypatch.setattr(Jobs, "end", end_after_the_other)
    with caplog.at_level("INFO"):
        maintenance.expire_late(late) if other == "expire_late" else jobs.begin(late, entries)
    assert ends(container, "expired") == 0.0
    assert not [line for line in caplog.records if getattr(line, "event", "") == "expired"]


def test_a_running_job_can_be_cancelled_and_an_ended_one_cannot(container: Container) -> None:
    job = submitted(container)
    jobs.begin(container, claimed(container, job))
    assert jobs.cancel(container, "anna", job.id).status is Status.CANCELLED
    done = all_done(container, submitted(container, 1))
    with pytest.raises(errors.Conflict, match=f"Job {done.id} has ended as DONE and cannot be cancelled"):
        jobs.cancel(container, "anna", done.id)
