"""The diagnosis: what SQLite, PostgreSQL, Redis and the disk tell, each fault with its cure, and who is told what."""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.adapters.queue.queue import Queue
from shared.adapters.storage import Storage
from shared.container import Container, Pushed
from shared.domain import history as rules
from shared.domain.diagnosis import PartCheck, Verdict
from shared.domain.history import Counted, Measure
from shared.domain.jobs import Outcome, Submission
from shared.domain.keys import ApiKey
from shared.domain.pictures import Limits
from shared.domain.stream_entry import StreamEntry
from shared.imaging import images
from shared.services import absences, diagnosis, history, jobs
from shared.settings import Settings
from tests import stacks

DAY = 86_400.0
OPERATORS = {"redis", "database", "clocks", "disk"}
"""Parts that only the operator is told of."""


def examined(container: Container) -> dict[str, PartCheck]:
    return {check.part: check for check in diagnosis.examine(container, "default", of_all=True)}


def wrong(container: Container, tenant: str = "anna", *, of_all: bool = True) -> list[tuple[str, str]]:
    """Return (part, verdict) of what is wrong with the service itself; Redis and the disk are those of the machine."""
    return [(check.part, check.verdict) for check in troubles(container, tenant, of_all=of_all)]


def troubles(container: Container, tenant: str = "anna", *, of_all: bool = True) -> list[PartCheck]:
    checks = diagnosis.examine(container, tenant, of_all=of_all)
    assert all(bool(check.cure) == (check.verdict is not Verdict.OK) for check in checks)
    return [check for check in checks if check.verdict is not Verdict.OK and check.part not in OPERATORS]


@pytest.fixture
def on_valkey(container: Container, valkey: str) -> Iterator[Container]:
    """A container on a real server, whose time stands: the others do not say how much memory they use."""
    settings = Settings(redis_url=valkey, prefix=f"test-{uuid.uuid4().hex[:8]}:")
    queue = Queue(settings, redis.Redis.from_url(valkey, decode_responses=True, protocol=2))
    queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]  # no broker listens
    started = queue.clock.now()
    yield replace(container, queue=queue, now=lambda: started)
    queue.close()


@pytest.fixture
def healthy(on_valkey: Container) -> Container:
    """A container whose one worker runs, and whose queue was sampled a minute ago."""
    beat(on_valkey, "host-1-aaaaaa")
    sampled(on_valkey, range(1, 11))
    return on_valkey


def beat(container: Container, name: str, **about: Any) -> None:
    now = container.now()
    usual = {"id": name, "device": "cpu", "rates": {}, "holds": 0, "claimed_at": now, "waits_for": ""}
    container.queue.workers.heartbeat(name, usual | about, 600)


def test_the_database_tells_its_version_and_its_time(database: Database, container: Container) -> None:
    facts = database.facts(container.now)
    assert facts.version.split()[0] in ("SQLite", "PostgreSQL")
    assert 0 < facts.seconds < 1
    assert abs(facts.ahead) < 2
    assert (facts.free is None) == facts.version.startswith("PostgreSQL")
    assert facts.free is None or abs(facts.free - shutil.disk_usage(database.url.removeprefix("sqlite:///")).free) < 1e9
    found = examined(replace(container, database=database))
    assert (found["database"].verdict, found["clocks"].verdict) == (Verdict.OK, Verdict.OK)


@pytest.mark.postgres
def test_a_query_that_runs_for_long_is_noticed(database: Database, container: Container) -> None:
    if database.url.startswith("sqlite"):
        pytest.skip("SQLite does not tell")
    with _sleeping(database):
        stacks.until(lambda: 0.2 < database.facts(container.now).slowest < 60, 10)


@contextmanager
def _sleeping(database: Database) -> Iterator[None]:
    """Have a query of another connection run meanwhile."""

    def sleep() -> None:
        with database.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text("SELECT pg_sleep(60) -- of this test"))

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield
    finally:
        with database.engine.connect() as connection:
            ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
            connection.execute(sa.text(f"{ended} AND query LIKE '%of this test' AND pid <> pg_backend_pid()"))
        thread.join()


