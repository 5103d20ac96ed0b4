"""Use-cases of the diagnosis examine the running service, part by part, and say what to do about what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from shared import errors
from shared.container import Container
from shared.domain import diagnosis, webhooks
from shared.domain.dead_letters import Wanted
from shared.domain.diagnosis import PartCheck, Verdict
from shared.services import absences, dead_letters, history, workers

DAY = 86_400.0
"""Seconds for which a dead letter, or a callback that was given up, is news."""
OPERATORS = ("redis", "database", "clocks", "disk")
"""The parts that tell of all tenants together."""
Look = Callable[[Container], list[PartCheck]]


def examine(container: Container, tenant: str, *, of_all: bool, own_key: str | None = None) -> list[PartCheck]:
    """Return what each part of the service tells of itself; a part that does not answer has failed.

    With `of_all` queue and webhooks are those of all tenants, and Redis, database, clocks and disk are examined as
    well, which tell of all tenants together; dead letters are this tenant's in either case, as it alone can see and
    replay them. Without, only what keeps pictures and callbacks of this tenant from being answered. Of keys, those that
    the tenant manages; if `own_key` is given, the one of that id only, for a caller that may not list the others.
    """
    seen = None if of_all else tenant
    looks: dict[str, Look] = {
        "redis": lambda container: diagnosis.judge_redis(container.queue.facts()),
        "database": lambda container: diagnosis.judge_database(container.database.facts(container.now)),
        "clocks": _clocks,
        "queue": partial(_queue, tenant=seen),
        "workers": _workers,
        "maintenance": _maintenance,
        "storage": _storage,
        "disk": lambda container: diagnosis.judge_disk(container.storage.free()),
        "keys": partial(_keys, tenant=tenant, own_key=own_key),
        "webhooks": partial(_webhooks, tenant=seen),
        "dead letters": partial(_dead_letters, tenant=tenant),
    }
    checks: list[PartCheck] = []
    for part, look in looks.items():
        if part in OPERATORS and not of_all:
            continue
        for check in _examine(part, container, look):
            # What is away is needed by several parts; the first one has said so.
            if check.verdict is not Verdict.FAILED or check.found not in {known.found for known in checks}:
                checks.append(check)
    return checks


def _examine(part: str, container: Container, look: Look) -> list[PartCheck]:
    try:
        return look(container)
    except errors.QueueFull as error:
        return [PartCheck(part, Verdict.FAILED, error.message.rstrip("."), diagnosis.MORE_MEMORY)]
    except errors.InferqError as error:
        cure = "see whether it runs and can be reached; accepted pictures are kept, and run when it is back"
        return [PartCheck(part, Verdict.FAILED, error.message.rstrip("."), cure)]


def _clocks(container: Container) -> list[PartCheck]:
    ahead = {"this API": time.time() - container.now()}
    facts = container.database.facts(container.now)
    return diagnosis.judge_clocks(ahead | {"the database": facts.ahead})


def _queue(container: Container, tenant: str | None) -> list[PartCheck]:
    container.queue.ping()
    depths = [depth for depth in container.queue.streams.depths() if tenant in (None, depth.tenant)]
    now = container.now()
    oldest = max((now - depth.oldest for depth in depths if depth.oldest is not None), default=0.0)
    waiting, running = sum(depth.waiting for depth in depths), sum(depth.running for depth in depths)
    recent = history.read_points(container, tenant, history.RECENT)
    return diagnosis.judge_queue(waiting, running, oldest, recent)


def _workers(container: Container) -> list[PartCheck]:
    found = container.queue.workers.list()
    refusal = unknown = ""
    try:
        workers.check_known(container)
    except errors.QueueFull as error:
        unknown = error.message
    try:
        workers.check_claiming(container)
    except errors.Unavailable as error:
        refusal = error.message
    past = history.read_points(container, None, diagnosis.WATCHED)
    return diagnosis.judge_workers(
        [str(worker["device"]) for worker in found],
        waits_for=[str(worker["waits_for"]) for worker in found if worker.get("waits_for")],
        silent=[str(worker["id"]) for worker in workers.list_silent(container)],
        refusal=refusal,
        most=max((point.workers or 0 for point in past), default=0),
        unknown=unknown,
        lost=[] if found else _lost(container),
    )


def _lost(container: Container) -> list[float]:
    now = container.now()
    return [now - expired + container.settings.lease for expired in container.queue.workers.expired()]


def _maintenance(container: Container) -> list[PartCheck]:
    return diagnosis.judge_maintenance(is_sampled=history.is_sampled(container, diagnosis.SILENT_MINUTES))


def _storage(container: Container) -> list[PartCheck]:
    began = time.monotonic()
    container.storage.ping()
    seconds = time.monotonic() - began
    processes: list[dict[str, Any]] = []
    with suppress(errors.InferqError):  # Redis is another part
        processes = [*container.queue.workers.list(), *container.queue.workers.list("trainers")]
    missing = [process["missing"] for process in processes if "missing" in process and process["missing"][0]]
    most, since = max((count for count, _ in missing), default=0), min((since for _, since in missing), default=0.0)
    return diagnosis.judge_storage(seconds, most, absences.in_words(since) if missing else "")


def _keys(container: Container, tenant: str, own_key: str | None) -> list[PartCheck]:
    now, ahead = container.now(), diagnosis.KEYS_AHEAD
    with container.database.read() as uow:
        expiring = uow.key_uses.expiring(tenant, now, until=now + ahead, since=now - ahead)
    told = [key for key in expiring if own_key in (None, key.id)]
    return diagnosis.judge_keys(told, absences.in_words(told[0].expires_at or now) if told else "")


def _webhooks(container: Container, tenant: str | None) -> list[PartCheck]:
    most, after = diagnosis.MOST_CALLBACKS, webhooks.first_id(container.now() - DAY)
    with container.database.read() as uow:
        waiting = uow.webhook_deliveries.waiting(most, tenant)
        given_up = uow.webhook_deliveries.given_up(diagnosis.MOST_COUNTED, after, tenant)
    failing = webhooks.failing_receivers(waiting)
    since = absences.in_words(failing[0].since) if failing else ""
    return diagnosis.judge_webhooks(failing, since, given_up=given_up, is_all=len(waiting) < most)


def _dead_letters(container: Container, tenant: str) -> list[PartCheck]:
    recent = Wanted(since=container.now() - DAY)
    page = dead_letters.list_page(container, tenant, recent, after="", limit=diagnosis.MOST_COUNTED)
    return diagnosis.judge_dead_letters(len(page))
