"""The diagnosis of webhooks: which receivers keep callbacks waiting, and how few rows are read to find them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from shared.adapters.database import tables
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain import diagnosis as rules
from shared.domain.diagnosis import PartCheck, Verdict
from shared.domain.webhooks import first_id
from shared.services import absences, diagnosis, webhook_deliveries, webhooks
from tests.integration.test_webhook_deliveries import ended, later
from tests.query_plans import plan
from tests.webhook_receivers import deliver, receiving

WELL = "no callback has to be sent again"


@pytest.fixture
def system(container: Container, database: Database) -> Container:
    """The container on each kind of database, with receivers on this machine allowed."""
    return replace(container, database=database, settings=container.settings.changed(webhook_private=True))


def examined(system: Container, tenant: str = "anna", *, of_all: bool = False) -> PartCheck:
    checks = diagnosis.examine(system, tenant, of_all=of_all)
    (check,) = [check for check in checks if check.part == "webhooks"]
    assert (check.verdict is Verdict.OK) == (check.found == WELL)
    return check


@contextmanager
def failing(way: str) -> Iterator[str]:
    """Run a receiver that fails in this way; yield its address."""
    with receiving(500, silent=way == "silent") as hook:
        address = hook.url.removesuffix("/hook")
        if way != "refuses":
            yield address
    if way == "refuses":  # nothing listens there any more
        yield address


@pytest.mark.parametrize(
    ("way", "answers"),
    [("silent", "has not answered"), ("refuses", "has not answered"), ("fails", "has answered 500")],
)
def test_a_receiver_that_takes_no_callback_is_named_without_its_secrets(
    system: Container, monkeypatch: pytest.MonkeyPatch, way: str, answers: str
) -> None:
    monkeypatch.setattr(webhooks, "SILENCE", 0.3)
    with failing(way) as address:
        jobs = [ended(system, f"{address}/s3cret?token={number}") for number in range(3)]
        assert examined(system).found == WELL  # nothing was tried yet
        deliver(system)
        check = examined(system)
    with system.database.read() as uow:
        since = uow.jobs.get("anna", jobs[0].id).finished_at
    assert since is not None
    assert check.found == (
        f"3 callbacks of the tenant anna wait for {address}, which {answers} since {absences.in_words(since)} or longer"
    )
    assert "s3cret" not in check.cure + check.found


def test_callbacks_are_told_of_to_their_tenant_and_to_the_operator_the_worst_receiver_first(system: Container) -> None:
    with receiving(500) as first, receiving(503) as second:
        ended(system, first.url)
        for _ in range(2):
            ended(system, second.url, tenant="bert")
        deliver(system)
        assert "1 callback of the tenant anna waits for http://127.0.0.1" in examined(system).found
        assert examined(system, "carl").found == WELL
        of_all = examined(system, "default", of_all=True).found
        assert of_all.startswith(f"2 callbacks of the tenant bert wait for http://127.0.0.1:{second.server_port}, ")
        assert of_all.endswith("; 1 more waits for 1 other receiver")


def test_a_receiver_that_answers_again_is_well_and_so_is_one_that_was_sent_to_by_hand(system: Container) -> None:
    with receiving(500) as hook:
        job = ended(system, hook.url)
        deliver(system)
        assert examined(system).verdict is Verdict.WARNING
        webhook_deliveries.resend(system, "anna", job.id)
        assert examined(system).found == WELL
        deliver(system)
        assert examined(system).verdict is Verdict.WARNING
        hook.status = 200
        deliver(later(system, 60))
    assert examined(system).found == WELL


def test_many_callbacks_that_were_never_tried_hide_no_receiver_that_has_failed(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(500) as hook:
        ended(system, hook.url)
        deliver(system)
        for _ in range(5):
            ended(system, hook.url)
    overdue = sa.update(tables.webhook_deliveries).where(tables.webhook_deliveries.c.attempts == 0)
    with system.database.engine.begin() as connection:
        connection.execute(overdue.values(due_at=time.time() - 60))
    assert examined(system).found.startswith("6 callbacks ")
    monkeypatch.setattr(rules, "MOST_CALLBACKS", 3)
    assert examined(system).found.startswith("at least 3 callbacks ")


def test_another_tenant_with_more_callbacks_than_are_looked_at_hides_no_receiver(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_CALLBACKS", 3)
    with receiving(500) as hook:
        ended(system, hook.url)
        deliver(system)
        for _ in range(4):
            ended(system, hook.url, tenant="bert")
    due_last = sa.update(tables.webhook_deliveries).where(tables.webhook_deliveries.c.tenant == "bert")
    with system.database.engine.begin() as connection:
        connection.execute(due_last.values(due_at=time.time() + 3600))
    assert examined(system).found.startswith("1 callback of the tenant anna waits for ")
    assert examined(system, "carl").found == WELL


def test_all_is_not_said_to_be_well_where_more_wait_than_are_looked_at(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in ("anna", "bert", "bert"):
        ended(system, "http://127.0.0.1:9/", tenant=tenant)
    monkeypatch.setattr(rules, "MOST_CALLBACKS", 2)
    for check in (examined(system, "bert"), examined(system, "default", of_all=True)):
        assert check.verdict is Verdict.WARNING
        assert check.found.startswith("at least 2 callbacks wait, of which only so many were looked at")
    assert examined(system, "anna").found == WELL


def test_callbacks_that_were_given_up_are_told_of_for_a_day_or_until_they_are_sent_again(system: Container) -> None:
    with receiving(410) as gone:
        ended(system, gone.url)
        for _ in range(2):
            ended(system, gone.url, tenant="bert")
        deliver(system)
        assert examined(system).found == "1 callback of the last day was given up, of the tenant anna"
        assert "`inferq webhooks resend --failed`" in examined(system).cure
        assert examined(system, "carl").found == WELL
        of_all = examined(system, "default", of_all=True)
        assert of_all.found == "3 callbacks of the last day were given up, of the tenant bert and 1 other"
        assert examined(later(system, 86_300)).verdict is Verdict.WARNING
        for tenant, all_of_them in (("anna", False), ("default", True)):
            assert examined(later(system, 86_500), tenant, of_all=all_of_them).found == WELL
        webhook_deliveries.resend_failed(system, "anna", kind="")
    assert examined(system).found == WELL


@pytest.mark.parametrize(
    ("tenant", "index", "condition"),
    [(None, "ix_deliveries_due_at", "due_at"), ("anna", "ix_deliveries_waiting", "tenant")],
    ids=["of all tenants", "of one"],
)
def test_callbacks_that_wait_are_found_in_the_index_of_their_times(
    database: Database, tenant: str | None, index: str, condition: str
) -> None:
    text = found_in(index, plan(database, lambda uow: uow.webhook_deliveries.waiting(100, tenant)))
    assert f"({condition}" in text, text
    assert "due_at>?" in text or "due_at > " in text, text


@pytest.mark.parametrize(
    ("tenant", "index"),
    [(None, "ix_deliveries_given_up"), ("anna", "ix_deliveries_failed")],
    ids=["of all tenants", "of one"],
)
def test_callbacks_that_were_given_up_are_found_in_the_index_of_those(
    database: Database, tenant: str | None, index: str
) -> None:
    since = first_id(time.time())
    text = found_in(index, plan(database, lambda uow: uow.webhook_deliveries.given_up(100, since, tenant)))
    assert "job_id>?" in text or "job_id)::text > " in text or "(job_id > " in text, text


def found_in(index: str, lines: list[str]) -> str:
    """Return the plan, which reads this index only, and as few rows of it as are asked for."""
    text = "\n".join(lines)
    assert index in text, text
    for word in ("SCAN deliveries", "SCAN jobs", "Seq Scan", "TEMP B-TREE", "Sort"):
        assert word not in text, text
    return text
