"""One webhook: signed, timed, never to a private address; tried again later, and never failing its job."""

from __future__ import annotations

import json
import logging
import secrets
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from shared import errors, fetch, jobs, trainings, webhooks
from shared.tools import Tools
from shared.webhooks import Delivery

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for one try, in all."""
BUDGET = 30.0
"""Seconds after which a deliverer begins no other try."""
TAKEN = 60.0
"""Seconds that a delivery belongs to the deliverer that took it; if that one dies, it is due again after them."""


def deliver(tools: Tools) -> None:
    """Send every callback that is due; two deliverers at once send each one once."""
    # One at a time, and not for long: receivers that do not answer must never take all the housekeeper's threads.
    me = secrets.token_hex(8)
    if not tools.queue.lock("deliver", me, TAKEN):
        return
    try:
        _deliver(tools, until=time.monotonic() + BUDGET)
    finally:
        tools.queue.unlock("deliver", me)


def _deliver(tools: Tools, until: float) -> None:
    with tools.records.read() as r:
        due = r.deliveries.due(tools.now())
    for delivery in due:
        if time.monotonic() > until:
            return  # the sweep sends another deliverer
        with tools.records.write() as r:
            taken = r.deliveries.take(delivery, tools.now() + TAKEN)
        if taken:
            _send(tools, delivery)


def _send(tools: Tools, delivery: Delivery) -> None:
    attempts = delivery.attempts + 1
    try:
        status = fetch.post(
            delivery.url, *_message(tools, delivery), timeout=TIMEOUT, allow_private=tools.settings.webhook_private
        )
        problem = "" if 200 <= status < 300 else f"answered {status}"
    except errors.BadUrl as error:
        problem = error.message
    except Exception as error:
        log.exception("callback of job %s", delivery.job_id)
        problem = f"failed by {type(error).__name__}"
    with tools.records.write() as r:
        if not problem:
            r.deliveries.succeeded(delivery.job_id, tools.now())
            return
        wait = webhooks.delay(attempts)
        r.deliveries.failed(delivery.job_id, problem, due_at=None if wait is None else tools.now() + wait)
    log.warning("callback of job %s, try %d: %s", delivery.job_id, attempts, problem)


def _message(tools: Tools, delivery: Delivery) -> tuple[bytes, dict[str, str]]:
    """Body and headers. The answer itself is fetched with the job's id: a body stays small and leaks nothing."""
    now = int(tools.now())
    told = _training(tools, delivery) if delivery.kind == "training" else _job(tools, delivery)
    body = json.dumps(
        {
            "type": f"{delivery.kind}.{told['status'].lower()}",
            "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
            "data": {"_id": delivery.job_id, "terminal": True, **told},
        }
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "inferq-webhooks",
        "Date": format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True),
        "webhook-id": delivery.job_id,
        "webhook-timestamp": str(now),
    }
    if secret := delivery.secret or tools.settings.webhook_secret:
        headers["webhook-signature"] = webhooks.signature(secret, delivery.job_id, now, body)
    return body, headers


def _job(tools: Tools, delivery: Delivery) -> dict[str, Any]:
    job = jobs.get(tools, delivery.tenant, delivery.job_id)
    progress = {"total": job.total, "done": job.done, "failed": job.failed}
    return {"status": job.status, "progress": progress, "metadata": dict(job.metadata)}


def _training(tools: Tools, delivery: Delivery) -> dict[str, Any]:
    training = trainings.get(tools, delivery.tenant, delivery.job_id)
    model = {"name": training.name, "version": training.version} if training.version else None
    return {"status": training.status, "model": model, "error": training.error, "metadata": dict(training.metadata)}
