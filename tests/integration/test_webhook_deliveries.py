"""Webhook deliveries with receivers on real sockets: side by side, once, signed, retried, and kept in the ledger."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uuid6

from shared import errors
from shared.adapters.database import tables
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain.jobs import AnswerOptions, Item, Job, Outcome, Status
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.tenant_limits import TenantLimits
from shared.domain.webhooks import Delivery
from shared.services import jobs, maintenance, tenant_limits, webhook_deliveries, webhooks
from tests import query_plans
from tests.stacks import until
from tests.webhook_receivers import Receiver, deliver, delivering, receiving
from worker.delivery_places import DeliveryPlaces

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def system(container: Container, database: Database) -> Container:
    """The container on each kind of database, with receivers on this machine allowed."""
    return replace(container, database=database, settings=container.settings.changed(webhook_private=True))


def later(system: Container, seconds: float) -> Container:
    return replace(system, now=lambda: time.time() + seconds)


def ended(system: Container, url: str, tenant: str = "anna", **about: Any) -> Job:
    """Return a job with a webhook that has ended just now."""
    job = Job(
        str(uuid6.uuid7()), tenant, "native", Status.QUEUED, "digits", "1", "v", AnswerOptions(), "normal", time.time(),
        1, webhook=url, **about,
    )  # fmt: skip
    with system.database.write() as uow:
        uow.jobs.add([(job, [])])
        uow.jobs.end([job.id], Status.CANCELLED, time.time())
    return job


def failed(system: Container, url: str) -> Job:
    """Return a job with a webhook whose only picture has failed just now."""
    job = Job(
        str(uuid6.uuid7()), "anna", "native", Status.QUEUED, "digits", "1", "v", AnswerOptions(), "normal", time.time(),
        1, webhook=url,
    )  # fmt: skip
    with system.database.write() as uow:
        uow.jobs.add([(job, [Item(job.id, 0, "0.png", "blob", 0, 1)])])
        uow.jobs.record([Outcome(job.id, 0, error_code="poison", error="It is.")], time.time())
        return uow.jobs.get("anna", job.id)


def delivery_of(system: Container, job: Job) -> Delivery:
    return webhook_deliveries.get(system, job.tenant, job.id)


def signed_by(secret: bytes, headers: dict[str, str], body: bytes) -> str:
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


# one callback


def test_an_ended_job_calls_back_once_and_signed(system: Container) -> None:
    with receiving() as hook:
        job = ended(system, hook.url, webhook_secret="s3cret", metadata={"order": 7})
        deliver(system)
        deliver(later(system, 10_000))

    ((headers, body),) = hook.calls
    event = json.loads(body)
    assert event["type"] == "job.cancelled"
    assert event["data"] == {
        "_id": job.id,
        "status": "CANCELLED",
        "terminal": True,
        "progress": {"total": 1, "done": 0, "failed": 0},
        "metadata": {"order": 7},
    }
    assert headers["webhook-id"] == job.id
    assert headers["webhook-signature"] == signed_by(b"s3cret", headers, body)


def test_a_failed_callback_is_tried_again_until_it_is_given_up(system: Container) -> None:
    with receiving(500) as hook:
        job = ended(system, hook.url)
        for attempt in range(9):
            deliver(later(system, attempt * 4000))
    assert len(hook.calls) == 7
    assert len({body for _, body in hook.calls}) == 1
    assert delivery_of(system, job).status == "FAILED"


def test_maintenance_notifies_the_deliverer_while_a_delivery_is_due(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(system.queue.notifications, "send_task", lambda *task: sent.append(task))
    with receiving() as hook:
        ended(system, hook.url)
        maintenance.notify_webhooks(system)
        assert sent == [("deliver",)]

        deliver(system)
    sent.clear()
    maintenance.notify_webhooks(later(system, 10_000))
    assert sent == []


def test_a_callback_to_a_private_address_is_not_sent(system: Container) -> None:
    strict = replace(system, settings=system.settings.changed(webhook_private=False))
    with receiving() as hook:
        job = ended(strict, hook.url)
        deliver(strict)
    assert hook.calls == []
    delivery = delivery_of(strict, job)
    assert (delivery.status, delivery.attempts, delivery.response_status) == ("WAITING", 1, None)
    assert delivery.error == "The host '127.0.0.1' is not on the public internet"


def test_a_receiver_that_answers_410_is_not_called_again(system: Container) -> None:
    with receiving(410) as hook:
        job = ended(system, hook.url)
        deliver(system)
        deliver(later(system, 100_000))
    assert len(hook.calls) == 1
    delivery = delivery_of(system, job)
    assert (delivery.status, delivery.due_at, delivery.response_status) == ("FAILED", None, 410)
    assert delivery.error == "answered 410, so it is not called again"


@pytest.mark.parametrize("status", [302, 400, 404, 429, 503])
def test_other_refusals_are_tried_again(system: Container, status: int) -> None:
    with receiving(status) as hook:
        job = ended(system, hook.url)
        deliver(system)
    delivery = delivery_of(system, job)
    assert (delivery.status, delivery.response_status, delivery.error) == ("WAITING", status, f"answered {status}")


@pytest.mark.parametrize(("asked", "wait"), [("120", 120), ("86400", 3600), ("1", 5), ("soon", 5)])
def test_a_receiver_says_when_it_wants_the_next_attempt_up_to_an_hour(system: Container, asked: str, wait: int) -> None:
    now = 1_800_000_000.0
    with receiving(503, {"Retry-After": asked}) as hook:
        job = ended(system, hook.url)
        deliver(replace(system, now=lambda: now))
    assert delivery_of(system, job).due_at == now + wait


# many callbacks


def test_a_good_receiver_is_called_while_silent_ones_still_hang(system: Container) -> None:
    with (
        receiving() as good, receiving(silent=True) as first, receiving(silent=True) as second,
        delivering(system) as deliverer,
    ):  # fmt: skip
        for number in range(20):
            ended(system, f"{(first, second)[number % 2].url}/{number}")
        jobs_of_good = [ended(system, good.url) for _ in range(10)]
        deliverer.deliver()

        assert good.wait_for_calls(10)
        until(lambda: {delivery_of(system, job).status for job in jobs_of_good} == {"DELIVERED"}, 20)
        until(lambda: (first.at_once, second.at_once) == (4, 4), 20)
        first.speak.set()
        second.speak.set()
        assert first.wait_for_calls(10)
        assert second.wait_for_calls(10)
    assert (first.most_at_once, second.most_at_once) == (4, 4)


def test_a_tenant_whose_receivers_are_all_silent_leaves_places_to_another(system: Container) -> None:
    places = DeliveryPlaces(total=3, of_tenant=2, of_receiver=1)
    with ExitStack() as silent, receiving() as good, delivering(system, places) as deliverer:
        hooks = [silent.enter_context(receiving(silent=True)) for _ in range(3)]
        for hook in hooks:
            ended(system, hook.url)
        ended(system, good.url, tenant="bert")
        deliverer.deliver()
        assert good.wait_for_calls(1)
        until(lambda: sum(hook.at_once for hook in hooks) == 2, 20)
        for hook in hooks:
            hook.speak.set()


def test_a_callback_that_becomes_due_meanwhile_is_sent_while_others_hang(system: Container) -> None:
    with receiving() as good, receiving(silent=True) as silent, delivering(system) as deliverer:
        ended(system, silent.url)
        deliverer.deliver()
        assert silent.wait_for_calls(1)
        ended(system, good.url)
        deliverer.deliver()
        assert good.wait_for_calls(1)
        silent.speak.set()


def test_two_deliverers_at_once_send_each_callback_once(system: Container) -> None:
    other = Database(system.database.url)
    with receiving() as hook:
        due = {ended(system, hook.url).id for _ in range(40)}
        with delivering(system) as one, delivering(replace(system, database=other)) as two:
            for _ in range(20):
                one.deliver()
                two.deliver()
            assert hook.wait_for_calls(40, 60)
            until(lambda: not of_status(system, "WAITING"), 20)
    other.close()
    called = [headers["webhook-id"] for headers, _ in hook.calls]
    assert sorted(called) == sorted(due)


def of_status(system: Container, status: str) -> list[Delivery]:
    return webhook_deliveries.list_page(
        system, "anna", status=status, kind="", job_id="", training_id="", before="", limit=100
    )


DELIVER = """
import sys
from shared.container import build
from shared.settings import Settings
from worker.delivery import Deliverer

