"""What tenants use, on SQLite and PostgreSQL: pictures of a day, trainings with their time, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.database.unit_of_work import Database
from shared.container import Container, Pushed
from shared.domain import history as rules
from shared.domain.history import Counted, Measure
from shared.domain.jobs import Status
from shared.domain.keys import SCOPES, Caller
from shared.domain.stream_entry import StreamEntry
from shared.domain.trainings import Training, TrainingParameters
from shared.services import history, keys, tenant_usage
from tests.conftest import container_in

NOW = 1_700_000_040.0
MINUTE = rules.minute_of(NOW)


@pytest.fixture
def service(database: Database, tmp_path: Path, empty_file: Path) -> Iterator[Container]:
    (tmp_path / "container").mkdir()
    with container_in(tmp_path / "container", empty_file) as made:
        yield replace(made, database=database, now=lambda: NOW)


def counted(minutes_ago: int, measure: Measure, count: int, tenant: str = "anna") -> dict[Counted, int]:
    return {Counted(MINUTE - minutes_ago, tenant, "v1", measure, 20): count}


def test_pictures_are_those_of_a_day(service: Container) -> None:
    for counts in (
        counted(5, Measure.ANSWERED, 40),
        counted(1439, Measure.ANSWERED, 2),
        counted(1441, Measure.ANSWERED, 100),
        counted(5, Measure.FAILED, 3),
        counted(5, Measure.BATCH, 40),
        counted(5, Measure.ANSWERED, 7, "bert"),
    ):
        history.add(service, counts)
    found = {one.tenant: (one.answered, one.failed) for one in tenant_usage.list_usage(service, "default")}
    assert found == {"anna": (42, 3), "bert": (7, 0), "default": (0, 0)}
    assert all(type(number) is int for pair in found.values() for number in pair)


def test_what_waits_is_counted_over_all_versions_and_for_the_fullest(service: Container) -> None:
    for version, priority, count in (("v1", "high", 2), ("v1", "low", 3), ("v2", "normal", 4)):
        entries = [StreamEntry(f"{version}-{n}", 0, "", 0, 1, "classify", 5, "softmax", True) for n in range(count)]
        service.queue.streams.push([Pushed(version, priority, "anna", entries)])
    (anna,) = tenant_usage.list_usage(service, "anna")
    assert (anna.waiting, anna.fullest) == (9, 5)
    assert [one.waiting for one in tenant_usage.list_usage(service, "bert")] == [0]


def test_a_training_takes_the_time_from_its_start_to_its_end_or_until_now(service: Container) -> None:
    with service.database.write() as uow:
        for name, started, finished in (("a", NOW - 500, NOW - 440), ("b", NOW - 5.5, None), ("c", None, None)):
            uow.trainings.add(
                Training(name, "anna", "native", name, name, Status.RUNNING, 1, 1, "scratch", "", TrainingParameters(),
                         NOW, NOW, started_at=started, finished_at=finished)
            )  # fmt: skip
    (anna,) = tenant_usage.list_usage(service, "anna")
    assert (anna.trainings, anna.training_seconds) == (3, 65.5)


def test_revoked_keys_do_not_count(service: Container) -> None:
    owner = Caller("default", SCOPES)
    keys.create(service, owner, scopes=SCOPES)
    first, _ = keys.create(service, owner, tenant="anna")
    keys.create(service, owner, tenant="anna")
    keys.revoke(service, "default", first.id)
    assert {one.tenant: one.keys for one in tenant_usage.list_usage(service, "default")} == {"anna": 1, "default": 1}
