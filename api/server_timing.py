"""`Server-Timing` tells a caller that has waited how long each step of its job took (W3C Server Timing)."""

from __future__ import annotations

from flask import Response, g

from shared.domain.jobs import Job


def add_header(response: Response) -> Response:
    """Add the steps of the job that the request has waited for, if it has ended in time."""
    job: Job | None = g.get("waited_for")
    if job is not None and (steps := milliseconds(job)):
        response.headers["Server-Timing"] = ", ".join(f"{name};dur={value:.1f}" for name, value in steps.items())
    return response


def milliseconds(job: Job) -> dict[str, float]:
    """Return the milliseconds of an ended job by step: `queue` until a worker claimed it, `decode`, `infer` in the
    network, `store` until its answer was stored, and `total`; empty if no picture of it ran."""
    if not job.timeline or job.finished_at is None:
        return {}
    decode, infer = (sum(run[name] for run in job.timeline) for name in ("decode_ms", "forward_ms"))
    taken = sum(run["stored_at"] - run["claimed_at"] for run in job.timeline) * 1000
    queue = (job.timeline[0]["claimed_at"] - job.created_at) * 1000
    total = (job.finished_at - job.created_at) * 1000
    steps = {"queue": queue, "decode": decode, "infer": infer, "store": taken - decode - infer, "total": total}
    return {name: max(0.0, value) for name, value in steps.items()}
