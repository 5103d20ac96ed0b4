"""The queue on fakeredis and on a real server: leases, fair order over tenants, notifications, events and locks."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from shared import errors
from shared.adapters.queue import locks
from shared.adapters.queue.connection import translated_errors
from shared.adapters.queue.notifications import MAINTENANCE_QUEUE, MODEL_QUEUE, TRAINING_QUEUE, celery_app, training_app
from shared.adapters.queue.pushes import Pushed
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.domain.jobs import JobChange, Outcome, Status
from shared.domain.rejection import Verdict
from shared.domain.stream_entry import StreamEntry
from shared.errors import Unavailable
from shared.settings import Settings
from tests.stacks import until

V = "version-1"


def entries(count: int, job: str = "job") -> list[StreamEntry]:
    return [
        StreamEntry(job, number, "blob", 10 * number, 10, "classify", 5, "softmax", True) for number in range(count)
    ]


def keys(entries: list[StreamEntry]) -> list[tuple[str, int]]:
    return [(entry.job_id, entry.position) for entry in entries]


def push(queue: Queue, count: int, job: str = "job", priority: str = "normal", tenant: str = "anna") -> None:
    queue.streams.push([Pushed(V, priority, tenant, entries(count, job))])


@pytest.fixture(autouse=True)
def notifications(queue: Queue) -> list[tuple[str, ...]]:
    """The Celery tasks that the queue has sent; there is no broker."""
    sent: list[tuple[str, ...]] = []

    def call(task: str, *arguments: str) -> bool:
        sent.append((task, *arguments))
        return True

    queue.notifications.send_task = call  # type: ignore[method-assign]
    return sent


@pytest.fixture
def other(queue: Queue, request: pytest.FixtureRequest) -> Iterator[Queue]:
    """The same queue in another process, which has cached nothing."""
    settings: Settings = queue.connection.settings
    second = Queue(settings, queue.connection.redis if settings.redis_url == Settings().redis_url else None)
    second.notifications.send_task = queue.notifications.send_task  # type: ignore[method-assign]
    yield second
    if second.connection.redis is not queue.connection.redis:
        second.close()


def claim_expired(queue: Queue) -> StreamEntry:
    """Wait for the next entry whose lease has expired, and claim it."""
    end = time.monotonic() + 10
    while (entry := queue.streams.claim_expired(V, "second")) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return entry


# pushing, claiming, acknowledging


def test_an_entry_survives_being_packed() -> None:
    entry = StreamEntry("job", 3, "jobs/2023/x", 10, 20, "features", 7, "none", False, remember=True, retries=12)
    again = StreamEntry.unpack(entry.pack(), "1-0", "stream", attempts=2)
    assert again == replace(entry, id="1-0", stream="stream", attempts=2)


def test_an_entry_that_waited_through_an_upgrade_is_understood() -> None:
    packed = '["job",3,"jobs/2023/x",10,20,"features",7,"none",0]'
    assert StreamEntry.unpack({"e": packed}, "1-0", "stream") == StreamEntry(
        "job", 3, "jobs/2023/x", 10, 20, "features", 7, "none", False, id="1-0", stream="stream"
    )


def test_a_worker_of_the_version_before_can_read_every_entry() -> None:
    """It reads nine values from one field, and would count an entry that it cannot read as a failed attempt."""
    entry = StreamEntry("job", 3, "jobs/2023/x", 10, 20, "features", 7, "none", False, remember=True)
    assert len(json.loads(entry.pack()["e"])) == 9


def test_the_end_of_a_picture_is_announced_with_its_timeline_where_processes_of_the_version_before_do_not_listen(
    queue: Queue,
) -> None:
    """They could not read it, and hear of the id on the other channel."""
    outcome, timeline = Outcome("job", 0, None, "poison", "It is."), [{"worker": "w", "forward_ms": 1.5}]
    change = JobChange("job", Status.FAILED, 0, 1, 1.0, 2.0, outcome=outcome, timeline=timeline)
    (channel, _), (of_ids, message) = queue.events.messages([change])
    assert channel.rpartition(":")[2] not in ("ended", "moved")
    assert (of_ids.rpartition(":")[2], json.loads(message)) == ("moved", ["job"])
    closed = threading.Event()
    heard = queue.events.listen(closed)
    waiting = threading.Thread(target=lambda: found.update(next(heard)))
    found = dict[str, JobChange | None]()
    waiting.start()
    while not queue.connection.redis.publish(channel, queue.events.messages([change])[0][1]):
        time.sleep(0.01)  # it does not listen yet
    waiting.join(10)
    assert found == {"job": change}


def test_an_outcome_with_a_verdict_is_not_announced_since_the_version_before_could_not_read_it(queue: Queue) -> None:
    outcome = Outcome("job", 0, [["rose", 0.9]], verdict=Verdict("low_score"))
    [(_, message)] = queue.events.messages([JobChange("job", Status.DONE, 1, 0, 1.0, 2.0, outcome=outcome)])
    assert json.loads(message) == ["job"]


def test_what_is_pushed_is_claimed_once_in_order_and_gone_when_acknowledged(queue: Queue) -> None:
    push(queue, 5)

    first, second = queue.streams.claim(V, "first", 3), queue.streams.claim(V, "second", 3)

    assert keys(first) == [("job", 0), ("job", 1), ("job", 2)]
    assert keys(second) == [("job", 3), ("job", 4)]
    assert {entry.attempts for entry in first + second} == {1}
    assert queue.streams.claim(V, "third", 3) == []
    queue.conclude(first + second, [])
    assert queue.streams.present(V) == set()


def test_what_is_requeued_is_claimed_again_behind_the_others_as_if_for_the_first_time(queue: Queue) -> None:
    push(queue, 4)
    begun, *rest = queue.streams.claim(V, "first", 3)

    queue.streams.requeue(rest)

    (depth,) = queue.streams.depths([V])
    assert (depth.waiting, depth.running) == (3, 1)
    again = queue.streams.claim(V, "second", 5)
    assert keys(again) == [("job", 3), ("job", 1), ("job", 2)]
    assert {entry.attempts for entry in again} == {1}
    queue.conclude([begun, *again], [])
    assert queue.streams.present(V) == set()


def test_the_claimed_entry_is_the_pushed_one(queue: Queue) -> None:
    pushed = StreamEntry("job", 0, "jobs/2023/x", 10, 20, "features", 7, "none", False)
    queue.streams.push([Pushed(V, "normal", "anna", [pushed])])
    (claimed,) = queue.streams.claim(V, "worker", 1)
    assert replace(claimed, id="", stream="") == pushed


def test_thousands_are_pushed_in_one_call(queue: Queue) -> None:
    push(queue, 4500)
    assert len(queue.streams.claim(V, "worker", 10_000)) == 4500


def test_versions_do_not_get_each_others_work(queue: Queue) -> None:
    push(queue, 1)
    queue.streams.push([Pushed("version-2", "normal", "anna", entries(2))])
    assert queue.streams.version_ids() == ["version-1", "version-2"]
    assert len(queue.streams.claim("version-2", "worker", 9)) == 2
    assert len(queue.streams.claim(V, "worker", 9)) == 1
    assert queue.streams.claim("unknown", "worker", 9) == []


def test_acknowledging_nothing_or_twice_is_no_error(queue: Queue) -> None:
    push(queue, 1)
    claimed = queue.streams.claim(V, "worker", 1)
    for done in (claimed, claimed, []):
        queue.conclude(done, [])
    assert queue.streams.present(V) == set()


# the order of entries


def test_the_urgent_come_first(queue: Queue) -> None:
    for priority in ("low", "normal", "high"):
        push(queue, 2, job=priority, priority=priority)
    assert [entry.job_id for entry in queue.streams.claim(V, "worker", 5)] == [
        "high",
        "high",
        "normal",
        "normal",
        "low",
    ]


def test_tenants_get_the_same_share_of_a_batch(queue: Queue) -> None:
    push(queue, 1000, job="big", tenant="anna")
    push(queue, 50, job="small", tenant="bert")
    assert Counter(entry.job_id for entry in queue.streams.claim(V, "worker", 20)) == {"big": 10, "small": 10}


def test_what_one_tenant_does_not_use_others_get(queue: Queue) -> None:
    push(queue, 1000, job="big", tenant="anna")
    push(queue, 3, job="small", tenant="bert")
    push(queue, 500, job="middle", tenant="carl")
    claimed = Counter(entry.job_id for entry in queue.streams.claim(V, "worker", 30))
    assert claimed["small"] == 3
    assert sum(claimed.values()) == 30
    assert abs(claimed["big"] - claimed["middle"]) <= 1


def test_with_more_tenants_than_places_no_tenant_waits_forever(queue: Queue) -> None:
    tenants = [f"tenant-{number}" for number in range(6)]
    for tenant in tenants:
        push(queue, 100, job=tenant, tenant=tenant)
    served: set[str] = set()
    for _ in range(90):
        claimed = queue.streams.claim(V, "worker", 2)
        assert len(claimed) == 2
        served |= {entry.job_id for entry in claimed}
    assert served == set(tenants)


def test_odd_tenant_names_keep_their_streams_apart(queue: Queue) -> None:
    for tenant in ("a:b", "a", "ü", "high:x"):
        push(queue, 1, job=tenant, tenant=tenant)
    assert {entry.job_id for entry in queue.streams.claim(V, "worker", 9)} == {"a:b", "a", "ü", "high:x"}


# leases


def test_an_expired_entry_is_claimed_alone_and_says_that_it_was_delivered_before(queue: Queue) -> None:
    push(queue, 3)
    queue.streams.claim(V, "first", 3)
    assert queue.streams.claim_expired(V, "second") is None

    again = claim_expired(queue)

    assert (again.job_id, again.position, again.attempts) == ("job", 0, 2)
    assert keys([claim_expired(queue), claim_expired(queue)]) == [("job", 1), ("job", 2)]


def test_every_attempt_counts(queue: Queue) -> None:
    push(queue, 1)
    queue.streams.claim(V, "first", 1)
    assert [claim_expired(queue).attempts for _ in range(3)] == [2, 3, 4]


def test_what_is_not_claimed_does_not_expire(queue: Queue) -> None:
    push(queue, 2)
    (claimed,) = queue.streams.claim(V, "first", 1)
    assert claim_expired(queue).id == claimed.id
    assert queue.streams.claim_expired(V, "third") is None
    assert keys(queue.streams.claim(V, "third", 9)) == [("job", 1)]


def test_an_acknowledged_entry_does_not_expire(queue: Queue) -> None:
    push(queue, 2)
    done, held = queue.streams.claim(V, "first", 2)
    queue.conclude([done], [])
    assert claim_expired(queue).id == held.id
    assert queue.streams.claim_expired(V, "third") is None


def test_a_renewed_lease_keeps_and_does_not_count(queue: Queue) -> None:
    push(queue, 2)
    kept, left = queue.streams.claim(V, "first", 2)
    deadline = time.monotonic() + 10

    while (expired := queue.streams.claim_expired(V, "second")) is None:  # renewed more often than the lease is long
        assert time.monotonic() < deadline
        queue.streams.renew("first", [kept])
        time.sleep(0.02)

    assert expired.id == left.id  # the time has passed for the one that was not renewed
    queue.conclude([expired], [])  # or its lease would expire again, before or after the renewed one
    for _ in range(5):
        queue.streams.renew("first", [kept])
    again = claim_expired(queue)
    assert (again.id, again.attempts) == (kept.id, 2)


def test_has_expired_reports_entries_of_silent_workers(queue: Queue) -> None:
    push(queue, 1)
    assert not queue.streams.has_expired(V)
    claimed = queue.streams.claim(V, "first", 1)
    until(lambda: queue.streams.has_expired(V), 10)
    queue.conclude(claimed, [])
    assert not queue.streams.has_expired(V)


# a server that forgets


def flush(queue: Queue) -> None:
    queue.connection.redis.flushall()


def test_after_a_flush_the_queue_works_again(queue: Queue) -> None:
    push(queue, 2)
    queue.streams.claim(V, "worker", 1)
    flush(queue)
    assert queue.streams.claim(V, "worker", 9) == []
    assert queue.streams.present(V) == set()

    push(queue, 2, job="new")

    claimed: list[StreamEntry] = []

    def some() -> bool:
        claimed.extend(queue.streams.claim(V, "worker", 9))
        return bool(claimed)

    until(some, 5)
    assert keys(claimed) == [("new", 0), ("new", 1)]
    queue.conclude(claimed, [])


@pytest.mark.parametrize(
    "step",
    [
        lambda queue: queue.streams.claim(V, "worker", 9),
        lambda queue: queue.streams.claim_expired(V, "worker"),
        lambda queue: queue.streams.has_expired(V),
        lambda queue: queue.streams.depths(),
        lambda queue: queue.streams.backlog(V),
        lambda queue: queue.streams.present(V),
        lambda queue: queue.streams.renew("worker", []),
        lambda queue: queue.conclude([], []),
        lambda queue: queue.streams.wait_for_entries(V, "worker", 9, 0.1),
        lambda queue: queue.streams.drop_empty_streams(V),
    ],
    ids=["claim", "claim_expired", "has_expired", "depths", "backlog", "present", "renew", "ack", "watch", "drop"],
)
def test_what_another_process_pushed_after_a_flush_is_no_error_to_a_worker_from_before(
    queue: Queue, other: Queue, step: Callable[[Queue], Any]
) -> None:
    push(queue, 1)
    queue.streams.claim(V, "worker", 1)
    flush(queue)
    push(other, 2, job="new")

    step(queue)

    queue.streams.claim(V, "worker", 1)
    assert queue.streams.present(V) == {("new", 0), ("new", 1)}


def test_entries_held_across_a_flush_can_be_renewed_and_acknowledged(queue: Queue, other: Queue) -> None:
    push(queue, 1)
    held = queue.streams.claim(V, "worker", 1)
    flush(queue)
    until(lambda: time.time() * 1000 > int(held[0].id.split("-")[0]) + 2, 5)  # ids are milliseconds
    push(other, 1, job="new")
    queue.streams.renew("worker", held)
    queue.conclude(held, [])
    assert queue.streams.present(V) == {("new", 0)}


# depths and counts


def test_depths_show_what_waits_what_runs_and_since_when(queue: Queue) -> None:
    before = time.time()
    push(queue, 5)
    push(queue, 2, priority="high", tenant="bert")
    queue.streams.claim(V, "worker", 3)

    depths = {(depth.priority, depth.tenant): depth for depth in queue.streams.depths()}

    high, normal = depths["high", "bert"], depths["normal", "anna"]
    assert (high.version_id, high.waiting, high.running) == (V, 0, 2)
    assert (normal.waiting, normal.running) == (4, 1)
    assert normal.oldest == pytest.approx(before, abs=60)


def test_what_a_tenant_has_waiting_for_a_version_is_counted_until_it_is_done_with(queue: Queue) -> None:
    push(queue, 5)
    push(queue, 2, priority="high")
    push(queue, 9, tenant="bert")
    queue.streams.push([Pushed("version-2", "normal", "anna", entries(7))])
    claimed = [entry for entry in queue.streams.claim(V, "worker", 4) if ":anna" in entry.stream]
    assert queue.streams.count_unfinished(V, "anna") == 7
    queue.conclude(claimed, [])
    assert queue.streams.count_unfinished(V, "anna") == 7 - len(claimed)
    assert queue.streams.count_unfinished(V, "carla") == 0


def test_names_of_workers_that_are_gone_are_forgotten_unless_they_hold_something(queue: Queue) -> None:
    push(queue, 2)
    queue.streams.claim(V, "holding", 1)
    queue.conclude(queue.streams.claim(V, "done", 1), [])
    (stream,) = queue.streams.groups.names(V)

    queue.streams.drop_gone_consumers(V, idle=60)
    assert {consumer["name"] for consumer in queue.connection.redis.xinfo_consumers(stream, "workers")} == {
        "holding",
        "done",
    }
    queue.streams.drop_gone_consumers(V, idle=-60)
    assert {consumer["name"] for consumer in queue.connection.redis.xinfo_consumers(stream, "workers")} == {"holding"}


def test_a_backlog_is_what_is_not_claimed(queue: Queue) -> None:
    assert not queue.streams.backlog(V)
    push(queue, 2)
    assert queue.streams.backlog(V)
    queue.streams.claim(V, "worker", 2)
    assert not queue.streams.backlog(V)


def test_present_is_everything_claimed_or_not(queue: Queue) -> None:
    push(queue, 6000)
    push(queue, 1, job="low", priority="low", tenant="bert")
    claimed = queue.streams.claim(V, "worker", 2)
    queue.conclude(claimed[:1], [])
    assert queue.streams.present(V) == {("job", number) for number in range(1, 6000)} | {("low", 0)}


def test_empty_streams_are_dropped_and_others_stay(queue: Queue) -> None:
    push(queue, 1, tenant="done")
    push(queue, 1, tenant="held")
    for entry in queue.streams.claim(V, "worker", 2):
        if entry.stream.endswith("done"):
            queue.conclude([entry], [])

    queue.streams.drop_empty_streams(V, idle=600)
    assert {depth.tenant for depth in queue.streams.depths()} == {"done", "held"}
    queue.streams.drop_empty_streams(V, idle=-60)
    assert {depth.tenant for depth in queue.streams.depths()} == {"held"}

    push(queue, 1, job="again", tenant="done")
    assert keys(queue.streams.claim(V, "worker", 9)) == [("again", 0)]


# notifications


def test_a_notification_is_sent_once_until_it_is_cleared(queue: Queue, notifications: list[tuple[str, ...]]) -> None:
    for number in range(5):
        push(queue, 1, job=f"job-{number}")
    assert notifications == [("drain", V)]
    assert queue.notifications.is_pending(V)

    queue.notifications.clear(V)
    assert not queue.notifications.is_pending(V)
    push(queue, 1)
    assert notifications == [("drain", V)] * 2


def test_every_version_has_a_notification_of_its_own(queue: Queue, notifications: list[tuple[str, ...]]) -> None:
    push(queue, 1)
    queue.streams.push([Pushed("version-2", "normal", "anna", entries(1))])
    assert notifications == [("drain", V), ("drain", "version-2")]


def test_a_notification_that_could_not_be_sent_counts_as_not_sent(queue: Queue) -> None:
    queue.notifications.send_task = lambda task, *arguments: False  # type: ignore[method-assign]
    push(queue, 1)
    assert not queue.notifications.is_pending(V)


@pytest.fixture
def broker_queue(valkey: str) -> Iterator[Queue]:
    """A queue on a real server, which is also the broker of its notifications."""
    queue = Queue(Settings(redis_url=valkey, prefix=f"test-{uuid.uuid4().hex[:8]}:"))
    yield queue
    queue.close()


def sent(settings: Settings, url: str) -> dict[str, list[Any]]:
    """Return Celery queue -> first arguments of the tasks that wait in it, in the database of this URL."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        names = [name for name in client.scan_iter(f"{settings.prefix}*") if client.type(name) == "list"]
        waiting = {name: [json.loads(text) for text in client.lrange(name, 0, -1)] for name in names}
    return {
        name.removeprefix(settings.broker_prefix): [json.loads(base64.b64decode(each["body"]))[0][0] for each in tasks]
        for name, tasks in waiting.items()
    }


