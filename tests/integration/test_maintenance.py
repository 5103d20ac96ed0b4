"""Maintenance: what failed halfway is reconciled once, garbage is collected, and nothing else is changed."""

from __future__ import annotations

import contextlib
import io
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uuid6
from PIL import Image

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.adapters.queue import locks
from shared.container import Container
from shared.domain.jobs import AnswerOptions, Item, Job, Outcome, Status, Submission
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion, ProblemType
from shared.domain.pictures import Limits, Picture
from shared.domain.stored_images import new_id
from shared.domain.stream_entry import StreamEntry
from shared.imaging import images
from shared.services import job_pictures, jobs, maintenance, stored_images
from tests.stacks import until

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@dataclass
class SystemUnderTest:
    """The container of conftest, with a clock that can be put forward and the tasks that were sent."""

    container: Container
    sent: list[tuple[str, ...]]

    def later(self, seconds: float) -> Container:
        """Return the container with a clock that is `seconds` ahead."""
        return replace(self.container, now=lambda: time.time() + seconds)

    def submit(self, pictures: int = 3, **about: Any) -> Job:
        job, _ = run(jobs.submit(self.container, "anna", Submission([a_picture(n) for n in range(pictures)], **about)))
        return job

    def again(self, job: Job) -> Job:
        return jobs.get(self.container, "anna", job.id)

    def claim(self, job: Job, count: int) -> list[StreamEntry]:
        return self.container.queue.streams.claim(job.version_id, "worker", count)

    def run(self, job: Job, count: int) -> None:
        """Claim, begin, finish and acknowledge pictures, as a worker does."""
        entries = self.claim(job, count)
        keep = jobs.begin(self.container, entries)
        jobs.finish(self.container, [Outcome(entry.job_id, entry.position, [["a", 1.0]]) for entry in keep])
        self.container.queue.conclude(entries, [])

    def flush(self) -> None:
        self.container.queue.connection.redis.flushall()


@pytest.fixture
def system(container: Container) -> SystemUnderTest:
    sent: list[tuple[str, ...]] = []

    def send_task(task: str, *arguments: str) -> bool:
        sent.append((task, *arguments))
        return True

    container.queue.notifications.send_task = send_task  # type: ignore[method-assign]
    settings = container.settings.changed(lease=0.2, webhook_private=True)
    container.queue.connection.settings = settings
    return SystemUnderTest(replace(container, settings=settings), sent)


def a_picture(number: int = 0) -> Picture:
    file = io.BytesIO()
    Image.new("L", (8, 8), number).save(file, "PNG")
    return images.check(f"{number}.png", file.getvalue(), LIMITS)


# entries that Redis has lost


def test_after_a_flush_what_is_unfinished_is_queued_again_and_nothing_else(system: SystemUnderTest) -> None:
    job, done = system.submit(4), system.submit(1)
    system.run(job, 2)
    system.run(done, 9)
    assert system.again(job).left == 4 - system.again(job).done
    left = [(job.id, item.position) for item in unfinished(system, job)]
    maintenance.reconcile(system.container)
    system.flush()

    maintenance.reconcile(system.later(10))

    assert system.container.queue.streams.present(job.version_id) == set(left)
    assert len(system.container.queue.streams.present(job.version_id)) == system.again(job).left


def test_a_difference_counts_only_if_the_next_run_finds_it_too(system: SystemUnderTest) -> None:
    job, later = system.submit(2), system.later(10)
    maintenance.reconcile(later)
    system.container.queue.connection.redis.delete(
        system.container.queue.streams.groups.name(job.version_id, "normal", "anna")
    )

    missing = maintenance.reconcile(later)
    assert missing == {job.version_id}
    assert system.container.queue.streams.present(job.version_id) == set()
    maintenance.reconcile(later, missing)

    assert len(system.container.queue.streams.present(job.version_id)) == 2


