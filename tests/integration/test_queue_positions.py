"""The place of a job in the queue is the one at which workers reach it."""

from __future__ import annotations

from statistics import median

import pytest

from shared.adapters.pauses import run
from shared.container import Container
from shared.domain.jobs import Job, Outcome, Status, Submission
from shared.domain.stream_entry import StreamEntry
from shared.services import jobs, queue_positions
from shared.services.queue_positions import QueuePosition
from tests.dataset_fixtures import picture
from tests.integration.test_jobs import answered, away, working


def submit(container: Container, count: int = 1, tenant: str = "anna", priority: str = "normal") -> Job:
    pictures = [picture(number) for number in range(count)]
    return run(jobs.submit(container, tenant, Submission(pictures, "digits", priority=priority)))[0]


def find(container: Container, job: Job) -> QueuePosition:
    container.lookups.clear()
    return queue_positions.find(container, jobs.get(container, job.tenant, job.id))


def assert_position(found: QueuePosition, position: int | None, seconds: float) -> None:
    assert found.position == position
    assert found.seconds == pytest.approx(seconds)


def order(container: Container, version_id: str) -> list[str]:
    """Return the ids of jobs in the order in which one worker that takes single pictures claims theirs."""
    claimed: list[str] = []
    while entries := container.queue.streams.claim(version_id, "worker", 1):
        claimed += [entry.job_id for entry in entries]
    return claimed


def test_the_position_is_the_turn_at_which_the_first_picture_is_claimed(container: Container) -> None:
    late = submit(container, 2, priority="low")
    first, second = submit(container, 3), submit(container, 2)
    urgent = submit(container, 2, priority="high")
    places = {job.id: find(container, job).position for job in (late, first, second, urgent)}
    claimed = order(container, first.version_id)
    assert places == {job_id: claimed.index(job_id) + 1 for job_id in places}


def test_of_two_tenants_the_one_with_less_is_not_behind_all_of_the_other(container: Container) -> None:
    submit(container, 9)
    small = submit(container, 2, tenant="bert")
    assert find(container, small).position == 1
    assert find(container, submit(container, tenant="bert")).position == 5  # two of either tenant before it


def test_pictures_that_run_are_before_nobody(container: Container) -> None:
    running = submit(container, 3)
    waiting = submit(container)
    assert len(container.queue.streams.claim(running.version_id, "worker", 2)) == 2
    assert find(container, waiting).position == 2


def test_the_time_follows_from_the_rate_of_all_workers(container: Container) -> None:
    submit(container, 20)
    job = submit(container, 10)
    assert find(container, job).seconds is None
    working(container, job.version_id, 4.0, 6.0)
    assert_position(find(container, job), 21, 3.0)


def test_a_running_job_has_a_time_and_no_position(container: Container) -> None:
    job = submit(container, 10)
    working(container, job.version_id, 2.0)
    entries = container.queue.streams.claim(job.version_id, "worker", 4)
    jobs.begin(container, entries)
    jobs.finish(container, answered(job, 0, 1, 2, 3), entries)
    assert_position(find(container, job), None, 3.0)


def test_the_time_of_a_running_job_counts_what_runs_beside_it(container: Container) -> None:
    job = submit(container, 2)
    submit(container, 8)
    working(container, job.version_id, 2.0)
    jobs.begin(container, container.queue.streams.claim(job.version_id, "worker", 10))
    assert_position(find(container, job), None, 3.0)  # its two, and on average half of the eight others


def test_a_new_job_gets_a_time_without_a_query(container: Container) -> None:
    working(container, submit(container, 9).version_id, 10.0)
    job = submit(container)
    with away(container.database, "read"):
        assert_position(queue_positions.find(container, job, is_new=True), None, 1.0)


def test_the_pictures_of_a_new_job_count_once_whether_the_queue_was_read_before_or_after_it(
    container: Container,
) -> None:
    waiting = submit(container, 9)
    working(container, waiting.version_id, 10.0)
    queue_positions.pace(container, waiting.version_id)
    job = submit(container, 6)
    before = queue_positions.find(container, job, is_new=True)
    container.lookups.clear()
    assert_position(queue_positions.find(container, job, is_new=True), None, 1.5)
    assert_position(before, None, 1.5)


def test_under_a_steady_backlog_the_time_is_neither_too_long_nor_too_short(container: Container) -> None:
    # In simulated time: always 5 jobs of 6 pictures, and a worker that runs 2 pictures in 0.2 s.
    now, told = 0.0, list[tuple[str, str, float, float]]()
    ended: dict[str, float] = {}
    live: list[Job] = []
    running: list[StreamEntry] = []

    def tell(stage: str, job: Job, position: QueuePosition) -> None:
        told.append((stage, job.id, now, position.seconds or 0.0))

    while len(ended) < 12:
        jobs.finish(container, [Outcome(entry.job_id, entry.position, [["one", 0.9]]) for entry in running], running)
        for job in [job for job in live if jobs.get(container, job.tenant, job.id).status.terminal]:
            ended[job.id] = now
            live.remove(job)
        for job in live:
            tell("waiting", job, find(container, job))
        while len(live) < 5:
            live.append(submit(container, 6))
            container.lookups.clear()
            tell("new", live[-1], queue_positions.find(container, live[-1], is_new=True))
        working(container, live[0].version_id, 10.0)
        running = container.queue.streams.claim(live[0].version_id, "worker", 2)
        jobs.begin(container, running)
        now += 0.2
    first = list(ended)[:5]  # they were submitted before the worker had a rate
    for stage in ("new", "waiting"):
        times = [
            (seconds, ended[job_id] - asked_at)
            for its_stage, job_id, asked_at, seconds in told
            if its_stage == stage and job_id in ended and job_id not in first
        ]
        assert len(times) >= 7
        assert abs(median((seconds - real) / real for seconds, real in times if real >= 1.0)) < 0.05


def test_without_redis_the_place_is_that_among_the_jobs_of_the_tenant(container: Container) -> None:
    submit(container, 5)
    job = submit(container)
    with away(container.queue.brief_streams, "depths"):
        assert find(container, job) == QueuePosition(6, None)


def test_a_position_is_counted_up_to_a_limit(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_positions, "MOST_COUNTED", 2)
    for _ in range(4):
        submit(container)
    job = submit(container)
    assert find(container, job).position == 3
    assert job.status is Status.QUEUED