@pytest.mark.redis
@pytest.mark.parametrize("task", ["train", "load"])
def test_a_trainer_is_called_in_the_database_for_trainings_and_nowhere_else(broker_queue: Queue, task: str) -> None:
    settings = broker_queue.connection.settings
    assert broker_queue.notifications.send_task(task, "training-1")
    assert sent(settings, settings.training_broker_url) == {TRAINING_QUEUE: ["training-1"]}
    assert sent(settings, settings.redis_url) == {}


@pytest.mark.redis
def test_workers_and_maintenance_are_called_in_the_main_database_and_nowhere_else(broker_queue: Queue) -> None:
    settings = broker_queue.connection.settings
    assert broker_queue.notifications.send_task("drain", V)
    assert broker_queue.notifications.send_task("deliver", "job-1")
    assert sent(settings, settings.redis_url) == {MODEL_QUEUE: [V], MAINTENANCE_QUEUE: ["job-1"]}
    assert sent(settings, settings.training_broker_url) == {}


def test_each_broker_has_its_own_queues_and_no_others() -> None:
    workers, trainers = celery_app(Settings()), training_app(Settings())
    assert {queue.name for queue in workers.conf.task_queues} == {MODEL_QUEUE, MAINTENANCE_QUEUE}
    assert [queue.name for queue in trainers.conf.task_queues] == [TRAINING_QUEUE]
    assert (workers.conf.broker_url, trainers.conf.broker_url) == (
        "redis://127.0.0.1:6379/0",
        "redis://127.0.0.1:6379/1",
    )


