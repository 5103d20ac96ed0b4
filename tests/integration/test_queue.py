"""The batch queue, on fakeredis and on a real server: nothing is held twice, nothing is lost, nobody starves."""

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

from shared.errors import Unavailable
from shared.queue import BELLS, HOUSE, TRAININGS, Entry, Queue, celery_app, training_app
from shared.settings import Settings
from shared.waiting import Waiters
from tests.stacks import until

V = "version-1"


def entries(count: int, job: str = "job") -> list[Entry]:
    return [Entry(job, number, "blob", 10 * number, 10, "classify", 5, "softmax", True) for number in range(count)]


def keys(found: list[Entry]) -> list[tuple[str, int]]:
    return [(entry.job_id, entry.position) for entry in found]


def push(queue: Queue, count: int, job: str = "job", priority: str = "normal", tenant: str = "anna") -> None:
    queue.push(V, priority, tenant, entries(count, job))


@pytest.fixture(autouse=True)
def bells(queue: Queue) -> list[tuple[str, ...]]:
    """The Celery tasks that were sent; there is no broker here."""
    sent: list[tuple[str, ...]] = []

    def call(task: str, *arguments: str) -> bool:
        sent.append((task, *arguments))
        return True

    queue.call = call  # type: ignore[method-assign]
    return sent


@pytest.fixture
def other(queue: Queue, request: pytest.FixtureRequest) -> Iterator[Queue]:
    """The same queue as another process sees it: it remembers nothing of what the first has made."""
    settings: Settings = queue._settings
    second = Queue(settings, queue._redis if settings.redis_url == Settings().redis_url else None)
    second.call = queue.call  # type: ignore[method-assign]
    yield second
    if second._redis is not queue._redis:
        second.close()


def lapsed(queue: Queue) -> Entry:
    """The next lapsed entry, waiting until there is one."""
    end = time.monotonic() + 10
    while (entry := queue.claim_lapsed(V, "second")) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    return entry


# the way in and out


def test_an_entry_survives_being_packed() -> None:
    entry = Entry("job", 3, "jobs/2023/x", 10, 20, "features", 7, "none", False, remember=True)
    again = Entry.unpack(entry.pack(), "1-0", "lane", attempts=2)
    assert again == replace(entry, id="1-0", lane="lane", attempts=2)


def test_an_entry_that_waited_through_an_upgrade_is_understood() -> None:
    packed = '["job",3,"jobs/2023/x",10,20,"features",7,"none",0]'
    assert Entry.unpack({"e": packed}, "1-0", "lane") == Entry(
        "job", 3, "jobs/2023/x", 10, 20, "features", 7, "none", False, id="1-0", lane="lane"
    )


def test_a_worker_of_the_version_before_can_read_every_entry() -> None:
    """It reads nine values from one field, and would count an entry that it cannot read as a death."""
    entry = Entry("job", 3, "jobs/2023/x", 10, 20, "features", 7, "none", False, remember=True)
    assert len(json.loads(entry.pack()["e"])) == 9


def test_what_is_pushed_is_claimed_once_in_order_and_gone_when_acknowledged(queue: Queue) -> None:
    push(queue, 5)

    first, second = queue.claim(V, "first", 3), queue.claim(V, "second", 3)

    assert keys(first) == [("job", 0), ("job", 1), ("job", 2)]
    assert keys(second) == [("job", 3), ("job", 4)]
    assert {entry.attempts for entry in first + second} == {1}
    assert queue.claim(V, "third", 3) == []
    queue.acknowledge(first + second)
    assert queue.present(V) == set()


def test_the_claimed_entry_is_the_pushed_one(queue: Queue) -> None:
    pushed = Entry("job", 0, "jobs/2023/x", 10, 20, "features", 7, "none", False)
    queue.push(V, "normal", "anna", [pushed])
    (claimed,) = queue.claim(V, "worker", 1)
    assert replace(claimed, id="", lane="") == pushed


