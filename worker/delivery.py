"""Webhook delivery: signed, limited in time, never to a private address; retried later, and never failing its job."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from email.utils import format_datetime

from shared import errors
from shared.adapters import http_fetch
from shared.container import Container
from shared.domain import lock_names, webhooks
from shared.domain.webhooks import Delivery
from shared.schemas.common import moment_at
from shared.schemas.jobs import ModelReference, Progress
from shared.schemas.webhooks import EndedJob, EndedTraining, JobEvent, TrainingEvent
from shared.services import jobs, trainings, webhook_deliveries

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for one attempt, in all."""
BUDGET = 30.0
"""Seconds after which a run of `deliver` begins no other attempt."""
TAKEN = 60.0
"""Seconds for which a delivery is reserved for the process that took it; if that process crashes, it is due again
afterwards."""


def deliver(container: Container) -> None:
    """Send every callback that is due; two concurrent processes send each callback once."""
    # One run at a time, limited by BUDGET: receivers that do not answer must never block all threads of maintenance.
    lock = container.queue.locks.acquire(lock_names.DELIVERY, TAKEN)
    if lock is None:
        return
    try:
        _deliver(container, until=time.monotonic() + BUDGET)
    finally:
        lock.release()


def _deliver(container: Container, until: float) -> None:
    for delivery in webhook_deliveries.list_due(container):
        if time.monotonic() > until:
            return  # maintenance starts another run
        if webhook_deliveries.claim(container, delivery, TAKEN):
            _send(container, delivery)


def _send(container: Container, delivery: Delivery) -> None:
    try:
        status = http_fetch.post(
            delivery.url,
            *_message(container, delivery),
            timeout=TIMEOUT,
            allow_private=container.settings.webhook_private,
        )
        problem = "" if 200 <= status < 300 else f"answered {status}"
    except errors.BadUrl as error:
        problem = error.message
    except Exception as error:
        log.exception("callback of job %s", delivery.job_id)
        problem = f"failed by {type(error).__name__}"
    webhook_deliveries.record(container, delivery, problem)
    if problem:
        log.warning("callback of job %s, try %d: %s", delivery.job_id, delivery.attempts + 1, problem)


def _message(container: Container, delivery: Delivery) -> tuple[bytes, dict[str, str]]:
    """Return body and headers. The body stays small and reveals no results: the receiver fetches those by the
    job's id."""
    now = int(container.now())
    make_event = _training_event if delivery.kind == "training" else _job_event
    event = make_event(container, delivery, now)
    body = event.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "inferq-webhooks",
        "Date": format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True),
        "webhook-id": delivery.job_id,
        "webhook-timestamp": str(now),
    }
    if secret := delivery.secret or container.settings.webhook_secret:
        headers["webhook-signature"] = webhooks.signature(secret, delivery.job_id, now, body)
    return body, headers


def _job_event(container: Container, delivery: Delivery, now: int) -> JobEvent:
    job = jobs.get(container, delivery.tenant, delivery.job_id)
    data = EndedJob(
        id=job.id,
        status=job.status,
        progress=Progress(total=job.total, done=job.done, failed=job.failed),
        metadata=dict(job.metadata),
    )
    return JobEvent(type=f"job.{job.status.lower()}", timestamp=moment_at(now), data=data)


def _training_event(container: Container, delivery: Delivery, now: int) -> TrainingEvent:
    training = trainings.get(container, delivery.tenant, delivery.job_id)
    data = EndedTraining(
        id=training.id,
        status=training.status,
        model=ModelReference(name=training.name, version=training.version) if training.version else None,
        error=training.error,
        metadata=dict(training.metadata),
    )
    return TrainingEvent(type=f"training.{training.status.lower()}", timestamp=moment_at(now), data=data)
