"""Use-cases of webhook deliveries list them and resend one; for deliverers, they claim what is due and record how an
attempt ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from shared import errors
from shared.container import Container, pauses
from shared.domain import metrics, webhooks
from shared.domain.webhooks import Attempt, Delivery, DeliveryStatus, Receiver, Resent

BUDGET = 10.0
"""Seconds after which a call resends no other page; its caller continues with another call."""
PAGE = 200
"""Deliveries that are resent in one commit."""


def list_page(
    container: Container, tenant: str, *, status: str, kind: str, job_id: str, training_id: str, before: str, limit: int
) -> list[Delivery]:
    """Return the tenant's deliveries, those of the newest jobs and trainings first; `before` is the last id of the
    previous page."""
    with container.database.read() as uow:
        return uow.webhook_deliveries.page(
            tenant, status=status, kind=kind, job_id=job_id, training_id=training_id, before=before, limit=limit
        )


def get(container: Container, tenant: str, delivery_id: str) -> Delivery:
    """Return the tenant's delivery; raises NotFound for that of another tenant, with the same text as for an unknown
    id."""
    with container.database.read() as uow:
        return _found(uow.webhook_deliveries.find(tenant, delivery_id), delivery_id)


def resend(container: Container, tenant: str, delivery_id: str) -> Delivery:
    """Send a callback again now, whether it was received or not, and if need be as often as a new one; return the
    delivery. Raises NotFound."""
    with container.database.write() as uow:
        _found(uow.webhook_deliveries.find(tenant, delivery_id, lock=True), delivery_id)
        uow.webhook_deliveries.resend(delivery_id, container.now())
    container.queue.notifications.send_task("deliver")
    return get(container, tenant, delivery_id)


def resend_failed(container: Container, tenant: str, *, kind: str, after: str = "") -> Resent:
    """Make all callbacks of the tenant that have failed for good due again, or only those of a kind: the newest jobs
    first, from after the delivery `after` on.

    Each page is a commit: a call that is cut off has resent the pages before, and the next one finds the others. None
    is sent twice by two calls at the same time, nor by one call if it fails at once again.
    """
    until = time.monotonic() + BUDGET
    resent = 0
    while page := list_page(container, tenant, status=DeliveryStatus.FAILED, kind=kind, job_id="", training_id="",
                            before=after, limit=PAGE):  # fmt: skip
        after = page[-1].id
        with container.database.write() as uow:
            resent += uow.webhook_deliveries.resend_failed([delivery.id for delivery in page], container.now())
        container.queue.notifications.send_task("deliver")
        if time.monotonic() > until:
            return Resent(resent, after)
    return Resent(resent, "")


def list_due(
    container: Container, *, limit: int, without_tenants: Collection[str], without: Collection[Receiver]
) -> list[Delivery]:
    """Return the callbacks that are due now, the longest due first, without those of some tenants and receivers."""
    with container.database.read() as uow:
        return uow.webhook_deliveries.due(container.now(), limit, without_tenants=without_tenants, without=without)


def claim(container: Container, wanted: Sequence[Delivery], seconds: float) -> list[Delivery]:
    """Reserve deliveries for one attempt of at most `seconds`; return those that no other deliverer has claimed
    meanwhile, as they are then."""
    until = container.now() + seconds
    with container.database.write() as uow:
        # In an order that all processes have, so that two of them do not wait for each other.
        return [
            replace(delivery, attempts=delivery.attempts + 1, due_at=until)
            for delivery in sorted(wanted, key=lambda delivery: delivery.id)
            if uow.webhook_deliveries.take(delivery, until)
        ]


def note_receivers(container: Container, deliveries: Sequence[Delivery]) -> None:
    """Store the receivers of deliveries that wait for a place, so that `list_due` can leave them out."""
    with container.database.write() as uow:
        for delivery in sorted(deliveries, key=lambda delivery: delivery.id):
            uow.webhook_deliveries.note_receiver(delivery)


def record(container: Container, delivery: Delivery, attempt: Attempt) -> None:
    """Store how the attempt of a claimed delivery ended: it is delivered, due again later, or failed for good."""
    pauses.run(container.grouped(_record)((delivery, attempt)))


def _record(container: Container, ended: Sequence[tuple[Delivery, Attempt]]) -> Sequence[None]:
    """Store in one commit what has ended at the same time: jobs are written by the same database."""
    now = container.now()
    with container.database.write() as uow:
        for delivery, attempt in sorted(ended, key=lambda pair: pair[0].id):
            wait = webhooks.delay(delivery.attempts, attempt.reply, now) if attempt.problem else None
            uow.webhook_deliveries.record(delivery, attempt, now, due_at=None if wait is None else now + wait)
    for delivery, attempt in ended:
        will_retry = attempt.problem and webhooks.delay(delivery.attempts, attempt.reply, now) is not None
        outcome = "retried" if will_retry else "failed" if attempt.problem else "delivered"
        container.queue.counts.add(metrics.WEBHOOKS, (delivery.kind, outcome))
        container.queue.counts.observe(metrics.WEBHOOK_SECONDS, attempt.seconds, (delivery.kind,))
    return [None] * len(ended)


def drop_old(container: Container) -> None:
    """Delete the deliveries of trainings and of drift that ended more than `keep_jobs` seconds ago; those of a job go
    with the job, which its tenant may keep for longer."""
    with container.database.write() as uow:
        uow.webhook_deliveries.drop_old(container.now() - container.settings.keep_jobs)


def _found(delivery: Delivery | None, delivery_id: str) -> Delivery:
    if delivery is None:
        raise errors.NotFound(
            f"There is no delivery {delivery_id}. Only a job, training or model with a webhook has one, once it has "
            "ended or drifted."
        )
    return delivery