def test_thousands_are_pushed_in_one_call(queue: Queue) -> None:
    push(queue, 4500)
    assert len(queue.claim(V, "worker", 10_000)) == 4500


def test_versions_do_not_get_each_others_work(queue: Queue) -> None:
    push(queue, 1)
    queue.push("version-2", "normal", "anna", entries(2))
    assert queue.version_ids() == ["version-1", "version-2"]
    assert len(queue.claim("version-2", "worker", 9)) == 2
    assert len(queue.claim(V, "worker", 9)) == 1
    assert queue.claim("unknown", "worker", 9) == []


def test_acknowledging_nothing_or_twice_is_no_error(queue: Queue) -> None:
    push(queue, 1)
    claimed = queue.claim(V, "worker", 1)
    for done in (claimed, claimed, []):
        queue.acknowledge(done)
    assert queue.present(V) == set()


# who comes first


def test_the_urgent_come_first(queue: Queue) -> None:
    for priority in ("low", "normal", "high"):
        push(queue, 2, job=priority, priority=priority)
    assert [entry.job_id for entry in queue.claim(V, "worker", 5)] == ["high", "high", "normal", "normal", "low"]


def test_tenants_get_the_same_share_of_a_batch(queue: Queue) -> None:
    push(queue, 1000, job="big", tenant="anna")
    push(queue, 50, job="small", tenant="bert")
    assert Counter(entry.job_id for entry in queue.claim(V, "worker", 20)) == {"big": 10, "small": 10}


def test_what_one_tenant_does_not_use_others_get(queue: Queue) -> None:
    push(queue, 1000, job="big", tenant="anna")
    push(queue, 3, job="small", tenant="bert")
    push(queue, 500, job="middle", tenant="carl")
    claimed = Counter(entry.job_id for entry in queue.claim(V, "worker", 30))
    assert claimed["small"] == 3
    assert sum(claimed.values()) == 30
    assert abs(claimed["big"] - claimed["middle"]) <= 1


def test_with_more_tenants_than_places_nobody_waits_forever(queue: Queue) -> None:
    tenants = [f"tenant-{number}" for number in range(6)]
    for tenant in tenants:
        push(queue, 100, job=tenant, tenant=tenant)
    served: set[str] = set()
    for _ in range(90):
        claimed = queue.claim(V, "worker", 2)
        assert len(claimed) == 2
        served |= {entry.job_id for entry in claimed}
    assert served == set(tenants)


def test_odd_tenant_names_keep_their_lanes_apart(queue: Queue) -> None:
    for tenant in ("a:b", "a", "ü", "high:x"):
        push(queue, 1, job=tenant, tenant=tenant)
    assert {entry.job_id for entry in queue.claim(V, "worker", 9)} == {"a:b", "a", "ü", "high:x"}


# leases


def test_a_lapsed_entry_is_claimed_alone_and_says_that_it_was_delivered_before(queue: Queue) -> None:
    push(queue, 3)
    queue.claim(V, "first", 3)
    assert queue.claim_lapsed(V, "second") is None

    again = lapsed(queue)

    assert (again.job_id, again.position, again.attempts) == ("job", 0, 2)
    assert keys([lapsed(queue), lapsed(queue)]) == [("job", 1), ("job", 2)]


def test_every_death_counts(queue: Queue) -> None:
    push(queue, 1)
    queue.claim(V, "first", 1)
    assert [lapsed(queue).attempts for _ in range(3)] == [2, 3, 4]


def test_what_is_not_claimed_cannot_lapse(queue: Queue) -> None:
    push(queue, 2)
    (claimed,) = queue.claim(V, "first", 1)
    assert lapsed(queue).id == claimed.id
    assert queue.claim_lapsed(V, "third") is None
    assert keys(queue.claim(V, "third", 9)) == [("job", 1)]