class Watcher(threading.Thread):
    """A worker that watches an emptied stream."""

    def __init__(self, queue: Queue, other: Queue) -> None:
        super().__init__()
        self.entries: list[StreamEntry] = []
        self._queue = queue
        push(queue, 1)
        queue.conclude(queue.streams.claim(V, "worker", 1), [])
        queue.notifications.clear(V)
        self.start()
        until(lambda: other.notifications.is_pending(V), 10)

    def run(self) -> None:
        self.entries = self._queue.streams.wait_for_entries(V, "worker", 9, 20)


def test_watching_returns_what_arrives(queue: Queue, other: Queue) -> None:
    watcher = Watcher(queue, other)
    push(other, 1, job="new")
    watcher.join(10)
    assert keys(watcher.entries) == [("new", 0)]


def test_what_a_watcher_takes_needs_no_notification(
    queue: Queue, other: Queue, notifications: list[tuple[str, ...]]
) -> None:
    watcher = Watcher(queue, other)
    notifications.clear()
    send = other.notifications.send_if_first

    def send_late(version_id: str, first: bool) -> bool:
        watcher.join(10)  # as it nearly always happens between processes: the watcher is faster than a round trip
        return send(version_id, first)

    other.notifications.send_if_first = send_late  # type: ignore[method-assign]
    push(other, 1, job="new")

    watcher.join(10)
    assert keys(watcher.entries) == [("new", 0)]
    assert notifications == []


