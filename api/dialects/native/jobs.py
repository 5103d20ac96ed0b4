"""`/v1/jobs` and `/v1/classify`: submit, wait, poll, follow, read results, list, cancel, correct."""

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

from api import reading
from api.context import caller, scope, tools, wait_for
from api.dialects.native import asking, following, submission, training_views, views
from api.dialects.native.following import Sight
from api.reading import Fields
from shared import errors, feedback, jobs
from shared.jobs import Item, Job, Status
from shared.tools import Tools

bp = Blueprint("native-jobs", __name__)

PAGE = 1000
"""Items read at once while results are streamed."""


@bp.post("/v1/jobs")
@scope("infer")
def submit() -> ResponseReturnValue:
    """Store the job; 202 at once, or what `Prefer: wait=N` gives."""
    return _submit(default_wait=0.0)


@bp.post("/v1/classify")
@scope("infer")
def classify() -> ResponseReturnValue:
    """The same, waiting unless `Prefer: respond-async`; a wait that runs out is a 202, and the id is never lost."""
    return _submit(default_wait=tools().settings.max_wait)


def _submit(default_wait: float) -> ResponseReturnValue:
    seconds = asking.preferred_wait(default_wait)
    job, new = jobs.submit(tools(), caller().tenant, submission.read(request))
    job = wait_for(job, seconds)
    if seconds:
        jobs.blame(tools(), job)
    response = _write(job)
    response.status_code = 200 if job.status.terminal else 202
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@bp.get("/v1/jobs/<job_id>")
@scope("infer")
def poll(job_id: str) -> ResponseReturnValue:
    """The job. With `Prefer: wait=N` it waits for the end; with `If-None-Match` 304 says that nothing has moved."""
    job = jobs.get(tools(), caller().tenant, job_id)
    job = wait_for(job, asking.preferred_wait())
    response = _write(job)
    return response.make_conditional(request)


@bp.get("/v1/jobs")
@scope("infer")
def listing() -> ResponseReturnValue:
    """Newest first, in pages; `cursor` is the `next` of the page before."""
    fields = Fields(request.args)
    limit = asking.limit(fields)
    with tools().records.read() as r:
        page = r.jobs.page(
            caller().tenant,
            status=asking.status(fields),
            model=fields.text("model"),
            before=fields.text("cursor"),
            since=fields.number("since", 0) if fields.has("since") else None,
            until=fields.number("until", 0) if fields.has("until") else None,
            limit=limit + 1,
        )
    return jsonify(asking.page("jobs", page, limit, _summary))


@bp.delete("/v1/jobs/<job_id>")
@scope("infer")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel, durably: a row that every worker looks at when it puts a batch together."""
    return _write(jobs.cancel(tools(), caller().tenant, job_id))


@bp.get("/v1/jobs/<job_id>/results")
@scope("infer")
def results(job_id: str) -> ResponseReturnValue:
    """One line per picture, streamed: NDJSON, or CSV with one row per label."""
    job = jobs.get(tools(), caller().tenant, job_id)
    wanted = request.args.get("format") or ("csv" if request.accept_mimetypes.best == "text/csv" else "ndjson")
    if wanted not in ("ndjson", "csv"):
        raise errors.BadOption("format must be ndjson or csv")
    items = _all_items(tools(), job)
    if wanted == "csv":
        return Response(stream_with_context(_csv(job, items)), mimetype="text/csv")
    lines = (json.dumps({"position": item.position} | views.prediction(job, item)) + "\n" for item in items)
    return Response(stream_with_context(lines), mimetype="application/x-ndjson")


@bp.get("/v1/jobs/<job_id>/events")
@scope("infer")
def events(job_id: str) -> ResponseReturnValue:
    """Server-sent events: `status` and `progress` as the job moves, `done` with the job, then the end."""
    made, tenant = tools(), caller().tenant
    jobs.get(made, tenant, job_id)

    def look() -> Sight:
        job = jobs.get(made, tenant, job_id)
        return Sight(job.status, (job.done, job.failed), _summary(job))

    return following.stream(job_id, look)


@bp.post("/v1/jobs/<job_id>/feedback")
@scope("infer")
def correct(job_id: str) -> ResponseReturnValue:
    """Say what a picture of the job really shows: it becomes an example of the dataset that the model learned from."""
    fields = asking.json_fields()
    label = asking.needed(fields, "label", "the name of the label that the picture should have got")
    position, dataset = fields.whole("position", 0), asking.dataset(fields)
    limits = reading.limits(tools().settings)
    made = feedback.correct_job(
        tools(), caller().tenant, job_id, position, label, dataset.id if dataset else None, limits
    )
    return jsonify(training_views.example(made)), 201, {"Location": training_views.example_path(made)}


def _write(job: Job) -> Response:
    with tools().records.read() as r:
        items = r.jobs.items(job.id, limit=views.INLINE)
    response = jsonify(views.job(job, items))
    mark = f"{job.id}{job.status}{job.done}{job.failed}"
    response.set_etag(hashlib.sha256(mark.encode()).hexdigest()[:16])
    if not job.status.terminal:
        response.headers["Retry-After"] = str(retry_after(tools(), job))
    return response


def retry_after(tools: Tools, job: Job) -> int:
    """Whole seconds until the job should be done, from the rate that the workers measure; 1 to 60."""
    until, seconds = _paces.get(job.version_id, (0.0, 0))
    if until < time.monotonic():
        seconds = _pace(tools, job)
        _paces[job.version_id] = (time.monotonic() + 1.0, seconds)
    return seconds


_paces: dict[str, tuple[float, int]] = {}
"""Version -> (until when it holds, seconds): asking Redis anew for every submission would cost more than the push."""


def _pace(tools: Tools, job: Job) -> int:
    try:
        ahead = sum(depth.waiting + depth.running for depth in tools.queue.depths([job.version_id]))
        rate = sum(worker["rates"].get(job.version_id, 0.0) for worker in tools.queue.workers())
    except errors.Unavailable:
        return 2
    return min(60, max(1, math.ceil(ahead / rate))) if rate else 1


def _summary(job: Job) -> dict[str, Any]:
    """A job without its predictions."""
    body = views.job(job, ())
    return {name: body[name] for name in body if name not in ("request", "predictions")}


def _all_items(tools: Tools, job: Job) -> Iterator[Item]:
    position = 0
    while position < job.total:
        with tools.records.read() as r:
            page = r.jobs.items(job.id, start=position, limit=PAGE)
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