def test_an_acknowledged_entry_does_not_lapse(queue: Queue) -> None:
    push(queue, 2)
    done, held = queue.claim(V, "first", 2)
    queue.acknowledge([done])
    assert lapsed(queue).id == held.id
    assert queue.claim_lapsed(V, "third") is None


def test_a_renewed_lease_keeps_and_does_not_count(queue: Queue) -> None:
    push(queue, 2)
    kept, left = queue.claim(V, "first", 2)
    until_lapsed = time.monotonic() + 10

    while (found := queue.claim_lapsed(V, "second")) is None:  # renewed more often than the lease is long
        assert time.monotonic() < until_lapsed
        queue.renew("first", [kept])
        time.sleep(0.02)

    assert found.id == left.id  # the time has passed for the one that was not renewed
    for _ in range(5):
        queue.renew("first", [kept])
    again = lapsed(queue)
    assert (again.id, again.attempts) == (kept.id, 2)


def test_has_lapsed_tells_of_silent_workers(queue: Queue) -> None:
    push(queue, 1)
    assert not queue.has_lapsed(V)
    claimed = queue.claim(V, "first", 1)
    until(lambda: queue.has_lapsed(V), 10)
    queue.acknowledge(claimed)
    assert not queue.has_lapsed(V)


# a server that forgets


def flush(queue: Queue) -> None:
    queue._redis.flushall()


def test_after_a_flush_the_queue_works_again(queue: Queue) -> None:
    push(queue, 2)
    queue.claim(V, "worker", 1)
    flush(queue)
    assert queue.claim(V, "worker", 9) == []
    assert queue.present(V) == set()

    push(queue, 2, job="new")

    claimed: list[Entry] = []
    until(lambda: bool(claimed.extend(queue.claim(V, "worker", 9)) or claimed), 5)
    assert keys(claimed) == [("new", 0), ("new", 1)]
    queue.acknowledge(claimed)


@pytest.mark.parametrize(
    "step",
    [
        lambda queue: queue.claim(V, "worker", 9),
        lambda queue: queue.claim_lapsed(V, "worker"),
        lambda queue: queue.has_lapsed(V),
        lambda queue: queue.depths(),
        lambda queue: queue.backlog(V),
        lambda queue: queue.present(V),
        lambda queue: queue.renew("worker", []),
        lambda queue: queue.acknowledge([]),
        lambda queue: queue.watch(V, "worker", 9, 0.1),
        lambda queue: queue.drop_empty_lanes(V),
    ],
    ids=["claim", "claim_lapsed", "has_lapsed", "depths", "backlog", "present", "renew", "ack", "watch", "drop"],
)
def test_what_another_process_pushed_after_a_flush_is_no_error_to_a_worker_from_before(
    queue: Queue, other: Queue, step: Callable[[Queue], Any]
) -> None:
    push(queue, 1)
    queue.claim(V, "worker", 1)
    flush(queue)
    push(other, 2, job="new")

    step(queue)

    queue.claim(V, "worker", 1)
    assert queue.present(V) == {("new", 0), ("new", 1)}


def test_entries_held_across_a_flush_can_be_renewed_and_acknowledged(queue: Queue, other: Queue) -> None:
    push(queue, 1)
    held = queue.claim(V, "worker", 1)
    flush(queue)
    until(lambda: time.time() * 1000 > int(held[0].id.split("-")[0]) + 2, 5)  # ids are milliseconds
    push(other, 1, job="new")
    queue.renew("worker", held)
    queue.acknowledge(held)
    assert queue.present(V) == {("new", 0)}


# looking at it


def test_depths_tell_what_waits_what_runs_and_since_when(queue: Queue) -> None:
    before = time.time()
    push(queue, 5)
    push(queue, 2, priority="high", tenant="bert")
    queue.claim(V, "worker", 3)

    found = {(depth.priority, depth.tenant): depth for depth in queue.depths()}

    high, normal = found["high", "bert"], found["normal", "anna"]
    assert (high.version_id, high.waiting, high.running) == (V, 0, 2)
    assert (normal.waiting, normal.running) == (4, 1)
    assert normal.oldest == pytest.approx(before, abs=60)