@pytest.mark.redis
def test_redis_tells_its_policy_and_memory(queue: Queue) -> None:
    if not queue.connection.settings.redis_url.endswith("/0") or "FakeRedis" in type(queue.connection.redis).__name__:
        pytest.skip("fakeredis has neither")
    facts = queue.facts()
    redis = queue.connection.redis
    assert (facts.policy, facts.limit) == (redis.config_get("maxmemory-policy")["maxmemory-policy"], 0)
    assert facts.version.startswith(("Valkey ", "Redis "))
    assert facts.used > 100_000
    redis.config_set("maxmemory", 2 * 1024**3)
    try:
        assert queue.facts().limit == 2 * 1024**3
    finally:
        redis.config_set("maxmemory", 0)


def test_a_folder_tells_what_its_disk_has_left_and_a_memory_does_not(tmp_path: Path) -> None:
    free = Storage(f"file://{tmp_path}").free()
    assert free is not None
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1024**3
    assert Storage("memory://somewhere").free() is None


def sampled(container: Container, ago: range, workers: int = 1, **levels: list[int]) -> None:
    """Store samples of so many minutes ago; `levels` are those of a tenant, the latest first."""
    now = rules.minute_of(container.now() - history.SETTLED)
    with container.database.write() as uow:
        for place, minutes in enumerate(ago):
            uow.history.set({Counted(now - minutes, "", "", Measure.WORKERS): workers})
            for name, values in levels.items():
                uow.history.set({Counted(now - minutes, "anna", "v1", Measure(name)): values[place]})


def waiting(container: Container, seconds: float) -> Container:
    """Return the container so many seconds after a picture was put on the queue."""
    entry = StreamEntry("job", 0, "", 0, 1, "classify", 5, "softmax", True)
    container.queue.streams.push([Pushed("v1", "normal", "anna", [entry])])
    later = container.now() + seconds
    return replace(container, now=lambda: later)


def test_a_service_without_faults_has_no_troubles(healthy: Container) -> None:
    assert wrong(healthy) == []
    assert [check.part for check in diagnosis.examine(healthy, "default", of_all=True)] == [
        "redis", "database", "clocks", "queue", "workers", "maintenance", "storage", "disk", "keys", "webhooks",
        "dead letters",
    ]  # fmt: skip


def test_without_a_worker_pictures_wait(on_valkey: Container) -> None:
    sampled(on_valkey, range(1, 11), workers=0)
    assert wrong(on_valkey) == [("workers", "failed")]


def test_workers_that_fell_silent_are_told_from_those_that_were_stopped(on_valkey: Container) -> None:
    for name in ("hanging", "stopped"):
        on_valkey.queue.workers.heartbeat(name, {"device": "cpu", "rates": {}}, -10.0)
    on_valkey.queue.workers.deregister("stopped")
    found = examined(on_valkey)["workers"]
    assert found.verdict is Verdict.FAILED
    assert (
        f"1 worker fell silent without being stopped, the last {10 + on_valkey.settings.lease:.0f} s ago" in found.found
    )
    on_valkey.queue.workers.deregister("hanging")
    assert "none is running" in examined(on_valkey)["workers"].found


def test_a_worker_that_is_gone_is_missed_for_ten_minutes(healthy: Container) -> None:
    sampled(healthy, range(3, 6), workers=3)
    (check,) = troubles(healthy)
    assert (check.part, check.verdict) == ("workers", "warning")
    assert "1 of 3 runs" in check.found


def test_a_worker_says_what_it_waits_for(healthy: Container) -> None:
    beat(healthy, "host-2-bbbbbb", waits_for="The storage does not answer.")
    (check,) = troubles(healthy)
    assert (check.part, check.verdict) == ("workers", "failed")
    assert "1 of 2 waits: The storage does not answer" in check.found


def test_blobs_that_the_storage_lacks_are_counted_with_the_time_since_when(healthy: Container) -> None:
    now = healthy.now()
    beat(healthy, "host-1-aaaaaa", missing=(3, now - 300))
    beat(healthy, "host-2-bbbbbb", missing=(2, now - 400))
    (check,) = troubles(healthy)
    assert (check.part, check.verdict) == ("storage", Verdict.FAILED)
    assert f"3 blobs that nobody removed, since {absences.in_words(now - 400)};" in check.found
    trainer = {"since": now, "device": "cpu", "busy": True, "missing": (1, now)}
    healthy.queue.workers.heartbeat("trainer", trainer, 600, role="trainers")
    for name in ("host-1-aaaaaa", "host-2-bbbbbb"):
        beat(healthy, name)
    (check,) = troubles(healthy)
    assert "1 blob that nobody removed" in check.found