deliverer = Deliverer(build(Settings(database_url=sys.argv[1], webhook_private=True)))
deliverer.deliver()
sys.stdin.read()
deliverer.close()
"""


def deliverer_process(system: Container) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DELIVER, system.database.url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_two_processes_send_each_callback_once(system: Container) -> None:
    with receiving() as hook:
        due = {ended(system, hook.url).id for _ in range(40)}
        processes = [deliverer_process(system) for _ in range(2)]
        assert hook.wait_for_calls(40, 60)
        until(lambda: not of_status(system, "WAITING"), 20)
        for process in processes:
            process.communicate(timeout=60)
    called = [headers["webhook-id"] for headers, _ in hook.calls]
    assert sorted(called) == sorted(due)


def test_a_callback_of_a_deliverer_that_was_killed_is_sent_again(system: Container) -> None:
    with receiving(silent=True) as hook:
        job = ended(system, hook.url)
        process = deliverer_process(system)
        assert hook.wait_for_calls(1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        hook.speak.set()
        deliver(later(system, 30))
        assert len(hook.calls) == 1  # the claim has not ended yet
        deliver(later(system, 61))
    assert [headers["webhook-id"] for headers, _ in hook.calls] == [job.id, job.id]
    delivery = delivery_of(system, job)
    assert (delivery.status, delivery.attempts) == ("DELIVERED", 2)


def test_a_deliverer_that_is_closed_ends_what_it_has_begun(system: Container) -> None:
    with receiving() as hook:
        job = ended(system, hook.url)
        deliver(system)
        with delivering(system) as deliverer:
            deliverer.stop()
            other = ended(system, hook.url)
            deliverer.deliver()
    assert delivery_of(system, job).status == "DELIVERED"
    assert delivery_of(system, other).attempts == 0


def _retry(system: Container, job: Job) -> None:
    with system.database.write() as uow:
        assert uow.dead_letters.reopen(job, "")[1]


def _retry_and_end_again(system: Container, job: Job) -> None:
    _retry(system, job)
    with system.database.write() as uow:
        uow.jobs.record([Outcome(job.id, 0, ["cat", 0.9])], time.time())


def _erase(system: Container, job: Job) -> None:
    jobs.erase(system, "anna", job.id)


@pytest.mark.parametrize(("change", "calls"), [(_retry, 0), (_retry_and_end_again, 1), (_erase, 0)])
def test_the_callback_of_an_end_that_no_longer_holds_is_not_sent(
    system: Container, monkeypatch: pytest.MonkeyPatch, change: Callable[[Container, Job], None], calls: int
) -> None:
    claim = webhook_deliveries.claim

    def claim_and_change(container: Container, wanted: list[Delivery], seconds: float) -> list[Delivery]:
        claimed = claim(container, wanted, seconds)
        if claimed and not changed:
            changed.append(claimed[0].id)
            change(system, job)
        return claimed

    changed: list[str] = []
    monkeypatch.setattr(webhook_deliveries, "claim", claim_and_change)
    with receiving() as hook:
        job = failed(system, hook.url)
        deliver(system)
        assert changed == [job.id]
    assert [(headers["webhook-id"], json.loads(body)["type"]) for headers, body in hook.calls] == [
        (f"{job.id}-1", "job.done")
    ] * calls


def test_a_deliverer_that_gets_no_claim_does_not_try_for_ever(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def claim(container: Container, wanted: list[Delivery], seconds: float) -> list[Delivery]:
        tried.extend(delivery.id for delivery in wanted)
        return []

    with receiving() as hook:
        job = ended(system, hook.url)
        monkeypatch.setattr(webhook_deliveries, "claim", claim)
        deliver(system)
        assert tried == [job.id]
        monkeypatch.undo()
        deliver(system)
    assert len(hook.calls) == 1


# the ledger


def test_the_ledger_holds_how_the_last_attempt_ended(system: Container) -> None:
    now = 1_800_000_000.0
    with receiving(503) as hook:
        job = ended(system, hook.url)
        before = delivery_of(system, job)
        deliver(replace(system, now=lambda: now))
        hook.status = 204
        after = delivery_of(system, job)
        deliver(replace(system, now=lambda: now + 5))
    assert (before.status, before.attempts, before.body_sha256) == ("WAITING", 0, "")
    digest = hashlib.sha256(hook.calls[0][1]).hexdigest()
    assert (after.status, after.attempts, after.tried_at, after.due_at) == ("WAITING", 1, now, now + 5)
    assert (after.response_status, after.error, after.body_sha256) == (503, "answered 503", digest)
    last = delivery_of(system, job)
    assert (last.status, last.attempts, last.delivered_at, last.due_at) == ("DELIVERED", 2, now + 5, None)
    assert (last.response_status, last.error, last.body_sha256) == (204, "", digest)


def test_a_delivered_callback_can_be_sent_again_and_a_failed_one_gets_all_its_attempts(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(system.queue.notifications, "send_task", lambda *task: sent.append(task))
    with receiving(410) as hook:
        job = ended(system, hook.url)
        deliver(system)
        for status in (500, 200, 200):
            hook.status = status
            resent = webhook_deliveries.resend(system, "anna", job.id)
            assert (resent.status, resent.attempts) == ("WAITING", 0)
            deliver(system)
    assert sent == [("deliver",)] * 3
    assert [headers["webhook-id"] for headers, _ in hook.calls] == [job.id] * 4
    assert delivery_of(system, job).status == "DELIVERED"


def test_two_calls_that_resend_all_failed_at_once_make_each_due_once(
    system: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_deliveries, "PAGE", 3)
    with receiving(410) as gone:
        ids = [ended(system, gone.url).id for _ in range(20)]

        def have_failed() -> bool:
            deliver(system)
            return len(of_status(system, "FAILED")) == len(ids)

        until(have_failed, 30)
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(webhook_deliveries.resend_failed, system, "anna", kind="") for _ in range(4)]
    assert sum(call.result().deliveries for call in calls) == len(ids)
    assert {call.result().left_after for call in calls} == {""}
    assert {each.id for each in of_status(system, "WAITING")} == {*ids}


@pytest.mark.parametrize("before", ["", "ffff"], ids=["the first page", "the next page"])
def test_the_failed_ones_are_found_without_a_look_at_those_that_were_received(database: Database, before: str) -> None:
    lines = query_plans.plan(database, lambda uow: uow.webhook_deliveries.page("anna", status="FAILED", before=before))
    assert any("ix_deliveries_failed" in line for line in lines), lines


def test_a_delivery_of_another_tenant_is_neither_seen_nor_resent(system: Container) -> None:
    job = ended(system, "http://127.0.0.1:9/", tenant="bert")
    for call in (webhook_deliveries.get, webhook_deliveries.resend):
        with pytest.raises(errors.NotFound, match=f"There is no delivery {job.id}"):
            call(system, "anna", job.id)
    assert of_status(system, "") == []


def test_the_delivery_of_a_job_is_kept_as_long_as_the_job_which_its_tenant_may_keep_for_longer(
    system: Container,
) -> None:
    keep = system.settings.keep_jobs
    tenant_limits.replace(system, DEFAULT_TENANT, TenantLimits("anna", keep_jobs=10 * keep))
    with receiving() as hook:
        kept, removed = ended(system, hook.url), ended(system, hook.url, tenant="bert")
        deliver(system)

    maintenance.drop_old_jobs(later(system, keep + 60))
    maintenance.collect_garbage(later(system, keep + 60))

    assert delivery_of(system, kept).status == "DELIVERED"
    with pytest.raises(errors.NotFound):
        delivery_of(system, removed)


def test_ended_deliveries_of_trainings_go_after_their_time_and_those_that_wait_stay(system: Container) -> None:
    now = time.time()
    rows = [
        {"job_id": name, "tenant": "anna", "kind": "training", "attempts": 1, "error": "", "due_at": due_at,
         "tried_at": now, "delivered_at": None}
        for name, due_at in (("old", None), ("waiting", now))
    ]  # fmt: skip
    with system.database.engine.begin() as connection:
        connection.execute(sa.insert(tables.webhook_deliveries), rows)

    def left() -> list[str]:
        with system.database.engine.begin() as connection:
            query = sa.select(tables.webhook_deliveries.c.job_id).order_by(tables.webhook_deliveries.c.job_id)
            return list(connection.execute(query).scalars())

    keep = system.settings.keep_jobs
    webhook_deliveries.drop_old(later(system, keep - 60))
    assert left() == ["old", "waiting"]
    maintenance.collect_garbage(later(system, keep + 60))
    assert left() == ["waiting"]


# secrets


def received(system: Container, hook: Receiver, **about: Any) -> list[str]:
    """Return the signatures of one callback."""
    ended(system, hook.url, **about)
    deliver(system)
    headers, _ = hook.calls[-1]
    return headers.get("webhook-signature", "").split()


def expected(hook: Receiver, *secrets: str) -> list[str]:
    headers, body = hook.calls[-1]
    return [
        signed_by(base64.b64decode(s[6:]) if s.startswith("whsec_") else s.encode(), headers, body) for s in secrets
    ]


def test_a_rotated_secret_signs_beside_the_one_before_it_for_a_while(system: Container) -> None:
    with receiving() as hook:
        assert received(system, hook) == []
        first = webhooks.rotate_secret(system, "anna", 100)
        assert received(system, hook) == expected(hook, first.secret)
        second = webhooks.rotate_secret(system, "anna", 100)
        assert (second.previous, len(second.secret)) == (first.secret, len("whsec_") + 44)
        assert received(system, hook) == expected(hook, second.secret, first.secret)
        assert received(system, hook, webhook_secret="own") == expected(hook, "own")
        assert received(system, hook, tenant="bert") == []
        assert received(later(system, 101), hook) == expected(hook, second.secret)


def test_the_secret_of_the_service_signs_until_the_first_rotation_has_ended(system: Container) -> None:
    system = replace(system, settings=system.settings.changed(webhook_secret="of the service"))
    with receiving() as hook:
        assert received(system, hook) == expected(hook, "of the service")
        new = webhooks.rotate_secret(system, "anna", 100)
        assert received(system, hook) == expected(hook, new.secret, "of the service")
        assert received(later(system, 101), hook) == expected(hook, new.secret)


def test_a_rotation_waits_for_the_end_of_the_one_before_unless_it_ends_both(system: Container) -> None:
    webhooks.rotate_secret(system, "anna", 100)
    webhooks.rotate_secret(system, "anna", 100)
    with pytest.raises(errors.Conflict, match="two secrets already"):
        webhooks.rotate_secret(system, "anna", 100)
    only = webhooks.rotate_secret(system, "anna", 0)
    with receiving() as hook:
        assert received(system, hook) == expected(hook, only.secret)
    assert webhooks.rotate_secret(system, "anna", 100).previous == only.secret