def test_what_a_tenant_has_waiting_for_a_version_is_counted_until_it_is_done_with(queue: Queue) -> None:
    push(queue, 5)
    push(queue, 2, priority="high")
    push(queue, 9, tenant="bert")
    queue.push("version-2", "normal", "anna", entries(7))
    claimed = [entry for entry in queue.claim(V, "worker", 4) if ":anna" in entry.lane]
    assert queue.held(V, "anna") == 7
    queue.acknowledge(claimed)
    assert queue.held(V, "anna") == 7 - len(claimed)
    assert queue.held(V, "nobody") == 0


def test_names_of_workers_that_are_gone_are_forgotten_unless_they_hold_something(queue: Queue) -> None:
    push(queue, 2)
    queue.claim(V, "holding", 1)
    queue.acknowledge(queue.claim(V, "done", 1))
    (lane,) = queue._all_lanes(V)

    queue.drop_gone_consumers(V, idle=60)
    assert {consumer["name"] for consumer in queue._redis.xinfo_consumers(lane, "workers")} == {"holding", "done"}
    queue.drop_gone_consumers(V, idle=-60)
    assert {consumer["name"] for consumer in queue._redis.xinfo_consumers(lane, "workers")} == {"holding"}


def test_a_backlog_is_what_nobody_has_claimed(queue: Queue) -> None:
    assert not queue.backlog(V)
    push(queue, 2)
    assert queue.backlog(V)
    queue.claim(V, "worker", 2)
    assert not queue.backlog(V)


def test_present_is_everything_claimed_or_not(queue: Queue) -> None:
    push(queue, 6000)
    push(queue, 1, job="low", priority="low", tenant="bert")
    claimed = queue.claim(V, "worker", 2)
    queue.acknowledge(claimed[:1])
    assert queue.present(V) == {("job", number) for number in range(1, 6000)} | {("low", 0)}


def test_empty_lanes_are_dropped_and_others_stay(queue: Queue) -> None:
    push(queue, 1, tenant="done")
    push(queue, 1, tenant="held")
    for entry in queue.claim(V, "worker", 2):
        if entry.lane.endswith("done"):
            queue.acknowledge([entry])

    queue.drop_empty_lanes(V, idle=600)
    assert {depth.tenant for depth in queue.depths()} == {"done", "held"}
    queue.drop_empty_lanes(V, idle=-60)
    assert {depth.tenant for depth in queue.depths()} == {"held"}

    push(queue, 1, job="again", tenant="done")
    assert keys(queue.claim(V, "worker", 9)) == [("again", 0)]


# the bell


def test_the_bell_is_rung_once_until_it_is_answered(queue: Queue, bells: list[tuple[str, ...]]) -> None:
    for number in range(5):
        push(queue, 1, job=f"job-{number}")
    assert bells == [("drain", V)]
    assert queue.has_bell(V)

    queue.answer(V)
    assert not queue.has_bell(V)
    push(queue, 1)
    assert bells == [("drain", V)] * 2


def test_every_version_has_a_bell_of_its_own(queue: Queue, bells: list[tuple[str, ...]]) -> None:
    push(queue, 1)
    queue.push("version-2", "normal", "anna", entries(1))
    assert bells == [("drain", V), ("drain", "version-2")]


def test_a_bell_that_could_not_be_sent_is_not_taken_for_rung(queue: Queue) -> None:
    queue.call = lambda task, *arguments: False  # type: ignore[method-assign]
    push(queue, 1)
    assert not queue.has_bell(V)


@pytest.fixture
def ringing(valkey: str) -> Iterator[Queue]:
    """A queue on a real server, whose bells ring."""
    made = Queue(Settings(redis_url=valkey, prefix=f"test-{uuid.uuid4().hex[:8]}:"))
    yield made
    made.close()


