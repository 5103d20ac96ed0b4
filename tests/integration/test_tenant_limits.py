"""Limits of tenants: how long jobs are kept, and how much is accepted, by the tenant's own limits or the settings."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
import uuid6

from shared import errors
from shared.adapters.database.jobs import Jobs
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.adapters.rate_limits import RateLimits
from shared.container import Container
from shared.domain.jobs import AnswerOptions, Job, Status, Submission
from shared.domain.tenant_limits import TenantLimits
from shared.services import jobs, maintenance, tenant_limits
from shared.settings import Settings
from tests.dataset_fixtures import picture
from tests.query_plans import plan

NOW = 1_700_000_000.0
DAY = 86_400.0


def ended(database: Database, tenant: str, days_ago: float) -> str:
    job = Job(id=str(uuid6.uuid7()), tenant=tenant, wire="native", status=Status.DONE, model="m", version="1",
              version_id="v1", options=AnswerOptions(), priority="normal", created_at=NOW - days_ago * DAY, total=0,
              finished_at=NOW - days_ago * DAY, blob=f"{tenant} {days_ago:g}")  # fmt: skip
    with database.write() as uow:
        uow.jobs.add([(job, [])])
    return job.blob


def limit(database: Database, tenant: str, **limits: Any) -> None:
    with database.write() as uow:
        uow.tenant_limits.set(TenantLimits(tenant, **limits))


def kept_too_long(database: Database, days: float) -> list[str]:
    with database.read() as uow:
        return sorted(blob for _, blob in uow.tenant_limits.jobs_kept_too_long(NOW, days * DAY))


def test_limits_come_back_as_they_were_set_and_are_replaced(database: Database) -> None:
    first, second = TenantLimits("anna", 60.0, 5, 7), TenantLimits("anna", None, 6, None)
    with database.write() as uow:
        assert uow.tenant_limits.get("anna") == TenantLimits("anna")
        uow.tenant_limits.set(first)
        assert uow.tenant_limits.get("anna") == first
        uow.tenant_limits.set(second)
        uow.tenant_limits.set(replace(first, tenant="ada"))
        assert uow.tenant_limits.all() == [replace(first, tenant="ada"), second]
        uow.tenant_limits.delete("anna")
        assert uow.tenant_limits.get("anna") == TenantLimits("anna")


def test_each_tenants_jobs_are_kept_for_its_own_time_and_the_others_for_that_of_the_setting(database: Database) -> None:
    for tenant in ("anna", "bert", "carl", "dora"):
        for days in (1, 5, 20):
            ended(database, tenant, days)
    limit(database, "bert", keep_jobs=30 * DAY)
    limit(database, "carl", keep_jobs=0.0)
    limit(database, "dora", max_queued=5)
    assert kept_too_long(database, 7) == ["anna 20", "carl 1", "carl 20", "carl 5", "dora 20"]
    assert kept_too_long(database, 2) == ["anna 20", "anna 5", "carl 1", "carl 20", "carl 5", "dora 20", "dora 5"]


def test_a_job_that_has_not_ended_is_never_kept_too_long(database: Database) -> None:
    limit(database, "anna", keep_jobs=0.0)
    job = Job("job", "anna", "native", Status.QUEUED, "m", "1", "v1", AnswerOptions(), "normal", 0.0, 0)
    with database.write() as uow:
        uow.jobs.add([(job, [])])
    assert kept_too_long(database, 0) == []


def test_jobs_that_are_kept_too_long_are_found_in_an_index_tenant_by_tenant(database: Database) -> None:
    for tenant in ("anna", "bert"):
        ended(database, tenant, 1)
    for keep, conditions in ((2 * DAY, ["tenant"]), (0.0, ["tenant", "finished_at"])):
        lines = plan(database, lambda uow, keep=keep: uow.tenant_limits.jobs_kept_too_long(NOW, keep))  # type: ignore[misc]
        found = [line for line in lines if line.startswith(("SEARCH jobs", "Index Cond")) and "=" in line]
        assert found, lines
        assert all(condition in line for condition in conditions for line in found), lines
        assert any("ix_jobs_tenant_finished_at" in line for line in lines), lines
        assert not any("jobs" in line and ("SCAN" in line or "Seq Scan" in line) for line in lines), lines


def test_maintenance_removes_the_jobs_of_a_tenant_by_its_own_time(container: Container) -> None:
    kept, removed = (
        run(jobs.submit(container, tenant, Submission([picture(0), picture(1)], "digits")))[0]
        for tenant in ("anna", "bert")
    )
    for job in (kept, removed):
        jobs.cancel(container, job.tenant, job.id)
    limit(container.database, "anna", keep_jobs=2 * container.settings.keep_jobs)

    later = container.now() + container.settings.keep_jobs + 60
    maintenance.drop_old_jobs(replace(container, now=lambda: later))

    assert jobs.get(container, "anna", kept.id).status is Status.CANCELLED
    with pytest.raises(errors.NotFound):
        jobs.get(container, "bert", removed.id)
    assert [key for key, _ in container.storage.tree("jobs")] == [kept.blob]


def submit(container: Container, count: int, tenant: str = "anna", **about: Any) -> Job:
    return run(jobs.submit(container, tenant, Submission([picture(n) for n in range(count)], "digits", **about)))[0]


def set_limits(container: Container, **limits: Any) -> None:
    tenant_limits.replace(container, "default", TenantLimits("anna", **limits))


def test_the_own_limit_of_the_queue_applies_at_once_and_to_its_tenant_only(container: Container) -> None:
    submit(container, 3)
    set_limits(container, max_queued=4)
    with pytest.raises(errors.TooManyRequests, match="would pass the limit of 4"):
        submit(container, 2)
    submit(container, 2, "bert")
    set_limits(container, max_queued=5)
    submit(container, 2)
    set_limits(container)
    submit(container, 5)


def test_a_job_that_never_fits_into_the_queue_is_told_to_be_divided(container: Container) -> None:
    set_limits(container, max_queued=3)
    submit(container, 2)
    with pytest.raises(errors.TooManyFiles, match=r"4 pictures are more than the 3 of yours that may wait .* several"):
        submit(container, 4)
    assert len(list(container.storage.tree("jobs"))) == 1  # nothing of the refused job is left
    submit(container, 1)


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_tenant_that_may_queue_nothing_is_not_told_to_wait(container: Container, pictures: int) -> None:
    set_limits(container, max_queued=0)
    with pytest.raises(errors.Forbidden, match="Ask the operator of this service to raise `max_queued`") as refused:
        submit(container, pictures)
    assert refused.value.retry_after is None


def test_pictures_are_counted_by_the_minute_and_refused_ones_are_not(container: Container) -> None:
    set_limits(container, pictures_per_minute=5)
    submit(container, 3)
    with pytest.raises(errors.TooManyRequests, match="3 more pictures would pass your limit of 5 a minute") as refused:
        submit(container, 3)
    assert 1 <= (refused.value.retry_after or 0) <= 60
    submit(container, 2)
    submit(container, 9, "bert")
    assert len(list(container.storage.tree("jobs"))) == 3  # nothing of the refused job is left


def test_a_job_that_finds_no_room_in_the_queue_is_not_counted_by_the_minute(container: Container) -> None:
    set_limits(container, max_queued=3, pictures_per_minute=4)
    submit(container, 2)
    for _ in range(3):
        with pytest.raises(errors.TooManyRequests, match="wait for this model"):
            submit(container, 2)
    set_limits(container, max_queued=4, pictures_per_minute=4)
    submit(container, 2)


def test_a_repeat_of_an_idempotency_key_gets_its_job_and_is_not_counted_by_the_minute(container: Container) -> None:
    set_limits(container, pictures_per_minute=4)
    first = submit(container, 2, idempotency_key="once")
    assert [submit(container, 2, idempotency_key="once").id for _ in range(3)] == [first.id] * 3
    with pytest.raises(errors.Conflict, match="was used for another request"):
        submit(container, 3, idempotency_key="once")
    submit(container, 2, idempotency_key="another")
    assert submit(container, 2, idempotency_key="once").id == first.id
    assert len(list(container.storage.tree("jobs"))) == 2  # nothing of the repeats is left


@pytest.mark.parametrize(("limit", "key", "looks"), [(4, "", 0), (None, "once", 1), (4, "once", 2)])
def test_a_key_is_looked_for_once_more_only_where_its_repeat_would_be_counted(
    container: Container, monkeypatch: pytest.MonkeyPatch, limit: int | None, key: str, looks: int
) -> None:
    set_limits(container, pictures_per_minute=limit)
    find, looked = Jobs.find_by_idempotency_key, list[str]()

    def look(self: Jobs, tenant: str, key: str) -> Job | None:
        looked.append(key)
        return find(self, tenant, key)

    monkeypatch.setattr(Jobs, "find_by_idempotency_key", look)
    submit(container, 1, idempotency_key=key)
    assert len(looked) == looks


def test_a_job_that_never_fits_into_a_minute_is_told_to_be_divided(container: Container) -> None:
    set_limits(container, pictures_per_minute=5)
    with pytest.raises(errors.TooManyFiles, match="6 pictures are more than your 5 a minute; send them in several"):
        submit(container, 6)
    submit(container, 5)


@pytest.mark.redis
def test_what_passes_a_limit_with_several_at_once_is_not_counted(valkey: str) -> None:
    counter = RateLimits(Settings(redis_url=valkey, prefix=f"test-{uuid.uuid4().hex[:8]}:"))
    allowed = []
    for count in (3, 3, 2, 1):
        window = counter.hit("5/minute", "anna", count=count)
        assert window
        allowed.append((window.allowed, window.remaining))
    assert allowed == [(True, 2), (False, 0), (True, 0), (False, 0)]


def test_a_tenant_sees_its_own_limits_and_sets_none(container: Container) -> None:
    set_limits(container, max_queued=4)
    assert tenant_limits.get(container, "anna", "anna").max_queued == 4
    assert [limits.tenant for limits in tenant_limits.list_limits(container, "anna")] == ["anna"]
    assert tenant_limits.list_limits(container, "bert") == []
    with pytest.raises(errors.Forbidden, match="A tenant sees its own limits"):
        tenant_limits.get(container, "bert", "anna")
    with pytest.raises(errors.Forbidden, match="can set limits, also its own"):
        tenant_limits.replace(container, "anna", TenantLimits("anna"))


def test_limits_are_set_for_tenants_that_a_key_may_have(container: Container) -> None:
    with pytest.raises(errors.BadOption, match="letters, digits"):
        tenant_limits.replace(container, "default", TenantLimits("a b", 1.0))
