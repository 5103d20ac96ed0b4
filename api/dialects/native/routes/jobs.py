"""`/v1/jobs` and `/v1/classify`: submit, wait, poll, stream events, read results, list, cancel, correct."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue

from api import reading, server_sent_events
from api.context import caller, container, scope, wait_for
from api.dialects.native.requests import common
from api.dialects.native.requests import jobs as job_requests
from api.dialects.native.serializers import datasets_and_trainings, jobs_and_models
from api.reading import Fields
from api.server_sent_events import Snapshot
from shared import errors
from shared.container import Container
from shared.domain.jobs import Item, Job, Status
from shared.services import feedback, jobs

bp = Blueprint("native-jobs", __name__)

PAGE = 1000
"""Items read at once while results are streamed."""


@bp.post("/v1/jobs")
@scope("infer")
def submit() -> ResponseReturnValue:
    """Store the job; 202 at once, or with `Prefer: wait=N` 200 if it ends within the wait."""
    return _submit(default_wait=0.0)


@bp.post("/v1/classify")
@scope("infer")
def classify() -> ResponseReturnValue:
    """Store the job and wait, unless `Prefer: respond-async`; a wait that runs out is a 202 with the id of the job."""
    return _submit(default_wait=container().settings.max_wait)


def _submit(default_wait: float) -> ResponseReturnValue:
    seconds = common.preferred_wait(default_wait)
    job, new = jobs.submit(container(), caller().tenant, job_requests.read(request))
    job = wait_for(job, seconds)
    if seconds:
        jobs.raise_failure(container(), job)
    response = _write(job)
    response.status_code = 200 if job.status.terminal else 202
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@bp.get("/v1/jobs/<job_id>")
@scope("infer")
def poll(job_id: str) -> ResponseReturnValue:
    """Return the job. `Prefer: wait=N` waits for its end; with `If-None-Match`, 304 means that nothing has changed."""
    job = jobs.get(container(), caller().tenant, job_id)
    job = wait_for(job, common.preferred_wait())
    response = _write(job)
    return response.make_conditional(request)


@bp.get("/v1/jobs")
@scope("infer")
def listing() -> ResponseReturnValue:
    """List the jobs, newest first, in pages; `cursor` is the `next` of the page before."""
    fields = Fields(request.args)
    limit = common.limit(fields)
    page = jobs.list_page(
        container(),
        caller().tenant,
        status=common.status(fields),
        model=fields.text("model"),
        before=fields.text("cursor"),
        since=fields.number("since", 0) if fields.has("since") else None,
        until=fields.number("until", 0) if fields.has("until") else None,
        limit=limit + 1,
    )
    return jsonify(common.page("jobs", page, limit, _summary))


@bp.delete("/v1/jobs/<job_id>")
@scope("infer")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel the job durably, in a database row that every worker reads when it forms a batch."""
    return _write(jobs.cancel(container(), caller().tenant, job_id))


@bp.get("/v1/jobs/<job_id>/results")
@scope("infer")
def results(job_id: str) -> ResponseReturnValue:
    """Stream the results: NDJSON with one line per picture, or CSV with one row per label."""
    job = jobs.get(container(), caller().tenant, job_id)
    wanted = request.args.get("format") or ("csv" if request.accept_mimetypes.best == "text/csv" else "ndjson")
    if wanted not in ("ndjson", "csv"):
        raise errors.BadOption("format must be ndjson or csv")
    items = _all_items(container(), job)
    if wanted == "csv":
        return Response(stream_with_context(_csv(job, items)), mimetype="text/csv")
    lines = (json.dumps({"position": item.position} | jobs_and_models.prediction(job, item)) + "\n" for item in items)
    return Response(stream_with_context(lines), mimetype="application/x-ndjson")


@bp.get("/v1/jobs/<job_id>/events")
@scope("infer")
def events(job_id: str) -> ResponseReturnValue:
    """Stream server-sent events: `status` and `progress` as the job changes, and at the end `done` with the job."""
    made, tenant = container(), caller().tenant
    jobs.get(made, tenant, job_id)

    def look() -> Snapshot:
        job = jobs.get(made, tenant, job_id)
        return Snapshot(job.status, (job.done, job.failed), _summary(job))

    return server_sent_events.stream(job_id, look)


@bp.post("/v1/jobs/<job_id>/feedback")
@scope("infer")
def correct(job_id: str) -> ResponseReturnValue:
    """Correct the label of a picture of the job: it becomes an example of the dataset that the model was trained on."""
    fields = common.json_fields()
    label = common.needed(fields, "label", "the name of the label that the picture should have got")
    position, dataset = fields.whole("position", 0), common.dataset(fields)
    limits = reading.limits(container().settings)
    made = feedback.correct_job(
        container(), caller().tenant, job_id, position, label, dataset.id if dataset else None, limits
    )
    return jsonify(datasets_and_trainings.example(made)), 201, {"Location": datasets_and_trainings.example_path(made)}


def _write(job: Job) -> Response:
    items = jobs.list_items(container(), job.id, limit=jobs_and_models.INLINE)
    response = jsonify(jobs_and_models.job(job, items))
    mark = f"{job.id}{job.status}{job.done}{job.failed}"
    response.set_etag(hashlib.sha256(mark.encode()).hexdigest()[:16])
    if not job.status.terminal:
        response.headers["Retry-After"] = str(retry_after(container(), job))
    return response


def retry_after(container: Container, job: Job) -> int:
    """Return the whole seconds, 1 to 60, until the job should be done, from the rate that the workers measure."""
    until, seconds = _paces.get(job.version_id, (0.0, 0))
    if until < time.monotonic():
        seconds = _pace(container, job)
        _paces[job.version_id] = (time.monotonic() + 1.0, seconds)
    return seconds


_paces: dict[str, tuple[float, int]] = {}
"""Version -> (expiry, monotonic; seconds). Asking Redis for every submission would cost more than the push itself."""


def _pace(container: Container, job: Job) -> int:
    try:
        ahead = sum(depth.waiting + depth.running for depth in container.queue.streams.depths([job.version_id]))
        rate = sum(worker["rates"].get(job.version_id, 0.0) for worker in container.queue.workers.list())
    except errors.Unavailable:
        return 2
    return min(60, max(1, math.ceil(ahead / rate))) if rate else 1


def _summary(job: Job) -> dict[str, Any]:
    """Return a job without its request and predictions."""
    body = jobs_and_models.job(job, ())
    return {name: body[name] for name in body if name not in ("request", "predictions")}


def _all_items(container: Container, job: Job) -> Iterator[Item]:
    position = 0
    while position < job.total:
        page = jobs.list_items(container, job.id, start=position, limit=PAGE)
        if not page:
            return
        yield from page
        position = page[-1].position + 1


def _csv(job: Job, items: Iterator[Item]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["position", "name", "status", "rank", "label", "score", "error"])
    for item in items:
        start = [item.position, item.name, item.status]
        if item.status != Status.DONE:
            writer.writerow([*start, "", "", "", item.error])
        elif job.options.task == "features":
            writer.writerow([*start, "", "", " ".join(map(repr, item.result)), ""])
        else:
            for rank, (label, score) in enumerate(item.result, 1):
                writer.writerow([*start, rank, label, score, ""])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()
