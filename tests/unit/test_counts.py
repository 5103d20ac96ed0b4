"""counts.py: what processes count adds up in Redis, is never sent for each number, and outlives the process."""

from __future__ import annotations

import math
from threading import Timer
from typing import Any

import fakeredis
import pytest

from shared import errors
from shared.adapters.queue import counts as counts_module
from shared.adapters.queue.counts import Counts
from shared.adapters.queue.queue import Queue
from shared.domain.metrics import COUNTED, HIDDEN, SUM, Labels, Metric, Owner, below
from shared.settings import Settings
from tests.stacks import until

REQUESTS = Metric("requests", "", ("status",))
SECONDS = Metric("seconds", "", ("model", "version"), (0.1, 1.0))


class Service:
    """Processes that share one Redis."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()

    def process(self, client: Any = None) -> Counts:
        """Return the counts of one more process; a timer stores nothing before the test has ended."""
        redis = client or fakeredis.FakeRedis(server=self.server, decode_responses=True)
        return Queue(Settings(), redis).counts

    def sums(self, metric: Metric) -> dict[Labels, Any]:
        """Return what a process that starts now reads."""
        return self.process().read("", [])[0].of(metric)


@pytest.fixture(autouse=True)
def _no_timer_interferes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts_module, "AFTER", 600.0)


@pytest.fixture
def service() -> Service:
    return Service()


def test_processes_add_up_and_one_that_is_gone_stays_in_the_sum(service: Service) -> None:
    first, second = service.process(), service.process()
    first.add(REQUESTS, ("200",), 2)
    first.close()
    del first
    second.add(REQUESTS, ("200",))
    second.add(REQUESTS, ("500",))
    second.store()
    second.add(REQUESTS, ("200",), 0.5)
    second.store()
    assert service.sums(REQUESTS) == {("200",): {0: 3.5}, ("500",): {0: 1.0}}


def test_a_histogram_counts_each_value_in_the_bucket_that_it_is_not_above(service: Service) -> None:
    counts = service.process()
    for value in (0.0, 0.1, 0.11, 1.0, 7.0):
        counts.observe(SECONDS, value, ("digits", "1"))
    counts.store()
    ((labels, numbers),) = service.sums(SECONDS).items()
    assert (labels, below(SECONDS, numbers)) == (("digits", "1"), [2.0, 4.0, 5.0])
    assert math.isclose(numbers[SUM], 8.21)


def test_counting_asks_nothing_of_redis(service: Service) -> None:
    class Unreachable:
        """A client that fails whatever is asked of it, but makes scripts."""

        def register_script(self, _: str) -> None:
            return None

    counts = service.process(Unreachable())
    counts.add(REQUESTS, ("200",))
    counts.observe(SECONDS, 1.0, ("digits", "1"))
    with pytest.raises(AttributeError):
        counts.store()
    with pytest.raises(AttributeError):  # which ends its timer
        counts.close()


def test_a_process_that_can_start_no_thread_goes_on_and_stores_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Timer) -> None:
        raise RuntimeError("can't start new thread")

    counts = service.process()
    with monkeypatch.context() as patch:
        patch.setattr(Timer, "start", refuse)
        counts.add(REQUESTS, ("200",))
    monkeypatch.setattr(counts_module, "AFTER", 0.01)
    counts.add(REQUESTS, ("200",))
    until(lambda: service.sums(REQUESTS) == {("200",): {0: 2.0}}, 10)
    counts.close()


def test_what_cannot_be_stored_is_kept_and_stored_once(service: Service) -> None:
    counts = service.process()
    counts.add(REQUESTS, ("200",), 3)
    service.server.connected = False
    with pytest.raises(errors.Unavailable):
        counts.store()
    counts.add(REQUESTS, ("200",))
    service.server.connected = True
    counts.store()
    counts.store()
    assert service.sums(REQUESTS) == {("200",): {0: 4.0}}


def test_what_is_counted_is_stored_by_itself_also_after_an_outage(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts_module, "AFTER", 0.01)
    counts = service.process()
    failed = list[str]()
    monkeypatch.setattr(counts_module.log, "info", lambda text, *about: failed.append(text))
    service.server.connected = False
    counts.add(REQUESTS, ("200",))
    until(lambda: bool(failed), 10)
    service.server.connected = True
    until(lambda: service.sums(REQUESTS) == {("200",): {0: 1.0}}, 10)


def test_at_its_end_a_process_stores_what_is_new(service: Service) -> None:
    counts = service.process()
    counts.add(REQUESTS, ("200",))
    counts.close()
    counts.add(REQUESTS, ("200",))  # by a thread that is late: it starts no timer
    assert service.sums(REQUESTS) == {("200",): {0: 1.0}}


def test_the_models_of_a_tenant_are_one_for_all_and_each_for_itself(service: Service) -> None:
    counts = service.process()
    for tenant, version_id, seconds in (("anna", "a1", 0.5), ("anna", "a2", 2.0), ("bert", "b1", 0.5)):
        counts.observe(SECONDS, seconds, HIDDEN, Owner(tenant, version_id))
    counts.observe(SECONDS, 0.5, ("digits", "1"))
    counts.store()
    of_all, of_anna, of_versions = service.process().read("anna", ["a1", "a2", "removed"])
    assert {labels: below(SECONDS, numbers)[-1] for labels, numbers in of_all.of(SECONDS).items()} == {
        HIDDEN: 3.0, ("digits", "1"): 1.0,
    }  # fmt: skip
    assert below(SECONDS, of_anna.of(SECONDS)[HIDDEN]) == [0.0, 1.0, 2.0]
    assert {name: sums.of(SECONDS)[HIDDEN][SUM] for name, sums in of_versions.items() if sums.of(SECONDS)} == {
        "a1": 0.5, "a2": 2.0,
    }  # fmt: skip


def test_the_counts_of_a_version_are_forgotten_when_it_has_been_idle_for_long(service: Service) -> None:
    counts = service.process()
    counts.observe(SECONDS, 1.0, HIDDEN, Owner("anna", "a1"))
    counts.store()
    client = fakeredis.FakeRedis(server=service.server, decode_responses=True)
    seconds = {key: client.ttl(key) for key in client.scan_iter("*counts*")}
    (of_version,) = [kept for key, kept in seconds.items() if "version" in key]
    assert 0 < of_version <= counts_module.KEPT
    assert [kept for key, kept in seconds.items() if "version" not in key] == [-1, -1]


def test_every_metric_has_a_name_of_its_own_and_rising_buckets() -> None:
    assert len({metric.name for metric in COUNTED}) == len(COUNTED)
    for metric in COUNTED:
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
        assert metric.meaning.endswith("."), metric.name
        if "model" in metric.labels:
            assert metric.labels[:2] == ("model", "version"), metric.name
