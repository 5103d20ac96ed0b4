"""Use-cases of retries put the pictures of an ended job that have no answer on the queue again."""

from __future__ import annotations

from shared import errors
from shared.container import Container
from shared.domain.jobs import RETRIED, Item, Job, Status
from shared.services import job_log, job_pictures, jobs, queue_limits


def retry(container: Container, tenant: str, job_id: str, reason: str = "") -> Job:
    """Run the pictures of an ended job again that have failed, for this reason if one is given, or that never ran
    because the job expired; return the job, which is QUEUED again.

    The answers that it has stay, its deadline goes, and its webhook is called when it ends again. Raises NotFound,
    TooManyRequests, TooManyFiles, Forbidden, Unavailable, and Conflict if the job has not ended or was cancelled, or if
    no such picture is left.
    """
    job = jobs.get(container, tenant, job_id)
    _check_status(job)
    with container.database.read() as uow:
        dead = uow.dead_letters.items(job, reason)
    if not dead:
        raise errors.Conflict(f"No picture of job {job_id} has failed{f' with {reason!r}' if reason else ''}.")
    if not _is_any_kept(container, dead):
        raise errors.Conflict(
            f"The pictures of job {job_id} that have no answer are not kept any more; send them as a new job."
        )
    queue_limits.count_waiting(container, job.version_id, tenant, len(dead))
    with container.database.write() as uow:
        if not uow.version_locks.keep({job.version_id}):
            raise errors.Conflict(
                f"Version {job.version} of the model {job.model!r}, on which job {job_id} ran, was removed; send its "
                "pictures as a new job."
            )
        job, again = uow.dead_letters.reopen(job, reason)
        if again and container.tracing.is_on:
            uow.job_traces.replace(job.id, container.tracing.current())
    if not again:
        raise errors.Conflict(f"Job {job_id} has just been retried by another request.")
    jobs.push_committed(container, [jobs.Registration(job, again, trace=container.tracing.current())])
    job_log.retried(job, len(again))
    container.queue.events.publish([], [job_id])
    return job


def _check_status(job: Job) -> None:
    if not job.status.terminal:
        raise errors.Conflict(f"Job {job.id} is {job.status}; it can be retried when it has ended.")
    if job.status not in RETRIED:
        raise errors.Conflict(
            f"Job {job.id} was {Status.CANCELLED} and is not retried; send its pictures as a new job."
        )


def _is_any_kept(container: Container, items: list[Item]) -> bool:
    """Return True if one of the pictures can still be read. A job keeps its own as long as itself; stored images may
    have been deleted."""
    of_each_blob = {item.blob: item for item in items}
    return any(job_pictures.is_kept(container, item) for item in of_each_blob.values())