@contextlib.contextmanager
def counted_statements(database: Database) -> Iterator[list[str]]:
    """Collect the SQL statements that are sent within the block."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def many(system: SystemUnderTest, number: int, priority: str = "normal", total: int = 1) -> list[Job]:
    """Store that many jobs, without their pictures and without the queue, and return them in the order of their age."""
    example = replace(system.submit(1), priority=priority, total=total, blob="blob", items=None)
    added = [replace(example, id=id_made_at(time.time() - 1000 + count)) for count in range(number)]
    with system.container.database.write() as uow:
        uow.jobs.add(
            [(job, [Item(job.id, position, "a.png", "blob", 0, 1) for position in range(total)]) for job in added]
        )
    return added


def test_a_long_queue_is_pushed_again_by_pages_and_not_by_a_query_for_each_job(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    low, normal = many(system, 1100, "low"), many(system, 1100)
    system.flush()
    pushed: list[list[str]] = []  # the jobs of each push, and how many statements had been sent by then
    with counted_statements(system.container.database) as statements:
        push, before_push = jobs.push, list[int]()

        def noted(container: Container, registrations: Sequence[jobs.Registration]) -> None:
            pushed.append([registration.job.id for registration in registrations])
            before_push.append(len(statements))
            push(container, registrations)

        monkeypatch.setattr(jobs, "push", noted)
        assert maintenance.push_again(system.later(10), low[0].version_id) == 2202
    assert before_push[0] <= 4  # an empty page of the priority high, and the first page
    assert len(statements) <= 20
    order = [job_id for page in pushed for job_id in page]
    known = {job.id for job in low + normal}
    assert [job_id for job_id in order if job_id in known] == [job.id for job in normal + low]
    assert max(len(page) for page in pushed) <= 500


def test_jobs_of_many_pictures_are_pushed_again_a_few_at_a_time(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PICTURES_AT_ONCE", 10)
    large = many(system, 5, total=4) + many(system, 2, total=25)
    system.flush()
    pages: list[int] = []
    push = jobs.push

    def noted(container: Container, registrations: Sequence[jobs.Registration]) -> None:
        pages.append(sum(len(registration.items) for registration in registrations))
        push(container, registrations)

    monkeypatch.setattr(jobs, "push", noted)
    maintenance.push_again(system.later(10), large[0].version_id)
    assert sum(pages) == 5 * 4 + 2 * 25 + 2  # and the two that `many` takes as its example
    assert all(page <= 10 or page == 25 for page in pages)
    assert len(system.container.queue.streams.present(large[0].version_id)) == sum(pages)


def test_two_maintenances_at_once_push_what_was_lost_once(system: SystemUnderTest) -> None:
    lost = many(system, 1200)
    system.flush()
    later, start = system.later(10), threading.Barrier(2)

    def run() -> int:
        start.wait(20)
        return maintenance.push_again(later, lost[0].version_id)

    with ThreadPoolExecutor(2) as pool:
        counts = [future.result(60) for future in [pool.submit(run), pool.submit(run)]]
    assert sum(counts) == 1201
    assert sum(depth.waiting for depth in system.container.queue.streams.depths()) == 1201


def test_a_maintenance_that_has_lost_its_lock_pushes_no_further(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = many(system, 1200)
    system.flush()
    queue, version_id = system.container.queue, lost[0].version_id

    def push(container: Container, registrations: Sequence[jobs.Registration]) -> None:
        queue.connection.redis.set(queue.connection.key("lock", f"push:{version_id}"), "another process")
        (renewing,) = [thread for thread in threading.enumerate() if thread.name == f"lease-push:{version_id}"]
        renewing.join(20)  # it ends when it finds the lock lost

    def renew(lock: locks.Lock) -> bool:
        return bool(queue.connection.redis.get(queue.connection.key("lock", f"push:{version_id}")) != "another process")

    monkeypatch.setattr(jobs, "push", push)
    monkeypatch.setattr(locks.Lock, "renew", renew)
    object.__setattr__(queue.locks, "_settings", system.container.settings)
    assert maintenance.push_again(system.later(10), version_id) == 500


def test_a_job_that_is_pushed_while_the_streams_are_read_is_not_pushed_twice(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = system.submit(1)
    passed = [0.0]
    clock = replace(system.container, now=lambda: time.time() + passed[0])
    present = system.container.queue.streams.present

    def read_slowly(version_id: str) -> set[tuple[str, int]]:
        found = present(version_id)
        system.submit(1)
        passed[0] = 60.0
        return found

    monkeypatch.setattr(system.container.queue.streams, "present", read_slowly)
    assert maintenance.push_again(clock, first.version_id) == 0


def unfinished(system: SystemUnderTest, job: Job) -> list[Item]:
    with system.container.database.read() as uow:
        return uow.jobs.unfinished_items([job.id]).get(job.id, [])


def test_pushing_again_leaves_out_what_is_still_there(system: SystemUnderTest) -> None:
    there, lost = system.submit(2), system.submit(3, priority="high")
    system.container.queue.connection.redis.delete(
        system.container.queue.streams.groups.name(lost.version_id, "high", "anna")
    )
    held = system.claim(there, 1)

    assert maintenance.push_again(system.later(10), there.version_id) == 3

    claimed = system.claim(there, 99)
    everything = sorted((entry.job_id, entry.position) for entry in held + claimed)
    assert everything == sorted([(there.id, n) for n in range(2)] + [(lost.id, n) for n in range(3)])
    assert maintenance.push_again(system.later(10), there.version_id) == 0


def test_what_is_pushed_again_carries_the_options_of_its_job(system: SystemUnderTest) -> None:
    options = AnswerOptions(task="features", top_k=2, function_to_apply="none", exif=False)
    job = system.submit(1, options=options, priority="low")
    (before,) = system.claim(job, 1)
    system.flush()
    maintenance.push_again(system.later(10), job.version_id)
    claimed: list[StreamEntry] = []

    def some() -> bool:
        claimed.extend(system.claim(job, 1))
        return bool(claimed)

    until(some, 5)
    assert replace(claimed[0], id="", attempts=1) == replace(before, id="", attempts=1, picture=None)
    assert job_pictures.read(system.container, claimed[0]) == before.picture


@pytest.mark.parametrize("asked", ["", "sigmoid"])
def test_what_is_pushed_again_has_thresholds_if_its_job_has(system: SystemUnderTest, asked: str) -> None:
    with system.container.database.write() as uow:
        (digits,) = uow.model_versions.named(ALL_TENANTS, "digits")
        uow.model_versions.save(replace(digits, problem_type=ProblemType.MULTI_LABEL))
    job = system.submit(1, options=AnswerOptions(function_to_apply=asked))
    system.flush()
    maintenance.push_again(system.later(10), job.version_id)
    (entry,) = system.claim(job, 1)
    assert (entry.function_to_apply, entry.with_thresholds) == ("sigmoid", not asked)


def test_a_job_that_may_still_be_on_its_way_is_left_alone(system: SystemUnderTest) -> None:
    job = system.submit(2)
    system.flush()
    assert maintenance.push_again(system.container, job.version_id) == 0


def test_nothing_is_missing_while_everything_is_there(system: SystemUnderTest) -> None:
    job = system.submit(5)
    assert maintenance.count_missing(system.container) == frozenset()
    system.claim(job, 2)
    assert maintenance.count_missing(system.container) == frozenset()
    system.flush()
    assert maintenance.count_missing(system.container) == {job.version_id}


def test_cancelled_jobs_are_not_queued_again(system: SystemUnderTest) -> None:
    job = system.submit(2)
    jobs.cancel(system.container, "anna", job.id)
    system.flush()
    assert maintenance.count_missing(system.container) == frozenset()
    assert maintenance.push_again(system.later(10), job.version_id) == 0


# notifications


def test_workers_are_notified_of_work_that_has_no_notification(system: SystemUnderTest) -> None:
    job = system.submit(1)
    system.container.queue.notifications.clear(job.version_id)
    system.sent.clear()

    maintenance.notify_waiting(system.container)
    maintenance.notify_waiting(system.container)

    assert system.sent == [("drain", job.version_id)]


def test_workers_are_notified_of_work_whose_lease_has_expired(system: SystemUnderTest) -> None:
    job = system.submit(1)
    system.claim(job, 1)
    system.container.queue.notifications.clear(job.version_id)
    system.sent.clear()
    until(lambda: system.container.queue.streams.has_expired(job.version_id), 10)
    maintenance.notify_waiting(system.container)
    assert system.sent == [("drain", job.version_id)]


def test_no_notification_is_sent_for_an_empty_stream(system: SystemUnderTest) -> None:
    job = system.submit(1)
    system.run(job, 1)
    system.container.queue.notifications.clear(job.version_id)
    system.sent.clear()
    maintenance.notify_waiting(system.container)
    assert system.sent == []


# deadlines, old jobs, blobs


def test_jobs_past_their_deadline_expire_without_a_worker(system: SystemUnderTest) -> None:
    late, running, kept = (system.submit(1, deadline=time.time() + 50) for _ in range(3))
    with system.container.database.write() as uow:
        uow.jobs.start({running.id}, time.time())
    maintenance.expire_late(system.container)
    assert system.again(late).status is Status.QUEUED

    jobs.cancel(system.container, "anna", kept.id)
    maintenance.expire_late(system.later(100))

    assert [system.again(job).status for job in (late, running, kept)] == ["EXPIRED", "RUNNING", "CANCELLED"]


def test_old_jobs_go_with_their_pictures_and_younger_ones_stay(system: SystemUnderTest) -> None:
    old, waiting = system.submit(2, priority="high"), system.submit(2)
    system.run(old, 2)
    maintenance.drop_old_jobs(system.container)
    assert system.again(old).status is Status.DONE

    maintenance.drop_old_jobs(system.later(system.container.settings.keep_jobs + 60))

    with pytest.raises(errors.NotFound):
        system.again(old)
    with pytest.raises(FileNotFoundError):
        system.container.storage.read(old.blob)
    assert system.again(waiting).status is Status.QUEUED
    assert system.container.storage.read(waiting.blob)


def test_only_orphans_that_are_old_enough_are_removed(system: SystemUnderTest) -> None:
    kept = system.submit(2)
    now = time.time()
    ids = {"old": id_made_at(now - 7200), "young": str(uuid6.uuid7())}
    keys = {name: system.container.storage.dated("jobs", job_id, now) for name, job_id in ids.items()}
    for key in keys.values():
        system.container.storage.write(key, b"orphan")

    maintenance.collect_garbage(system.container)

    assert system.container.storage.read(kept.blob)
    assert system.container.storage.read(keys["young"]) == b"orphan"
    with pytest.raises(FileNotFoundError):
        system.container.storage.read(keys["old"])


def test_the_bytes_of_an_image_that_was_never_stored_are_removed_after_an_hour(system: SystemUnderTest) -> None:
    container, now = system.container, time.time()
    kept = stored_images.store(replace(container, now=lambda: now - 7200), "anna", "live", a_picture())
    ids = {"old": new_id(now - 7200), "young": new_id(now), "foreign": "notes.txt"}
    keys = {name: container.storage.dated("images", image_id, now) for name, image_id in ids.items()}
    for key in keys.values():
        container.storage.write(key, b"orphan")

    maintenance.collect_garbage(container)

    assert container.storage.read(kept.blob)
    assert container.storage.read(keys["young"]) == container.storage.read(keys["foreign"]) == b"orphan"
    with pytest.raises(FileNotFoundError):
        container.storage.read(keys["old"])


@pytest.mark.parametrize("kind", ["jobs", "images"])
def test_the_search_for_orphans_needs_no_more_memory_for_more_blobs(system: SystemUnderTest, kind: str) -> None:
    container = system.container
    day = container.storage.dated(kind, "", time.time())
    folder = Path(container.settings.storage_url.removeprefix("file://"), day)
    folder.mkdir(parents=True)

    def most_bytes(blobs: int) -> int:
        """Return the most memory that a search takes when there are so many blobs."""
        for number in range(blobs - len(list(folder.iterdir()))):
            (folder / f"{id_made_at(time.time())}-{number}").touch()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        maintenance.drop_orphans(container)
        return tracemalloc.get_traced_memory()[1] - before

    maintenance.drop_orphans(container)  # fills caches
    tracemalloc.start()
    try:
        few = most_bytes(1000)
        assert most_bytes(10_000) < 2 * few
    finally:
        tracemalloc.stop()


def test_the_pictures_of_a_stored_job_stay_however_old_it_is(system: SystemUnderTest) -> None:
    job_id = id_made_at(time.time() - 7200)
    key = system.container.storage.dated("jobs", job_id, time.time())
    system.container.storage.write(key, b"pictures")
    job = replace(system.submit(1), id=job_id, blob=key)
    with system.container.database.write() as uow:
        uow.jobs.add([(job, [])])
    maintenance.collect_garbage(system.container)
    assert system.container.storage.read(key) == b"pictures"


def test_images_of_the_stage_test_go_when_their_time_is_over_and_live_ones_stay(system: SystemUnderTest) -> None:
    live, test = (stored_images.store(system.container, "anna", stage, a_picture()) for stage in ("live", "test"))
    keep = system.container.settings.keep_test_images
    maintenance.collect_garbage(system.later(keep - 60))
    assert stored_images.get(system.container, "anna", "test", test.id) == test

    maintenance.collect_garbage(system.later(keep + 60))

    with pytest.raises(errors.NotFound):
        stored_images.get(system.container, "anna", "test", test.id)
    assert system.container.storage.list(live.blob.rpartition("/")[0]) == [live.blob]
    assert stored_images.get(system.container, "anna", "live", live.id) == live


def test_an_image_whose_removal_broke_off_is_removed_by_the_next_collection(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = stored_images.store(system.container, "anna", "test", a_picture())
    later = system.later(system.container.settings.keep_test_images + 60)

    def away() -> Any:
        raise errors.Unavailable

    monkeypatch.setattr(later.database, "write", away)
    with pytest.raises(errors.Unavailable):
        maintenance.drop_test_images(later)
    monkeypatch.undo()
    assert stored_images.get(system.container, "anna", "test", test.id) == test  # by the row the rest is found again

    maintenance.drop_test_images(later)

    with pytest.raises(errors.NotFound):
        stored_images.get(system.container, "anna", "test", test.id)
    assert system.container.storage.list(test.blob.rpartition("/")[0]) == []


def id_made_at(when: float) -> str:
    """Return a UUIDv7 of that time."""
    new_id = uuid6.uuid7().hex
    digits = f"{int(when * 1000):012x}{new_id[12:]}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# models


def with_version(system: SystemUnderTest, state: ModelState, **about: Any) -> ModelVersion:
    version = ModelVersion(
        str(uuid6.uuid7()), "anna", f"m{time.time_ns()}", "1", "", "digits", state, time.time(), **about
    )
    with system.container.database.write() as uow:
        uow.model_versions.add(version)
    return version


def test_versions_whose_check_has_no_worker_are_sent_to_one_again(system: SystemUnderTest) -> None:
    for state in (ModelState.READY, ModelState.REFUSED, ModelState.ABSENT):
        with_version(system, state)
    forgotten, in_hands = with_version(system, ModelState.CHECKING), with_version(system, ModelState.CHECKING)
    system.container.queue.locks.acquire(f"check:{in_hands.id}", 60)
    system.sent.clear()
    maintenance.recheck_models(system.container)
    assert system.sent == [("check", forgotten.id)]


def test_refused_models_are_forgotten_after_a_day(system: SystemUnderTest) -> None:
    refused, ready = with_version(system, ModelState.REFUSED), with_version(system, ModelState.READY)
    maintenance.collect_garbage(system.later(3600))
    assert versions(system) >= {refused.id, ready.id}
    maintenance.collect_garbage(system.later(100_000))
    assert refused.id not in versions(system)
    assert ready.id in versions(system)


def versions(system: SystemUnderTest) -> set[str]:
    with system.container.database.read() as uow:
        return {version.id for version in uow.model_versions.visible("anna")}


# one step that fails


def test_one_step_that_fails_does_not_keep_the_others_from_running(
    system: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = system.submit(1, deadline=time.time() + 50)

    def broken(container: Container) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(maintenance, "notify_waiting", broken)
    maintenance.reconcile(system.later(100))
    assert system.again(late).status is Status.EXPIRED


def test_maintenance_without_a_database_or_a_queue_ends_without_an_error(system: SystemUnderTest) -> None:
    away = replace(system.container, database=Database("postgresql://127.0.0.1:9/none"))
    assert maintenance.reconcile(away) == frozenset()


# the quota


def test_the_quota_refuses_what_would_pass_it_and_stores_nothing(system: SystemUnderTest) -> None:
    small = replace(system.container, settings=system.container.settings.changed(max_queued=5))
    first, _ = run(jobs.submit(small, "anna", Submission([a_picture(n) for n in range(3)])))
    with pytest.raises(errors.TooManyRequests) as caught:
        run(jobs.submit(small, "anna", Submission([a_picture(n) for n in range(3)])))
    assert caught.value.retry_after
    folder = small.storage.dated("jobs", "", time.time()).rstrip("/")
    assert small.storage.list(folder) == [first.blob]

    run(jobs.submit(small, "bert", Submission([a_picture(n) for n in range(3)])))
    system.run(first, 9)
    run(jobs.submit(small, "anna", Submission([a_picture(n) for n in range(3)])))


def test_the_quota_is_reached_by_its_last_picture_and_passed_by_the_next(system: SystemUnderTest) -> None:
    small = replace(system.container, settings=system.container.settings.changed(max_queued=5))
    run(jobs.submit(small, "anna", Submission([a_picture(n) for n in range(4)])))
    run(jobs.submit(small, "anna", Submission([a_picture(4)])))
    with pytest.raises(errors.TooManyRequests, match="5 pictures of yours wait"):
        run(jobs.submit(small, "anna", Submission([a_picture(5)])))