@pytest.fixture
def with_single(queue: Queue, other: Queue, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue that knows that the version has one stream, in which a picture of the job `new` waits."""
    monkeypatch.setattr("shared.adapters.queue.streams.FRESH", 60.0)
    push(queue, 1)
    queue.conclude(queue.streams.claim(V, "worker", 1), [])
    push(other, 1, job="new")
    assert queue.streams.has_single(V)
    return queue


def test_what_a_watcher_takes_is_one_round_trip_and_others_are_called_soon_after(
    with_single: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = with_single
    trips = list[str]()

    def count(name: str) -> None:
        do = getattr(queue.connection.redis, name)

        def counted(*about: Any, **more: Any) -> Any:
            trips.append(name)
            return do(*about, **more)

        monkeypatch.setattr(queue.connection.redis, name, counted)

    count("pipeline")
    count("execute_command")

    taken = queue.streams.wait_for_entries(V, "worker", 9, 20, quiet=0.05)

    assert (keys(taken), trips) == ([("new", 0)], ["pipeline"])
    until(lambda: not queue.notifications.is_pending(V), 10)


def test_pictures_that_a_watcher_has_claimed_are_not_dropped_for_the_error_of_another_command(
    with_single: Queue,
) -> None:
    queue = with_single
    tenants = queue.connection.key("lanes", V)
    queue.connection.redis.delete(tenants)
    queue.connection.redis.set(tenants, "no set")
    assert keys(queue.streams.wait_for_entries(V, "worker", 9, 1)) == [("new", 0)]
    with pytest.raises(errors.Unavailable):
        queue.streams.wait_for_entries(V, "worker", 9, 1)


def test_watching_hears_of_a_tenant_that_was_never_there_before(queue: Queue, other: Queue) -> None:
    watcher = Watcher(queue, other)
    push(other, 1, job="new", tenant="newcomer", priority="high")
    watcher.join(10)
    assert keys(watcher.entries) == [("new", 0)]


def test_watching_ends_with_nothing_when_nothing_comes(queue: Queue) -> None:
    push(queue, 1)
    queue.streams.claim(V, "worker", 1)
    assert queue.streams.wait_for_entries(V, "worker", 9, 0.1) == []
    assert not queue.notifications.is_pending(V)


def test_watching_is_given_up_when_another_notification_waits(queue: Queue) -> None:
    push(queue, 1)
    queue.streams.claim(V, "worker", 1)
    queue.connection.redis.rpush(
        f"{queue.connection.settings.broker_prefix}{MODEL_QUEUE}", "a task for another version"
    )
    over = threading.Event()

    def watch() -> None:
        queue.streams.wait_for_entries(V, "worker", 9, 60)
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    assert over.wait(20)


# events


@pytest.fixture
def waiters(queue: Queue) -> Iterator[Waiters]:
    waiters = Waiters(queue)
    yield waiters
    waiters.close()


def test_an_event_wakes_the_requests_that_wait_for_that_job(waiters: Waiters, other: Queue) -> None:
    with (
        waiters.subscribe("mine") as mine,
        waiters.subscribe("mine") as also_mine,
        waiters.subscribe("another") as another,
    ):

        def woken() -> bool:
            other.events.publish(["mine"], ["moved"])  # again and again: the subscriber may not be there yet
            return mine.wait(0.05)

        until(woken, 10)
        assert also_mine.wait(5)
        assert not another.wait(0)


def test_progress_wakes_too(waiters: Waiters, other: Queue) -> None:
    with waiters.subscribe("mine") as mine:

        def woken() -> bool:
            other.events.publish([], ["mine"])
            return mine.wait(0.05)

        until(woken, 10)


def test_a_ticket_whose_time_runs_out_says_so(waiters: Waiters) -> None:
    with waiters.subscribe("mine") as mine:
        assert not mine.wait(0.01)
        mine.wake(None)
        assert mine.wait(0)
        assert not mine.wait(0)


def test_closing_the_waiting_room_ends_its_threads(queue: Queue) -> None:
    before = set(threading.enumerate())
    waiters = Waiters(queue)
    waiters.listen()
    assert len(set(threading.enumerate()) - before) == 3
    waiters.close()
    assert set(threading.enumerate()) <= before


# workers


def test_workers_are_known_until_they_leave_or_fall_silent(queue: Queue) -> None:
    queue.workers.heartbeat("silent", {"device": "cpu"}, 0.2)
    queue.workers.heartbeat("alive", {"device": "cpu", "models": []}, 60)
    queue.workers.heartbeat("leaving", {}, 60)
    assert {worker["id"] for worker in queue.workers.list()} >= {"alive", "leaving"}

    queue.workers.deregister("leaving")

    until(lambda: [worker["id"] for worker in queue.workers.list()] == ["alive"], 10)
    assert queue.workers.list() == [{"id": "alive", "device": "cpu", "models": []}]
    assert queue.connection.redis.hkeys(queue.connection.key("workers", "about")) == ["alive"]


def test_the_last_word_of_a_worker_counts(queue: Queue) -> None:
    queue.workers.heartbeat("worker", {"pictures": 1}, 60)
    queue.workers.heartbeat("worker", {"pictures": 2}, 60)
    assert queue.workers.list() == [{"id": "worker", "pictures": 2}]


def test_a_lock_has_one_holder_that_may_renew_it(queue: Queue) -> None:
    assert not queue.locks.is_held("check:1")
    first = queue.locks.acquire("check:1", 60)
    assert first
    assert queue.locks.is_held("check:1")
    assert queue.locks.acquire("check:1", 60) is None
    assert first.renew()
    assert queue.locks.acquire("check:2", 60)
    first.release()
    assert queue.locks.acquire("check:1", 60)


def test_a_lock_whose_holder_is_silent_expires_and_is_not_taken_back(queue: Queue) -> None:
    first = queue.locks.acquire("check:1", 0.1)
    assert first
    until(lambda: queue.locks.acquire("check:1", 60) is not None, 10)
    assert not first.renew()
    first.release()
    assert queue.locks.is_held("check:1"), "the second holder's lock was released by the first"


def test_a_lock_that_a_flush_forgot_is_taken_again_by_its_holder(queue: Queue) -> None:
    first = queue.locks.acquire("check:1", 60)
    assert first
    queue.connection.redis.delete(queue.connection.key("lock", "check:1"))
    assert first.renew()
    assert queue.locks.acquire("check:1", 60) is None


def test_a_lock_is_renewed_while_the_block_lasts_and_free_afterwards(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed, real, times = threading.Event(), locks.Lock.renew, []

    def renew(lock: locks.Lock) -> bool:
        times.append(lock)
        if len(times) > 2:
            renewed.set()
        return real(lock)

    monkeypatch.setattr(locks.Lock, "renew", renew)
    with queue.locks.renewed("one") as held:
        assert held
        assert renewed.wait(10)
        assert queue.locks.is_held("one")
        assert not held.lost.is_set()
    assert not queue.locks.is_held("one")


def test_a_lost_lock_is_reported(queue: Queue) -> None:
    with queue.locks.renewed("one") as held:
        assert held
        queue.connection.redis.set(queue.connection.key("lock", "one"), "another holder")
        assert held.lost.wait(10)
    assert queue.locks.is_held("one")


def test_a_renewed_lock_is_held_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than a busy machine lets the thread that renews it wait.
    monkeypatch.setattr(queue.locks, "_settings", queue.connection.settings.changed(lease=60.0))
    with queue.locks.renewed("one") as held:
        with queue.locks.renewed("one") as another:
            assert held
            assert another is None
        assert queue.locks.is_held("one")


def test_a_queue_that_goes_away_costs_no_work(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise errors.Unavailable("The queue does not answer.")

    with queue.locks.renewed("one") as held:
        monkeypatch.setattr(locks.Lock, "release", away)
        assert held


def test_a_redis_that_is_away_is_named() -> None:
    queue = Queue(Settings(redis_url="redis://127.0.0.1:9/0"))
    for step in (
        queue.ping,
        queue.streams.version_ids,
        queue.workers.list,
        lambda: queue.streams.claim(V, "w", 1),
        lambda: push(queue, 1),
    ):
        with pytest.raises(Unavailable):
            step()
    queue.events.publish(["job"])  # only a hint
    queue.close()


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            "MISCONF Errors writing to the AOF file: No space left on device",
            errors.StorageFull,
            "disk of Redis is full",
        ),
        ("READONLY You can't write against a read only replica.", errors.Unavailable, "does not answer"),
    ],
)
def test_what_redis_refuses_is_said_in_our_words(words: str, kind: type[errors.Unavailable], message: str) -> None:
    with pytest.raises(kind, match=message), translated_errors():
        raise redis.ResponseError(words)