def test_pictures_that_no_worker_claims_are_found_and_so_is_one_worker_that_claims_none(healthy: Container) -> None:
    later = waiting(healthy, 200.0)
    sampled(later, range(1, 11))
    assert wrong(later) == [("queue", "warning"), ("workers", "failed")]
    beat(later, "host-2-bbbbbb")
    queue, workers = troubles(later)
    assert (workers.part, workers.verdict) == ("workers", "warning")
    assert "host-1-aaaaaa" in workers.found
    assert "host-2-bbbbbb" not in workers.found
    assert "200 s" in queue.found
    assert wrong(later, "bert", of_all=False) == [("workers", "warning")]  # no picture of its own waits


def test_a_queue_that_only_grows_is_found_with_its_rates(healthy: Container) -> None:
    now = rules.minute_of(healthy.now() - history.SETTLED)
    sampled(healthy, range(1, 6), waiting=[300, 250, 150, 90, 40])
    history.add(healthy, {Counted(now - 2, "anna", "v1", Measure.ANSWERED, 9): 600})
    with healthy.database.write() as uow:
        uow.history.set({Counted(now - 2, "anna", "v1", Measure.ARRIVED): 900})
    (check,) = troubles(healthy)
    assert (check.part, check.verdict) == ("queue", "warning")
    assert "to 300 pictures: 3.0 arrive in a second, and 2.0 are answered" in check.found
    assert wrong(healthy, of_all=False) == [("queue", "warning")]
    assert wrong(healthy, "bert", of_all=False) == []


@pytest.mark.parametrize("waited", [[300, 250, 260, 90, 40], [9, 8, 7, 6, 5]])
def test_a_queue_that_shrinks_in_between_or_is_short_is_well(healthy: Container, waited: list[int]) -> None:
    sampled(healthy, range(1, 6), waiting=waited)
    assert wrong(healthy) == []


def test_maintenance_that_samples_nothing_is_found(on_valkey: Container) -> None:
    beat(on_valkey, "host-1-aaaaaa")
    sampled(on_valkey, range(5, 11))
    assert wrong(on_valkey) == [("maintenance", "warning")]


def test_maintenance_that_has_just_begun_is_well(on_valkey: Container) -> None:
    history.sample(on_valkey)
    beat(on_valkey, "host-1-aaaaaa")
    assert wrong(on_valkey) == []


def test_failed_pictures_of_the_day_are_those_of_the_caller(healthy: Container) -> None:
    name, data = stacks.digits()[3]
    pictures = [images.check(name, data, Limits(10**7, 10**8, 100.0, 1000, 10**8))]
    job, _ = run(jobs.submit(healthy, "anna", Submission(pictures, "digits")))
    entries = healthy.queue.streams.claim(job.version_id, "worker", 10)
    jobs.finish(healthy, [Outcome(job.id, 0, error_code="poison", error="It crashed.")], entries)
    (check,) = troubles(healthy)
    assert (check.part, check.verdict) == ("dead letters", "warning")
    assert check.found == "1 picture of this tenant's jobs of the last day got no answer"
    assert wrong(healthy, "bert") == []


def expiring(service: Container, days: float, used: float | None = 0.0, **about: Any) -> ApiKey:
    """Add a key that expires in so many days and was used so many days ago, or never."""
    now = service.now()
    last = None if used is None else now - used * DAY
    key = ApiKey(str(uuid.uuid4()), "acme", "app", "iq_abcde", uuid.uuid4().hex, ("infer",), now - 90 * DAY)
    key = replace(key, expires_at=now + days * DAY, last_used_at=last, **about)
    with service.database.write() as uow:
        uow.keys.add(key)
    return key


