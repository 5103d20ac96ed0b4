"""The traces and log lines of a job's life, where it is accepted, where its pictures have run, and where it ends.

request ─> accept ─┬─> queue                              in the trace of the request
                   ├─> run ──> decode, forward, store
                   ├─> queue_again ─ ─> queue, run         below `accept` too, with the number of the push
                   ├─> cancel, expire, fail
                   └─> webhook                             each attempt
batch ─ ─ link ─ ─> run                                    a trace of its own, with a link to each job
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Literal, ParamSpec, cast

from shared.container import Container, Waiting
from shared.domain.jobs import BatchRun, Job, JobTrace, Outcome
from shared.domain.stream_entry import StreamEntry
from shared.services import job_log

P = ParamSpec("P")
log = logging.getLogger(__name__)
PROBLEMS = {
    "cancel": "",
    "expire": "The deadline passed before the job had ended.",
    "fail": "The model was removed, or cannot be loaded.",
}
"""What ends a job whose pictures did not run -> what is wrong with that."""


def told(submit: Callable[P, Waiting[tuple[Job, bool]]]) -> Callable[P, Waiting[tuple[Job, bool]]]:
    """Have a use-case that stores a job, and returns it with True if it is new, tell so in the log and in a trace. Its
    first argument is the container."""

    @wraps(submit)
    async def submit_and_tell(*args: P.args, **kwargs: P.kwargs) -> tuple[Job, bool]:
        container = cast(Container, args[0])
        if not container.tracing.is_on:
            job, is_new = await submit(*args, **kwargs)
        else:
            with container.tracing.span("accept", {}, kind="producer") as span:
                job, is_new = await submit(*args, **kwargs)
                span.set({"inferq.job": job.id, "inferq.pictures": job.total, "inferq.model": job.model,
                          "inferq.version": job.version, "inferq.wire": job.wire})  # fmt: skip
        if is_new:
            job_log.accepted(job)
        else:
            job_log.repeated(job)
        return job, is_new

    return submit_and_tell


def find(container: Container, job_ids: Sequence[str]) -> Mapping[str, JobTrace]:
    """Return job id -> its trace, of those that are traced; none while tracing is off. Raises Unavailable."""
    if not container.tracing.is_on or not job_ids:
        return {}
    with container.database.read() as uow:
        return uow.job_traces.find(job_ids)


def next_pushes(container: Container, job_ids: Sequence[str]) -> Mapping[str, JobTrace]:
    """Return job id -> its trace after one more push, of those that are traced. A failure is logged, and their traces
    end where the queue has lost them."""
    try:
        return {job_id: trace.pushed_again for job_id, trace in find(container, job_ids).items()}
    except Exception:
        log.exception("the traces of %d jobs end where the queue has lost them", len(job_ids))
        return {}


def add_pushes(container: Container, traces: Mapping[str, JobTrace], pictures: Mapping[str, int]) -> None:
    """Count that the queue has got pictures of traced jobs again, job id -> how many, and add a span for each job. A
    failure is logged, not raised."""
    try:
        if not traces:
            return
        with container.database.write() as uow:
            uow.job_traces.count_push(traces)
        now = container.now()
        for job_id, trace in traces.items():
            about: dict[str, str | int] = {
                "inferq.job": job_id, "inferq.push": trace.pushes, "inferq.pictures": pictures[job_id]
            }  # fmt: skip
            container.tracing.add("queue_again", trace.parent, now, now, about, kind="producer")
    except Exception:
        log.exception("%d jobs lack the span of their push", len(traces))


def add_ends(container: Container, job_ids: Sequence[str], what: Literal["cancel", "expire", "fail"]) -> None:
    """Add a span that ends the trace of each of the jobs, whose last pictures did not run, with a link to the request
    that has ended it, if one has. A failure is logged, not raised."""
    try:
        if traces := find(container, job_ids):
            now, by = container.now(), container.tracing.current()
            for job_id, trace in traces.items():
                container.tracing.add(
                    what, trace.parent, now, now, {"inferq.job": job_id}, links=[by] if by else [],
                    problem=PROBLEMS[what],
                )  # fmt: skip
    except Exception:
        log.exception("%d jobs lack the span of their end", len(job_ids))


def add_spans(
    container: Container, batch: str, entries: Sequence[StreamEntry], outcomes: Sequence[Outcome], run: BatchRun,
    times: tuple[float, float],
) -> None:  # fmt: skip
    """Add what a batch has done, once it is announced, so that no caller waits for it; `times` are when the network,
    and then all of its answers were there, in Unix seconds. A failure is logged, not raised."""
    if container.tracing.is_on and (traced := {entry.job_id: entry for entry in entries if entry.trace}):
        try:
            _add_spans(container, batch, list(traced.values()), {outcome.job_id for outcome in outcomes}, run, *times)
        except Exception:
            log.exception("batch %s lacks spans", batch)


def _add_spans(
    container: Container, batch: str, traced: Sequence[StreamEntry], answered: set[str], run: BatchRun, ran_at: float,
    answered_at: float,
) -> None:  # fmt: skip
    add, now = container.tracing.add, container.now()
    about: dict[str, str | int] = {
        "inferq.batch": batch,
        "inferq.worker": run.worker,
        "inferq.batch_pictures": run.size,
    }
    steps = {
        "decode": (run.claimed_at, min(run.claimed_at + run.decode, ran_at)),
        "forward": (ran_at - run.forward, ran_at),
        "store": (answered_at, now),
    }
    ran: list[str] = []
    for entry in traced:
        of_job: dict[str, str | int] = about | {
            "inferq.job": entry.job_id, "inferq.push": entry.pushes, "inferq.attempt": entry.attempts
        }  # fmt: skip
        is_dropped = entry.job_id not in answered  # its job had ended before
        add("queue", entry.trace, entry.pushed_at, run.claimed_at, of_job | {"inferq.dropped": is_dropped})
        if is_dropped:
            continue
        parent = add("run", entry.trace, run.claimed_at, now, of_job, kind="consumer")
        ran.append(parent)
        for name, (began, ended) in steps.items():
            add(name, parent, began, ended, {})
    if ran:
        add("batch", "", run.claimed_at, now, about | {"inferq.closed": run.closed}, kind="consumer", links=ran)
