"""The lines that tell a job's life in the logs: `inferq logs JOB` shows them, from all processes, in the order of time.

A line of a request names its job; a line of a batch names the jobs of all its pictures, so that a busy service writes
two lines for a hundred jobs instead of two for each.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from shared.domain.counted import counted
from shared.domain.jobs import BatchRun, Job, JobChange, Outcome
from shared.domain.stream_entry import StreamEntry
from shared.domain.webhooks import Attempt, Delivery

log = logging.getLogger(__name__)

_CLOSED = {"none_left": "no other waited", "full": "it was full", "alone": "claimed before, so alone"}


def accepted(job: Job) -> None:
    """Tell that a job is stored, in the thread of its request."""
    log.info(
        "accepted %s for %s version %s by %s", counted(job.total, "picture"), job.model, job.version, job.wire,
        extra={"event": "accepted", "job": job.id, "tenant": job.tenant, "wire": job.wire, "model": job.model,
               "version": job.version, "pictures": job.total},
    )  # fmt: skip


def repeated(job: Job) -> None:
    """Tell that a request has the idempotency key of a job that is stored already."""
    log.info("answered with the job of the same idempotency key", extra={"event": "repeated", "job": job.id})


def retried(job: Job, pictures: int) -> None:
    """Tell that pictures of an ended job are queued again."""
    log.info(
        "retried %s, retry %d", counted(pictures, "picture"), job.retries,
        extra={"event": "retried", "job": job.id, "tenant": job.tenant, "pictures": pictures},
    )  # fmt: skip


def cancelled(job_id: str) -> None:
    """Tell that a caller has cancelled a job."""
    log.info("cancelled", extra={"event": "cancelled", "job": job_id})


def expired(job_ids: Sequence[str]) -> None:
    """Tell that the deadline of jobs has passed."""
    if job_ids:
        log.info("expired, and what is left of it does not run", extra={"event": "expired", "jobs": list(job_ids)})


def claimed(batch: str, entries: Sequence[StreamEntry]) -> None:
    """Tell that a worker has claimed pictures; if it crashes, this is the last line that names them."""
    attempt = max(entry.attempts for entry in entries)
    log.info(
        "claimed %s%s", counted(len(entries), "picture"), f", attempt {attempt}" if attempt > 1 else "",
        extra={"event": "claimed", "jobs": _ids(entries), "batch": batch, "pictures": len(entries), "attempt": attempt},
    )  # fmt: skip


def ran(
    batch: str, entries: Sequence[StreamEntry], outcomes: Sequence[Outcome], run: BatchRun,
    changes: Sequence[JobChange], now: float,
) -> None:  # fmt: skip
    """Tell what became of a batch and of its jobs; `now` is when it was stored, in Unix seconds."""
    if not log.isEnabledFor(logging.INFO):
        return
    failed_some(batch, outcomes)
    failed = sum(1 for outcome in outcomes if outcome.error_code)
    answered, ms = len(outcomes) - failed, round((now - run.claimed_at) * 1000, 1)
    log.info(
        "ran %d answered, %d failed in %.1f ms, decode %.1f, forward %.1f; %s", answered, failed, ms,
        run.decode * 1000, run.forward * 1000, _CLOSED.get(run.closed, run.closed),
        extra={"event": "ran", "jobs": _ids(entries), "batch": batch, "pictures": len(entries), "answered": answered,
               "failed": failed, "ms": ms, "closed": run.closed, "decode_ms": round(run.decode * 1000, 2),
               "forward_ms": round(run.forward * 1000, 2)},
    )  # fmt: skip
    for change in changes:
        if change.finished_at is not None and change.done + change.failed > 1:
            log.info(
                "ended as %s, %d answered, %d failed", change.status, change.done, change.failed,
                extra={"event": "ended", "job": change.id, "batch": batch, "status": change.status,
                       "answered": change.done, "failed": change.failed},
            )  # fmt: skip


def failed_some(batch: str, outcomes: Sequence[Outcome]) -> None:
    """Tell which pictures have failed and why; those of one job that failed for the same reason share a line. `batch`
    is empty if they did not run."""
    failures = Counter((outcome.job_id, outcome.error_code) for outcome in outcomes if outcome.error_code)
    for outcome in outcomes:
        if count := failures.pop((outcome.job_id, outcome.error_code), 0):
            log.info(
                "%s failed by %s: %s", counted(count, "picture"), outcome.error_code, outcome.error,
                extra={"event": "failed", "job": outcome.job_id, "code": outcome.error_code, "failed": count}
                | ({"batch": batch} if batch else {}),
            )  # fmt: skip


def queued_again(job_ids: Sequence[str]) -> None:
    """Tell that the queue had lost pictures of jobs, and has them again."""
    if job_ids:
        log.info("queued again, because the queue had lost it", extra={"event": "queued_again", "jobs": list(job_ids)})


def called_back(delivery: Delivery, attempt: Attempt) -> None:
    """Tell how an attempt to deliver a webhook ended."""
    about = {
        "event": "webhook", delivery.kind: delivery.id, "delivery": delivery.message_id, "attempt": delivery.attempts,
        "ms": round(attempt.seconds * 1000, 1), "status": attempt.reply.status if attempt.reply else None,
    }  # fmt: skip
    if attempt.problem:
        log.warning(
            "callback of %s %s, try %d: %s", delivery.kind, delivery.id, delivery.attempts, attempt.problem, extra=about
        )
    else:
        log.info("callback delivered, try %d, %.1f ms", delivery.attempts, attempt.seconds * 1000, extra=about)


def _ids(entries: Sequence[StreamEntry]) -> list[str]:
    """Return the ids of the jobs of entries, each once."""
    return list(dict.fromkeys([entry.job_id for entry in entries]))