def test_a_key_in_use_that_expires_soon_is_said_with_what_to_do(healthy: Container) -> None:
    for days, used in ((8, 0), (-1, 0), (3, None), (3, 30)):  # not soon, already, never used, not any more
        expiring(healthy, days, used)
    expiring(healthy, 1, revoked_at=healthy.now())
    assert examined(healthy)["keys"].found == "no key in use expires within 7 days"
    expiring(healthy, 5, name="later")
    expiring(healthy, 2)
    (check,) = troubles(healthy, "default")
    assert (check.part, check.verdict) == ("keys", "warning")
    assert re.fullmatch(
        r"the key 'app' \(iq_abcde…\) of the tenant acme is in use and expires at 20\S+\+00:00; "
        r"1 more in use soon after it",
        check.found,
    )
    assert "`inferq keys create --tenant acme`" in check.cure
    assert "`inferq keys list`" in check.cure


def test_a_registered_public_key_that_expires_soon_is_named_by_its_account(healthy: Container) -> None:
    expiring(healthy, 2, name="", prefix="", account="anna@example.org", public_key="PEM")
    (check,) = troubles(healthy, "acme")
    assert check.found.startswith("the public key of anna@example.org of the tenant acme")
    assert "--public-key FILE" in check.cure


def test_a_caller_hears_of_the_keys_that_it_may_list_and_of_its_own(healthy: Container) -> None:
    first, second = expiring(healthy, 2, name="first"), expiring(healthy, 3, name="second")

    def heard(tenant: str, own_key: str | None) -> str:
        checks = diagnosis.examine(healthy, tenant, of_all=False, own_key=own_key)
        return next(check.found for check in checks if check.part == "keys")

    assert "'first'" in heard("acme", None)
    assert "1 more" in heard("acme", None)
    assert "'second'" in heard("acme", second.id)
    assert "more" not in heard("acme", second.id)
    assert heard("bert", None) == heard("bert", first.id) == "no key in use expires within 7 days"


def test_a_storage_that_is_away_has_failed_and_the_others_are_examined(healthy: Container, tmp_path: Path) -> None:
    away = replace(healthy, storage=Storage(f"file://{tmp_path}/nowhere", record=None))
    found = examined(away)
    assert found["storage"].verdict is Verdict.FAILED
    assert "folder is missing" in found["storage"].found
    assert [found[part].verdict for part in ("database", "queue", "workers", "dead letters")] == [Verdict.OK] * 4


@pytest.mark.parametrize(("of_all", "first"), [(True, "redis"), (False, "queue")])
def test_a_redis_that_is_away_is_said_once_and_the_rest_is_still_told(
    healthy: Container, *, of_all: bool, first: str
) -> None:
    away = replace(healthy, queue=Queue(Settings(redis_url="redis://127.0.0.1:9/0")))
    checks = diagnosis.examine(away, "anna", of_all=of_all)
    assert [check.part for check in checks if check.verdict is Verdict.FAILED] == [first]
    assert {check.part for check in checks} >= {"maintenance", "storage", "dead letters"}


def test_a_redis_that_is_full_is_said_to_every_tenant(healthy: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    def ping() -> None:
        raise errors.QueueFull()

    monkeypatch.setattr(healthy.queue, "ping", ping)
    (check,) = troubles(healthy, of_all=False)
    assert (check.part, check.verdict) == ("queue", "failed")
    assert "maxmemory" in check.cure


@pytest.mark.parametrize(("used", "verdict"), [(0.7, "ok"), (0.95, "warning")])
def test_a_redis_that_is_nearly_full_is_found(healthy: Container, valkey: str, used: float, verdict: str) -> None:
    server = redis.Redis.from_url(valkey, decode_responses=True, protocol=2)
    server.config_set("appendonly", "yes")
    server.config_set("maxmemory", int(server.info("memory")["used_memory"] / used))
    try:
        assert examined(healthy)["redis"].verdict == verdict
    finally:
        server.config_set("maxmemory", 0)
        server.config_set("appendonly", "no")


def test_another_tenant_is_not_told_of_redis_database_clocks_and_disk(healthy: Container) -> None:
    parts = {check.part for check in diagnosis.examine(healthy, "acme", of_all=False)}
    assert parts == {"queue", "workers", "maintenance", "storage", "keys", "webhooks", "dead letters"}