def sent(settings: Settings, url: str) -> dict[str, list[Any]]:
    """Celery queue -> the first arguments of the tasks that wait in it, in the database of this URL."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        names = [name for name in client.scan_iter(f"{settings.prefix}*") if client.type(name) == "list"]
        waiting = {name: [json.loads(text) for text in client.lrange(name, 0, -1)] for name in names}
    return {
        name.removeprefix(settings.broker_prefix): [json.loads(base64.b64decode(each["body"]))[0][0] for each in tasks]
        for name, tasks in waiting.items()
    }


@pytest.mark.redis
@pytest.mark.parametrize("task", ["train", "load"])
def test_a_trainer_is_called_in_the_database_for_trainings_and_nowhere_else(ringing: Queue, task: str) -> None:
    settings = ringing._settings
    assert ringing.call(task, "training-1")
    assert sent(settings, settings.training_broker_url) == {TRAININGS: ["training-1"]}
    assert sent(settings, settings.redis_url) == {}


@pytest.mark.redis
def test_workers_and_the_housekeeper_are_called_in_the_main_database_and_nowhere_else(ringing: Queue) -> None:
    settings = ringing._settings
    assert ringing.call("drain", V)
    assert ringing.call("deliver", "job-1")
    assert sent(settings, settings.redis_url) == {BELLS: [V], HOUSE: ["job-1"]}
    assert sent(settings, settings.training_broker_url) == {}


def test_each_broker_has_its_own_queues_and_no_others() -> None:
    workers, trainers = celery_app(Settings()), training_app(Settings())
    assert {queue.name for queue in workers.conf.task_queues} == {BELLS, HOUSE}
    assert [queue.name for queue in trainers.conf.task_queues] == [TRAININGS]
    assert (workers.conf.broker_url, trainers.conf.broker_url) == ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/1")


class Watcher(threading.Thread):
    """A worker that watches an emptied stream."""

    def __init__(self, queue: Queue, other: Queue) -> None:
        super().__init__()
        self.found: list[Entry] = []
        self._queue = queue
        push(queue, 1)
        queue.acknowledge(queue.claim(V, "worker", 1))
        queue.answer(V)
        self.start()
        until(lambda: other.has_bell(V), 10)

    def run(self) -> None:
        self.found = self._queue.watch(V, "worker", 9, 20)


def test_watching_returns_what_arrives(queue: Queue, other: Queue) -> None:
    watcher = Watcher(queue, other)
    push(other, 1, job="new")
    watcher.join(10)
    assert keys(watcher.found) == [("new", 0)]


def test_what_a_watcher_takes_needs_no_bell(queue: Queue, other: Queue, bells: list[tuple[str, ...]]) -> None:
    watcher = Watcher(queue, other)
    bells.clear()
    ring = other.ring

    def slow_ring(version_id: str) -> None:
        watcher.join(10)  # as it nearly always happens between processes: the watcher is faster than a round trip
        ring(version_id)

    other.ring = slow_ring  # type: ignore[method-assign]
    push(other, 1, job="new")

    watcher.join(10)
    assert keys(watcher.found) == [("new", 0)]
    assert bells == []


def test_watching_hears_of_a_tenant_that_was_never_there_before(queue: Queue, other: Queue) -> None:
    watcher = Watcher(queue, other)
    push(other, 1, job="new", tenant="newcomer", priority="high")
    watcher.join(10)
    assert keys(watcher.found) == [("new", 0)]


def test_watching_ends_with_nothing_when_nothing_comes(queue: Queue) -> None:
    push(queue, 1)
    queue.claim(V, "worker", 1)
    assert queue.watch(V, "worker", 9, 0.1) == []
    assert not queue.has_bell(V)


def test_watching_is_given_up_when_another_bell_waits(queue: Queue) -> None:
    push(queue, 1)
    queue.claim(V, "worker", 1)
    queue._redis.rpush(f"{queue._settings.broker_prefix}{BELLS}", "a task for another version")
    over = threading.Event()
    threading.Thread(target=lambda: (queue.watch(V, "worker", 9, 60), over.set()), daemon=True).start()
    assert over.wait(20)


# announcements


@pytest.fixture
def waiters(queue: Queue) -> Iterator[Waiters]:
    made = Waiters(queue)
    yield made
    made.close()
    if made._thread is not None:
        made._thread.join(10)  # or it finds the connection closed below it


def test_an_announcement_wakes_those_who_wait_for_that_job(waiters: Waiters, other: Queue) -> None:
    with waiters.ticket("mine") as mine, waiters.ticket("mine") as also_mine, waiters.ticket("another") as another:

        def woken() -> bool:
            other.announce(["mine"], ["moved"])  # again and again: the subscriber may not be there yet
            return mine.wait(0.05)

        until(woken, 10)
        assert also_mine.wait(5)
        assert not another.wait(0)


def test_progress_wakes_too(waiters: Waiters, other: Queue) -> None:
    with waiters.ticket("mine") as mine:

        def woken() -> bool:
            other.announce([], ["mine"])
            return mine.wait(0.05)

        until(woken, 10)


def test_a_ticket_whose_time_runs_out_says_so(waiters: Waiters) -> None:
    with waiters.ticket("mine") as mine:
        assert not mine.wait(0.01)
        mine.wake()
        assert mine.wait(0)
        assert not mine.wait(0)


def test_closing_the_waiting_room_ends_its_thread(waiters: Waiters) -> None:
    with waiters.ticket("mine"):
        pass
    waiters.close()
    assert waiters._thread is None or not waiters._thread.is_alive()


# the fleet


def test_workers_are_known_until_they_leave_or_fall_silent(queue: Queue) -> None:
    queue.beat("silent", {"device": "cpu"}, 0.2)
    queue.beat("alive", {"device": "cpu", "models": []}, 60)
    queue.beat("leaving", {}, 60)
    assert {worker["id"] for worker in queue.workers()} >= {"alive", "leaving"}

    queue.leave("leaving")

    until(lambda: [worker["id"] for worker in queue.workers()] == ["alive"], 10)
    assert queue.workers() == [{"id": "alive", "device": "cpu", "models": []}]
    assert queue._redis.hkeys(queue._key("workers", "about")) == ["alive"]


def test_the_last_word_of_a_worker_counts(queue: Queue) -> None:
    queue.beat("worker", {"pictures": 1}, 60)
    queue.beat("worker", {"pictures": 2}, 60)
    assert queue.workers() == [{"id": "worker", "pictures": 2}]


def test_a_lock_has_one_owner_who_may_renew_it(queue: Queue) -> None:
    assert not queue.locked("check:1")
    assert queue.lock("check:1", "first", 60)
    assert queue.locked("check:1")
    assert not queue.lock("check:1", "second", 60)
    assert queue.lock("check:1", "first", 60)
    assert queue.lock("check:2", "second", 60)
    queue.unlock("check:1", "second")
    assert queue.locked("check:1")
    queue.unlock("check:1", "first")
    assert queue.lock("check:1", "second", 60)


def test_a_lock_whose_owner_is_silent_lapses(queue: Queue) -> None:
    assert queue.lock("check:1", "first", 0.1)
    until(lambda: queue.lock("check:1", "second", 60), 10)


def test_a_redis_that_is_away_is_said_to_be() -> None:
    queue = Queue(Settings(redis_url="redis://127.0.0.1:9/0"))
    for step in (queue.ping, queue.version_ids, queue.workers, lambda: queue.claim(V, "w", 1), lambda: push(queue, 1)):
        with pytest.raises(Unavailable):
            step()
    queue.announce(["job"])  # only a hint
    queue.close()
