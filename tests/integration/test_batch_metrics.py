"""What a worker counts of its batches, jobs and pictures, and what trainers and deliverers count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.pauses import run
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain import metrics as declared
from shared.domain.jobs import Job, Submission
from shared.domain.metrics import SUM, Labels, Metric, below
from shared.domain.pictures import Limits, Picture
from shared.domain.webhooks import Attempt, Delivery, Reply
from shared.imaging import images
from shared.services import jobs, metrics, webhook_deliveries
from tests.stacks import digits
from tests.workers import checked_container, registered
from worker import consumer
from worker.process import WorkerProcess

LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)
DIGITS = ("digits", "1")


@pytest.fixture
def container(checked: Path, tmp_path: Path, queue: Queue) -> Iterator[Container]:
    with checked_container(checked, tmp_path, queue) as container:
        yield container


@pytest.fixture
def worker(container: Container) -> Iterator[WorkerProcess]:
    with registered(container) as worker:
        yield worker


def picture(number: int, cut: int | None = None) -> Picture:
    name, data = digits()[number]
    return images.check(name, data[:cut], LIMITS)


def submit(container: Container, pictures: list[Picture], **about: Any) -> Job:
    return run(jobs.submit(container, "anna", Submission(pictures, model="digits", **about)))[0]


def stored(container: Container, metric: Metric) -> dict[Labels, Any]:
    container.queue.counts.store()
    return metrics.read(container).of(metric)


def counter(container: Container, metric: Metric) -> dict[Labels, float]:
    return {labels: numbers[0] for labels, numbers in stored(container, metric).items()}


def values(container: Container, metric: Metric) -> dict[Labels, float]:
    """Return how many values were counted."""
    return {labels: below(metric, numbers)[-1] for labels, numbers in stored(container, metric).items()}


def test_a_batch_is_counted_with_its_pictures_jobs_and_times(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [*map(picture, range(9)), picture(0, cut=-30)])
    submit(container, [picture(1)], priority="high", deadline=container.now() + 600)
    consumer.consume(worker, job.version_id)
    assert counter(container, declared.PICTURES) == {
        (*DIGITS, "done", ""): 10.0, (*DIGITS, "failed", "broken_picture"): 1.0,
    }  # fmt: skip
    assert counter(container, declared.JOBS) == {(*DIGITS, "done"): 2.0}
    assert counter(container, declared.BATCHES) == {(*DIGITS, "none_left"): 1.0}
    assert stored(container, declared.BATCH_PICTURES)[DIGITS][SUM] == 11
    assert values(container, declared.WAIT_SECONDS) == {(*DIGITS, "high"): 1.0, (*DIGITS, "normal"): 10.0}
    for metric in (declared.DECODE_SECONDS, declared.FORWARD_SECONDS, declared.STORE_SECONDS):
        assert values(container, metric) == {DIGITS: 1.0}, metric.name
        assert 0 < stored(container, metric)[DIGITS][SUM] < 60, metric.name
    assert stored(container, declared.ATTEMPTS)[DIGITS] == {0: 11.0, SUM: 11.0}
    assert 500 < stored(container, declared.DEADLINE_MARGIN)[DIGITS][SUM] < 600


def test_pictures_that_run_again_say_the_attempt(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(3)])
    container.queue.streams.claim(job.version_id, "a worker that was killed", 1)
    while not jobs.get(container, "anna", job.id).status.terminal:
        consumer.consume(worker, job.version_id)
    assert stored(container, declared.ATTEMPTS)[DIGITS] == {1: 1.0, SUM: 2.0}
    assert counter(container, declared.BATCHES) == {(*DIGITS, "alone"): 1.0}
    assert values(container, declared.WAIT_SECONDS) == {}


def test_a_picture_of_a_cancelled_job_is_dropped(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(3), picture(4)])
    jobs.cancel(container, "anna", job.id)
    consumer.consume(worker, job.version_id)
    assert counter(container, declared.PICTURES) == {(*DIGITS, "dropped", ""): 2.0}
    assert counter(container, declared.JOBS) == {(*DIGITS, "cancelled"): 1.0}


def test_pictures_that_expire_in_a_running_job_have_failed_by_that(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(3), picture(4)], deadline=container.now() - 0.001)
    with container.database.write() as uow:
        uow.jobs.start({job.id}, container.now())
    consumer.consume(worker, job.version_id)
    assert counter(container, declared.PICTURES) == {(*DIGITS, "failed", "expired"): 2.0}
    assert values(container, declared.WAIT_SECONDS) == {}


def test_a_batch_whose_pictures_are_explained_in_part_is_decoded_once(
    container: Container, worker: WorkerProcess
) -> None:
    submit(container, [picture(3)])
    consumer.consume(worker, submit(container, [picture(4)], explain="").version_id)
    assert values(container, declared.DECODE_SECONDS) == {DIGITS: 1.0}
    assert values(container, declared.FORWARD_SECONDS) == {DIGITS: 2.0}


def test_a_deadline_that_passes_before_the_claim_is_missed(container: Container, worker: WorkerProcess) -> None:
    job = submit(container, [picture(3)], deadline=container.now() - 0.001)
    consumer.consume(worker, job.version_id)
    assert counter(container, declared.JOBS) == {(*DIGITS, "expired"): 1.0}
    assert stored(container, declared.DEADLINE_MARGIN)[DIGITS] == {0: 1.0, SUM: 0.0}


@pytest.mark.parametrize(
    ("problem", "attempts", "outcome"),
    [("", 1, "delivered"), ("The receiver answered 500.", 1, "retried"), ("The receiver answered 500.", 7, "failed")],
)
def test_an_attempt_to_call_back_is_counted_by_how_it_ended(
    container: Container, problem: str, attempts: int, outcome: str
) -> None:
    delivery = Delivery("job-1", "job", "anna", "https://1.1.1.1/hook", "", attempts, container.now())
    webhook_deliveries.record(container, delivery, Attempt("", 0.25, problem=problem))
    assert counter(container, declared.WEBHOOKS) == {("job", outcome): 1.0}
    assert stored(container, declared.WEBHOOK_SECONDS)[("job",)][SUM] == 0.25


def test_a_receiver_that_ends_its_callbacks_has_none_left(container: Container) -> None:
    delivery = Delivery("job-1", "job", "anna", "https://1.1.1.1/hook", "", 1, container.now())
    webhook_deliveries.record(container, delivery, Attempt("", 0.1, Reply(410, ""), "Gone."))
    assert counter(container, declared.WEBHOOKS) == {("job", "failed"): 1.0}
