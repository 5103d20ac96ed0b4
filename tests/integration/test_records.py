"""The queries, on SQLite and PostgreSQL alike: nothing is seen by another tenant, nothing is recorded twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import uuid6

from shared.errors import BadRequest, Conflict, Unavailable
from shared.gallery import Image
from shared.jobs import Item, Job, Options, Outcome, Status
from shared.models import EVERYBODY, Example, State, Version
from shared.preprocessing import Preprocessing
from shared.records import Records
from shared.tenants import Key

NOW = 1_700_000_000.0


def a_job(tenant: str = "anna", total: int = 2, **about: Any) -> Job:
    known: dict[str, Any] = {"wire": "native", "model": "m", "version": "1", "version_id": "v1", "priority": "normal"}
    known |= {"id": str(uuid6.uuid7()), "status": Status.QUEUED, "options": Options(), "created_at": NOW}
    return Job(tenant=tenant, total=total, **known | about)


def its_items(job: Job) -> list[Item]:
    return [Item(job.id, number, f"{number}.png", "blob", 10 * number, 10) for number in range(job.total)]


def stored(records: Records, *jobs: Job) -> Job:
    """Add jobs with their items; the first of them."""
    with records.write() as r:
        for job in jobs:
            r.jobs.add(job, its_items(job))
    return jobs[0]


def found(records: Records, job: Job) -> Job:
    with records.read() as r:
        again = r.jobs.get(job.tenant, job.id)
    assert again is not None
    return again


def running(records: Records, *jobs: Job) -> Job:
    """Add jobs that a worker has begun."""
    stored(records, *jobs)
    with records.write() as r:
        r.jobs.start({job.id for job in jobs}, NOW)
    return jobs[0]


def good(job: Job, position: int, label: str = "cat") -> Outcome:
    return Outcome(job.id, position, [[label, 0.9]])


def bad(job: Job, position: int) -> Outcome:
    return Outcome(job.id, position, error_code="broken_picture", error="It is damaged.")


def record(records: Records, *outcomes: Outcome, now: float = NOW + 5) -> list[Job]:
    with records.write() as r:
        return r.jobs.record(outcomes, now)


def items(records: Records, job: Job) -> list[Item]:
    with records.read() as r:
        return r.jobs.items(job.id)


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


def test_a_job_comes_back_as_it_was_stored(records: Records) -> None:
    job = a_job(
        options=Options(task="features", top_k=3, function_to_apply="none", exif=False),
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
    stored(records, job)
    assert found(records, job) == job


def test_items_come_back_in_upload_order_and_in_pages(records: Records) -> None:
    job = a_job(total=12_000)
    with records.write() as r:
        r.jobs.add(job, list(reversed(its_items(job))))
    with records.read() as r:
        assert r.jobs.items(job.id) == its_items(job)
        assert [item.position for item in r.jobs.items(job.id, start=11_998)] == [11_998, 11_999]
        assert [item.position for item in r.jobs.items(job.id, start=5, limit=3)] == [5, 6, 7]


def test_a_job_is_nobody_elses(records: Records) -> None:
    job = stored(records, a_job("anna"))
    with records.read() as r:
        assert r.jobs.get("anna", job.id) is not None
        assert r.jobs.get("bert", job.id) is None
        assert r.jobs.page("bert") == []


def test_pages_are_newest_first_and_leave_none_out(records: Records) -> None:
    jobs = [a_job() for _ in range(7)]
    stored(records, *jobs, a_job("bert"))
    seen: list[str] = []
    with records.read() as r:
        while page := r.jobs.page("anna", before=seen[-1] if seen else "", limit=3):
            assert len(page) <= 3
            seen += [job.id for job in page]
    assert seen == [job.id for job in reversed(jobs)]


def test_pages_can_be_narrowed_by_status_model_and_time(records: Records) -> None:
    old, other, ended = a_job(created_at=NOW - 100), a_job(model="other"), a_job(status=Status.DONE)
    stored(records, old, other, ended)
    with records.read() as r:
        assert [job.id for job in r.jobs.page("anna", status="DONE")] == [ended.id]
        assert [job.id for job in r.jobs.page("anna", model="other")] == [other.id]
        assert [job.id for job in r.jobs.page("anna", until=NOW)] == [old.id]
        assert [job.id for job in r.jobs.page("anna", since=NOW)] == [ended.id, other.id]


def test_an_error_in_the_block_takes_everything_back(records: Records) -> None:
    job = a_job()
    with pytest.raises(AssertionError), records.write() as r:  # noqa: PT012
        r.jobs.add(job, its_items(job))
        raise AssertionError
    with records.read() as r:
        assert r.jobs.get("anna", job.id) is None
        assert r.jobs.items(job.id) == []


def test_an_idempotency_key_is_found_by_its_tenant_only(records: Records) -> None:
    job = stored(records, a_job("anna", idempotency_key="once"), a_job("anna"), a_job("anna"))
    with records.read() as r:
        assert r.jobs.by_idempotency_key("anna", "once") == job
        assert r.jobs.by_idempotency_key("bert", "once") is None
        assert r.jobs.by_idempotency_key("anna", "twice") is None


def test_two_tenants_may_use_the_same_idempotency_key_but_one_tenant_not_twice(records: Records) -> None:
    stored(records, a_job("anna", idempotency_key="once"), a_job("bert", idempotency_key="once"))
    with pytest.raises(Conflict):
        stored(records, a_job("anna", idempotency_key="once"))
    with records.read() as r:
        assert len(r.jobs.page("anna")) == 1


# start


def test_starting_moves_queued_jobs_to_running_once(records: Records) -> None:
    job = stored(records, a_job())
    for now in (NOW + 1, NOW + 2):
        with records.write() as r:
            assert r.jobs.start({job.id}, now) == ({job.id}, set(), [])
    again = found(records, job)
    assert (again.status, again.started_at) == (Status.RUNNING, NOW + 1)


def test_a_job_whose_deadline_passed_before_it_ran_expires(records: Records) -> None:
    job = stored(records, a_job(deadline=NOW - 1))
    with records.write() as r:
        assert r.jobs.start({job.id}, NOW) == (set(), set(), [job.id])
    again = found(records, job)
    assert (again.status, again.finished_at) == (Status.EXPIRED, NOW)


def test_a_running_job_whose_deadline_passes_is_late_and_goes_on(records: Records) -> None:
    job = running(records, a_job(deadline=NOW + 1))
    with records.write() as r:
        assert r.jobs.start({job.id}, NOW + 2) == (set(), {job.id}, [])
    assert found(records, job).status is Status.RUNNING


def test_ended_and_unknown_jobs_are_not_started(records: Records) -> None:
    ended = [a_job(status=status) for status in Status if status.terminal]
    stored(records, *ended)
    with records.write() as r:
        assert r.jobs.start({job.id for job in ended} | {"unknown"}, NOW) == (set(), set(), [])
    assert [found(records, job).status for job in ended] == [job.status for job in ended]


def test_a_thousand_jobs_are_started_in_one_call(records: Records) -> None:
    jobs = [a_job(total=1) for _ in range(1200)]
    stored(records, *jobs)
    with records.write() as r:
        begun, _, _ = r.jobs.start({job.id for job in jobs}, NOW)
    assert begun == {job.id for job in jobs}


# record


def test_outcomes_are_stored_with_their_items(records: Records) -> None:
    job = running(records, a_job(total=3))

    ended = record(records, good(job, 2, "dog"), bad(job, 0))

    assert ended == []
    first, second, third = items(records, job)
    assert (first.status, first.result) == ("FAILED", None)
    assert (first.error_code, first.error) == ("broken_picture", "It is damaged.")
    assert (second.status, second.result) == ("QUEUED", None)
    assert (third.status, third.result, third.error_code) == ("DONE", [["dog", 0.9]], "")
    again = found(records, job)
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
    records: Records, outcomes: list[Callable[[Job, int], Outcome]], status: Status, code: str
) -> None:
    job = running(records, a_job(total=2))
    assert record(records, outcomes[0](job, 0)) == []

    ended = record(records, outcomes[1](job, 1))

    assert [again.id for again in ended] == [job.id]
    again = found(records, job)
    assert ended[0].status == status
    assert (again.status, again.error_code, again.finished_at, again.left) == (status, code, NOW + 5, 0)


def test_what_is_delivered_twice_is_recorded_once(records: Records) -> None:
    job = running(records, a_job(total=3))
    record(records, good(job, 0, "first"), good(job, 1))

    record(records, good(job, 0, "second"), bad(job, 1))

    assert items(records, job)[0].result == [["first", 0.9]]
    assert items(records, job)[1].status == "DONE"
    assert (found(records, job).done, found(records, job).failed) == (2, 0)


def test_twice_in_the_same_batch_is_recorded_once_too(records: Records) -> None:
    job = running(records, a_job(total=2))
    record(records, good(job, 0, "first"), good(job, 0, "second"), bad(job, 0))
    assert items(records, job)[0].result == [["first", 0.9]]
    assert (found(records, job).done, found(records, job).failed) == (1, 0)


def test_one_batch_may_end_many_jobs(records: Records) -> None:
    jobs = [a_job(total=1) for _ in range(700)]
    running(records, *jobs)
    ended = record(records, *[good(job, 0) for job in jobs])
    assert {job.id for job in ended} == {job.id for job in jobs}
    assert {job.status for job in ended} == {Status.DONE}


def test_cancelled_while_running_nothing_more_is_written(records: Records) -> None:
    job = running(records, a_job(total=2))
    record(records, good(job, 0))
    with records.write() as r:
        r.jobs.end([job.id], Status.CANCELLED, NOW + 1)

    assert record(records, good(job, 1)) == []

    again = found(records, job)
    assert (again.status, again.done, again.finished_at) == (Status.CANCELLED, 1, NOW + 1)
    assert items(records, job)[1].status == "QUEUED"


def test_an_outcome_of_a_deleted_job_is_dropped(records: Records) -> None:
    job = running(records, a_job())
    with records.write() as r:
        r.jobs.delete([job.id])
    assert record(records, good(job, 0)) == []


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_no_move_leads_away_from_an_ended_job(records: Records, status: Status) -> None:
    job = stored(records, a_job(status=status, finished_at=NOW))
    with records.write() as r:
        for target in Status:
            r.jobs.end([job.id], target, NOW + 9)
    again = found(records, job)
    assert (again.status, again.finished_at) == (status, NOW)


def test_two_workers_that_record_the_same_pictures_at_once_count_them_once(records: Records) -> None:
    jobs = [a_job(total=20) for _ in range(10)]
    running(records, *jobs)
    outcomes = [good(job, number) for job in jobs for number in range(20)]
    ended: list[str] = []

    def work(mine: list[Outcome]) -> None:
        for start in range(0, len(mine), 25):
            ended.extend(job.id for job in record(records, *mine[start : start + 25]))

    together(lambda: work(outcomes), lambda: work(outcomes[::-1]), lambda: work(outcomes))

    assert [(found(records, job).done, found(records, job).status) for job in jobs] == [(20, Status.DONE)] * 10
    assert sorted(ended) == sorted(job.id for job in jobs)


def test_a_cancel_in_the_middle_of_recording_leaves_counters_and_items_in_step(records: Records) -> None:
    job = running(records, a_job(total=200))

    def work() -> None:
        for number in range(0, 200, 10):
            record(records, *[good(job, n) for n in range(number, number + 10)])

    def cancel() -> None:
        with records.write() as r:
            r.jobs.end([job.id], Status.CANCELLED, NOW + 1)

    together(work, cancel)

    assert found(records, job).done == sum(item.status == "DONE" for item in items(records, job))


# the sweep's questions


def test_left_by_version_adds_up_live_jobs(records: Records) -> None:
    job = running(records, a_job(total=5, version_id="v1"))
    stored(records, a_job("bert", total=2, version_id="v1"), a_job(total=4, version_id="v2"))
    stored(records, a_job(total=9, version_id="v3", status=Status.CANCELLED))
    record(records, good(job, 0), bad(job, 1))
    with records.read() as r:
        assert r.jobs.left_by_version() == {"v1": 5, "v2": 4}


def test_live_and_unfinished_are_what_a_lost_stream_is_filled_from(records: Records) -> None:
    old, young, other = a_job(created_at=NOW - 10, total=3), a_job(created_at=NOW), a_job(version_id="v2")
    running(records, old, young, other)
    stored(records, a_job(created_at=NOW - 10, status=Status.DONE))
    record(records, good(old, 1))
    with records.read() as r:
        assert [job.id for job in r.jobs.live("v1", created_before=NOW - 1)] == [old.id]
        assert [item.position for item in r.jobs.unfinished_items(old.id)] == [0, 2]


def test_finished_items_are_told_from_the_others(records: Records) -> None:
    job = running(records, a_job(total=600))
    record(records, *[good(job, number) for number in range(0, 600, 2)])
    with records.read() as r:
        answered = r.jobs.finished_items([(job.id, number) for number in range(600)] + [("unknown", 0)])
    assert answered == {(job.id, number) for number in range(0, 600, 2)}


def test_only_queued_jobs_are_past_their_deadline(records: Records) -> None:
    late = stored(records, a_job(deadline=NOW - 1), a_job(deadline=NOW + 1), a_job())
    running(records, a_job(deadline=NOW + 1))
    stored(records, a_job(deadline=NOW - 1, status=Status.CANCELLED))
    with records.read() as r:
        assert r.jobs.past_deadline(NOW) == [late.id]


def test_old_jobs_are_found_and_deleted_with_their_items_and_callbacks(records: Records) -> None:
    old = a_job(status=Status.DONE, finished_at=NOW - 100, blob="b1", webhook="https://example.org")
    young = a_job(status=Status.DONE, finished_at=NOW, blob="b2")
    stored(records, old, young, a_job())
    with records.write() as r:
        r.jobs.end([old.id], Status.DONE, NOW)

    with records.write() as r:
        assert r.jobs.finished_before(NOW - 50) == [(old.id, "b1")]
        r.jobs.delete([old.id])

    with records.read() as r:
        assert r.jobs.known([old.id, young.id]) == {young.id}
        assert r.jobs.items(old.id) == []
        assert len(r.jobs.items(young.id)) == 2


# callbacks


def ended_with_a_callback(records: Records, now: float = NOW) -> Job:
    job = running(records, a_job(total=1, webhook="https://example.org/hook", webhook_secret="s"))
    record(records, good(job, 0), now=now)
    return job


def test_a_callback_becomes_due_in_the_commit_that_ends_the_job(records: Records) -> None:
    job = running(records, a_job(total=2, webhook="https://example.org/hook", webhook_secret="s"), a_job(total=1))
    record(records, good(job, 0))
    with records.read() as r:
        assert r.deliveries.due(NOW + 9) == []

    record(records, good(job, 1), now=NOW + 5)

    with records.read() as r:
        assert r.deliveries.due(NOW + 4) == []
        (due,) = r.deliveries.due(NOW + 5)
    assert (due.job_id, due.tenant, due.url, due.secret, due.attempts) == (
        job.id, "anna", "https://example.org/hook", "s", 0,
    )  # fmt: skip


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.FAILED])
def test_every_end_calls_back_and_only_once(records: Records, status: Status) -> None:
    job = stored(records, a_job(webhook="https://example.org/hook"))
    with records.write() as r:
        r.jobs.end([job.id], status, NOW)
        r.jobs.end([job.id], status, NOW)
    with records.read() as r:
        assert [due.job_id for due in r.deliveries.due(NOW)] == [job.id]


def test_two_deliverers_never_take_the_same_callback(records: Records) -> None:
    ended_with_a_callback(records)
    with records.read() as r:
        (due,) = r.deliveries.due(NOW)
    taken: list[bool] = []

    def take() -> None:
        with records.write() as r:
            taken.append(r.deliveries.take(due, NOW + 60))

    together(take, take, take)

    assert sorted(taken) == [False, False, True]
    with records.read() as r:
        assert r.deliveries.due(NOW + 59) == []
        assert [again.attempts for again in r.deliveries.due(NOW + 60)] == [1]


def test_a_failed_callback_is_due_again_and_a_good_or_given_up_one_never(records: Records) -> None:
    again, never, good_one = (ended_with_a_callback(records) for _ in range(3))
    with records.write() as r:
        r.deliveries.failed(again.id, "answered 500", due_at=NOW + 30)
        r.deliveries.failed(never.id, "answered 500", due_at=None)
        r.deliveries.succeeded(good_one.id, NOW)
    with records.read() as r:
        assert r.deliveries.due(NOW + 29) == []
        assert [due.job_id for due in r.deliveries.due(NOW + 1e9)] == [again.id]


def test_the_longest_due_callbacks_come_first(records: Records) -> None:
    late, early = ended_with_a_callback(records, NOW + 2), ended_with_a_callback(records, NOW + 1)
    with records.read() as r:
        assert [due.job_id for due in r.deliveries.due(NOW + 9)] == [early.id, late.id]
        assert [due.job_id for due in r.deliveries.due(NOW + 9, limit=1)] == [early.id]


# models


def a_version(tenant: str = "anna", name: str = "m", version: str = "1", **about: Any) -> Version:
    known = {"family": "digits", "architecture": "digits", "state": State.READY, "created_at": NOW + float(version)}
    return Version(str(uuid6.uuid7()), tenant, name, version, **known | about)  # type: ignore[arg-type]


def added(records: Records, *versions: Version) -> Version:
    with records.write() as r:
        for version in versions:
            r.versions.add(version)
    return versions[0]


def test_a_version_comes_back_as_it_was_stored(records: Records) -> None:
    version = added(
        records,
        a_version(
            labels=("a", "b"),
            preprocessing=Preprocessing(256, 224, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "bicubic", "RGB"),
            example=Example("examples/x", (1.5, -2.25)),
            metrics={"accuracy": 0.99},
            weights="weights/w",
            checksum="c",
            is_default=True,
        ),
    )
    bare = added(records, a_version(name="bare"))
    with records.read() as r:
        assert r.versions.get(version.id) == version
        assert r.versions.get(bare.id) == bare
        assert r.versions.get("unknown") is None


def test_everybodys_models_are_seen_by_all_and_a_tenants_by_that_tenant(records: Records) -> None:
    shared, own = added(records, a_version(EVERYBODY, "shared")), added(records, a_version("anna", "own"))
    with records.read() as r:
        assert {version.id for version in r.versions.visible("anna")} == {shared.id, own.id}
        assert {version.id for version in r.versions.visible("bert")} == {shared.id}
        assert r.versions.named("bert", "own") == []
        assert r.versions.named("bert", "shared") == [shared]


def test_a_tenants_own_model_hides_everybodys_of_the_same_name(records: Records) -> None:
    shared = added(records, a_version(EVERYBODY, "resnet50"))
    own = added(records, a_version("anna", "resnet50", "2"))
    with records.read() as r:
        assert r.versions.named("anna", "resnet50") == [own]
        assert r.versions.named("bert", "resnet50") == [shared]


def test_versions_are_listed_oldest_first(records: Records) -> None:
    second, first = added(records, a_version(version="2")), added(records, a_version(version="1"))
    with records.read() as r:
        assert r.versions.named("anna", "m") == [first, second]


def test_a_name_and_version_exist_once_per_tenant(records: Records) -> None:
    added(records, a_version("anna"), a_version("bert"), a_version("anna", version="2"))
    with pytest.raises(Conflict):
        added(records, a_version("anna"))


def test_one_version_of_a_model_is_the_default(records: Records) -> None:
    first = added(records, a_version(is_default=True))
    second = added(records, a_version(version="2"))
    others = a_version("bert", is_default=True), a_version(name="other", is_default=True)
    added(records, *others)
    with records.write() as r:
        r.versions.make_default(second)
    with records.read() as r:
        assert [version.is_default for version in r.versions.named("anna", "m")] == [False, True]
        assert [r.versions.get(version.id) for version in others] == list(others)
    assert first.is_default


def test_states_reasons_and_blobs_are_kept(records: Records) -> None:
    version = added(records, a_version(state=State.CHECKING, weights="w1"), a_version(version="2", weights="w2"))
    with records.write() as r:
        r.versions.set_reason(version.id, "half way")
    with records.read() as r:
        assert [known.reason for known in r.versions.in_state(State.CHECKING)] == ["half way"]
        assert r.versions.known_weights(["w1", "w3"]) == {"w1"}
    with records.write() as r:
        r.versions.save(replace(version, state=State.READY))
        assert r.versions.in_state(State.CHECKING) == []
        r.versions.delete([version.id])
    with records.read() as r:
        assert r.versions.get(version.id) is None


# images, keys, facts


def an_image(number: int, tenant: str = "anna", stage: str = "live") -> Image:
    name = f"{tenant}_{stage}_{number}"
    return Image(f"image_{name}", tenant, stage, name, f"images/{name}", "PNG", 8, 9, 100, NOW + number)


def test_images_are_listed_per_tenant_and_stage_from_any_of_them_on(records: Records) -> None:
    images = [an_image(number) for number in range(4)]
    others = [an_image(1, stage="test"), an_image(1, tenant="bert")]
    with records.write() as r:
        for image in images + others:
            r.images.add(image)
    with records.read() as r:
        assert r.images.page("anna", "live", limit=2) == [images[3], images[2]]
        assert r.images.page("anna", "live", first=images[2].id) == [images[2], images[1], images[0]]
        assert r.images.newer("anna", "live", than=images[0].id, limit=2) == [images[1], images[2]]
        assert r.images.newer("anna", "live", than=images[3].id, limit=2) == []
        assert r.images.page("anna", "test") == [others[0]]
        assert r.images.page("bert", "live") == [others[1]]
        assert r.images.page("bert", "test") == []


def test_images_are_found_by_id_or_age_and_deleted(records: Records) -> None:
    images = [an_image(number, stage="test") for number in range(4)]
    with records.write() as r:
        for image in [*images, an_image(0)]:
            r.images.add(image)
    with records.write() as r:
        assert r.images.get(images[1].id) == images[1]
        assert r.images.get("image_none") is None
        assert r.images.made_before("test", NOW + 2, limit=99) == images[:2]
        assert r.images.made_before("test", NOW + 3, limit=2) == images[:2]
        r.images.delete([images[0].id, images[2].id])
    with records.read() as r:
        assert r.images.page("anna", "test") == [images[3], images[1]]
        assert r.images.page("anna", "live") == [an_image(0)]


def a_key(tenant: str, text: str) -> Key:
    return Key(str(uuid6.uuid7()), tenant, text, text[:8], text, ("infer", "keys"), NOW)


def test_a_key_is_valid_until_its_own_tenant_revokes_it(records: Records) -> None:
    key = a_key("anna", "hash-1")
    with records.write() as r:
        r.keys.add(key)
    with records.write() as r:
        assert r.keys.by_hash("hash-1") == key
        assert r.keys.by_hash("hash-2") is None
        assert not r.keys.revoke("bert", key.id, NOW)
        assert r.keys.by_hash("hash-1") == key
        assert r.keys.revoke("anna", key.id, NOW)
        assert not r.keys.revoke("anna", key.id, NOW + 1)
        assert r.keys.by_hash("hash-1") is None
    with records.read() as r:
        assert [known.revoked_at for known in r.keys.all("anna")] == [NOW]
        assert r.keys.all("bert") == []


def test_a_revoked_key_still_counts_as_a_key_that_was_made(records: Records) -> None:
    with records.write() as r:
        assert not r.keys.any()
        r.keys.add(key := a_key("anna", "hash-1"))
        r.keys.revoke("anna", key.id, NOW)
        assert r.keys.any()


def test_a_fact_can_be_set_by_many_at_once(records: Records) -> None:
    def say(number: int) -> None:
        with records.write() as r:
            r.facts.set("check_seconds", str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(40)))
    with records.read() as r:
        assert r.facts.get("check_seconds").isdigit()


def test_a_fact_is_remembered_until_it_is_set_anew(records: Records) -> None:
    with records.write() as r:
        assert r.facts.get("default_model") == ""
        r.facts.set("default_model", "digits")
        r.facts.set("default_model", "resnet50")
    with records.read() as r:
        assert r.facts.get("default_model") == "resnet50"


# the database itself


def test_a_database_that_is_away_is_said_to_be(tmp_path: Any) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/folder/inferq.db", "postgresql://nobody@127.0.0.1:9/none"):
        records = Records(url)
        with pytest.raises(Unavailable):
            records.ping()
        with pytest.raises(Unavailable), records.read() as r:
            r.facts.get("x")
        records.close()


def test_a_reader_does_not_wait_for_a_writer(records: Records) -> None:
    job = stored(records, a_job())
    with records.write() as writing:
        writing.jobs.end([job.id], Status.CANCELLED, NOW)
        assert found(records, job).status is Status.QUEUED
    assert found(records, job).status is Status.CANCELLED


def test_text_that_no_database_can_hold_is_refused(records: Records) -> None:
    for odd in ("nul \0 in it", "half a \ud800 surrogate"):
        if records.engine.dialect.name == "sqlite" and "\0" in odd:
            continue  # SQLite takes it
        with pytest.raises(BadRequest), records.read() as r:
            r.jobs.get("anna", odd)


def test_a_number_that_no_database_can_hold_is_refused(records: Records) -> None:
    with pytest.raises(BadRequest):
        stored(records, a_job(total=1, done=10**30))
