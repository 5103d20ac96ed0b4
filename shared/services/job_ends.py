"""Use-cases of job ends tell waiting requests, the log, the traces and the metrics of jobs that no last picture has
ended."""

from __future__ import annotations

from collections.abc import Sequence

from shared.container import Container
from shared.services import job_log, job_traces, metrics


def tell_expired(container: Container, job_ids: Sequence[str]) -> None:
    """Tell of jobs that have expired just now; raises Unavailable."""
    if job_ids:
        container.queue.events.publish(job_ids)
        note_expired(container, job_ids)


def note_expired(container: Container, job_ids: Sequence[str]) -> None:
    """Put jobs that have expired into the log, their traces and the metrics."""
    job_log.expired(job_ids)
    job_traces.add_ends(container, job_ids, "expire")
    metrics.count_ended(container, job_ids)


def tell_cancelled(container: Container, job_ids: Sequence[str]) -> None:
    """Tell of jobs that were cancelled just now; raises Unavailable."""
    if job_ids:
        container.queue.events.publish(job_ids)
        for job_id in job_ids:
            job_log.cancelled(job_id)
        job_traces.add_ends(container, job_ids, "cancel")
        metrics.count_ended(container, job_ids)
