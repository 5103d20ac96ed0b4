"""`/v1/jobs` and `/v1/classify`: submit, wait, poll, stream, read, list, cancel, erase, retry and correct jobs."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import math
from collections.abc import Iterator

from flask import Response, request, stream_with_context
from flask.typing import ResponseReturnValue

from api import download_links, reading, server_sent_events
from api.context import caller, container, scope, wait_for
from api.dialects.native.openapi.operations import (
    IF_NONE_MATCH,
    ONCE,
    WAIT,
    Body,
    Media,
    OperationsBlueprint,
    operation,
)
from api.dialects.native.requests import jobs as job_requests
from api.dialects.native.requests.common import (
    find_dataset,
    parse,
    parse_json,
    parse_optional_json,
    preferred_wait,
    right_labels,
)
from api.dialects.native.serializers import datasets as dataset_serializers
from api.dialects.native.serializers import jobs as serializers
from api.dialects.native.serializers.common import respond
from api.download_links import downloadable
from api.server_sent_events import Snapshot
from shared import errors
from shared.container import Container
from shared.domain.jobs import Item, Job, Status
from shared.domain.searches import SearchResult
from shared.schemas import jobs as schemas
from shared.schemas.common import DownloadLink
from shared.schemas.datasets import Example
from shared.services import explanations, feedback, job_lists, job_pictures, job_retries, jobs, models, queue_positions
from shared.services.job_lists import WantedJobs
from shared.services.queue_positions import QueuePosition

bp = OperationsBlueprint("native-jobs", __name__)

CUT = "The results end here, because the others cannot be read at this moment; ask again."
log = logging.getLogger(__name__)
PAGE = 1000
"""Items read at once while results are streamed."""
_PICTURES = Body(
    form=schemas.JobForm,
    json=schemas.JobRequest,
    raw="One picture, or one flat archive of pictures. Options go into the query.",
    query=schemas.RawJob,
    example={"inputs": [{"url": "https://example.org/duck.jpg"}], "top_k": 3},
)
WAITED = {
    200: ("The job, ended within the wait.", schemas.Job),
    202: ("The job, not ended yet. `Location` is where to poll, `Retry-After` when.", schemas.Job),
}


@bp.post("/v1/jobs")
@scope("infer")
@operation("submitJob", "Jobs", WAITED, body=_PICTURES, headers=[WAIT, ONCE])
async def submit() -> Response:
    """Submit pictures as a job.

    The job is stored before 202 is sent, so that an accepted job is always answered.
    """
    return await _submit(preferred_wait(0.0))


@bp.post("/v1/classify")
@scope("infer")
@operation("classify", "Jobs", WAITED, body=_PICTURES, headers=[WAIT, ONCE])
async def classify() -> Response:
    """Classify pictures and wait for the answer.

    The same as `POST /v1/jobs`, but it waits. A wait that runs out answers 202 with the job, so that its id is known.
    If the pictures that wait may take longer than the wait, 503 says when to come back, and nothing is stored. If no
    picture could be read, the answer is the error of the first one.
    """
    longest = container().settings.max_wait
    seconds = min(preferred_wait(longest), longest)
    return await _submit(seconds, patience=seconds or None)


async def _submit(seconds: float, patience: float | None = None) -> Response:
    job, new = await jobs.submit(container(), caller().tenant, job_requests.read(request), patience)
    job = await wait_for(job, seconds)
    if seconds:
        jobs.raise_failure(container(), job)
    return respond_job(job, new=new)


def respond_job(job: Job, *, new: bool) -> Response:
    """Return the answer to a request that has submitted a job: 200 if it has ended, else 202."""
    response = _respond(job, 200 if job.status.terminal else 202, location=f"/v1/jobs/{job.id}")
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@bp.get("/v1/jobs/<job_id>")
@scope("infer")
@operation(
    "getJob",
    "Jobs",
    {200: ("The job.", schemas.Job), 304: ("Nothing has changed since that `ETag`.", None)},
    headers=[WAIT, IF_NONE_MATCH],
)
async def poll(job_id: str) -> ResponseReturnValue:
    """Poll a job.

    Or wait for it, with `Prefer: wait=N`.
    """
    job = jobs.get(container(), caller().tenant, job_id)
    job = await wait_for(job, preferred_wait())
    return _respond(job).make_conditional(request)


@bp.get("/v1/jobs")
@scope("infer")
@operation("listJobs", "Jobs", {200: ("A page.", schemas.JobPage)}, query=schemas.JobQuery)
def listing() -> Response:
    """List jobs.

    Newest first, in pages; `cursor` is the `next` of the page before.
    """
    query = parse(schemas.JobQuery, request.args)
    since, until = job_requests.read_time("since", query.since), job_requests.read_time("until", query.until)
    wanted = WantedJobs(query.status, query.model, since, until, query.wire, query.text)
    page, following = job_lists.page(container(), caller().tenant, wanted, before=query.cursor, limit=query.limit)
    first = job_pictures.first_of(container(), page)
    listed = [serializers.listed(job, first.get(job.id)) for job in page]
    return respond(schemas.JobPage(jobs=listed, next=following or None))


@bp.post("/v1/jobs/<job_id>/cancel")
@scope("infer")
@operation("cancelJob", "Jobs", {200: ("The job.", schemas.Job)})
def cancel(job_id: str) -> Response:
    """Cancel a job.

    Pictures that run at this moment are finished, the others are not begun. 409 when the job has ended.
    """
    return _respond(jobs.cancel(container(), caller().tenant, job_id))


@bp.delete("/v1/jobs/<job_id>")
@scope("infer")
@operation(
    "deleteJob",
    "Jobs",
    {200: ("The job, which had not ended and is cancelled.", schemas.Job), 204: ("It is erased.", None)},
)
def delete(job_id: str) -> ResponseReturnValue:
    """Erase a job that has ended, or cancel one that has not.

    An ended job is removed with its pictures and answers, and its webhook is not called any more. One that has not
    ended is cancelled, and is erased by a second call; `POST /v1/jobs/{job_id}/cancel` cancels and never erases.
    """
    tenant = caller().tenant
    if not jobs.get(container(), tenant, job_id).status.terminal:
        return _respond(jobs.cancel(container(), tenant, job_id))
    jobs.erase(container(), tenant, job_id)
    return "", 204


@bp.post("/v1/jobs/<job_id>/retry")
@scope("infer")
@operation(
    "retryJob",
    "Jobs",
    {202: ("The job, which is queued again. `Retry-After` says when to poll.", schemas.Job)},
)
def retry(job_id: str) -> Response:
    """Run the failed pictures of a job again.

    Or all pictures, of a job that expired before it ran. The answers that it has stay, its deadline goes, and its
    webhook is called again at its end. 409 if the job has not ended, was cancelled, or has no such picture that is
    still kept.
    """
    job = job_retries.retry(container(), caller().tenant, job_id)
    return _respond(job, 202, location=f"/v1/jobs/{job.id}")


@bp.get("/v1/jobs/<job_id>/results")
@downloadable
@scope("infer")
@operation(
    "getResults",
    "Jobs",
    {200: ("NDJSON with one line per picture, or CSV with one row per label.",
           Media(["application/x-ndjson", "text/csv"]))},
    query=schemas.ResultsQuery,
)  # fmt: skip
def results(job_id: str) -> Response:
    """Stream the results.

    One line per picture; suited to archives of thousands. In CSV an apostrophe precedes names, labels and errors that
    spreadsheets would take for formulas, and for a version with a rejection rule a last column says why an answer is
    not believed.
    """
    query = parse(schemas.ResultsQuery, request.args)
    job = jobs.get(container(), caller().tenant, job_id)
    items = _all_items(container(), job)
    if (query.format or ("csv" if request.accept_mimetypes.best == "text/csv" else "ndjson")) == "csv":
        version = models.find_version_by_id(container(), job.version_id)
        judged = version is not None and version.rejection is not None
        last = f",,{Status.FAILED},,,,{CUT}{',' if judged else ''}\r\n"
        rows = _ended_by(_csv(job, items, judged=judged), last)
        return Response(stream_with_context(rows), mimetype="text/csv")
    lines = (serializers.streamed_prediction(job, item).encode().decode() + "\n" for item in items)
    cut = schemas.CutResults(error=schemas.PictureError(code=schemas.INCOMPLETE, message=CUT))
    last = f"{cut.encode().decode()}\n"
    return Response(stream_with_context(_ended_by(lines, last)), mimetype="application/x-ndjson")


@bp.post("/v1/jobs/<job_id>/results/link")
@scope("infer")
@operation(
    "linkResults",
    "Jobs",
    {200: ("The link.", DownloadLink)},
    body=Body(json=schemas.ResultsLinkRequest, example={"format": "csv"}),
)
def link_results(job_id: str) -> Response:
    """Link the results.

    A download link needs no key, so that a browser can save the file by itself. It is valid for five minutes.
    """
    wanted = parse_optional_json(schemas.ResultsLinkRequest)
    job = jobs.get(container(), caller().tenant, job_id)
    return respond(download_links.make(f"/v1/jobs/{job.id}/results", format=wanted.format))


@bp.get("/v1/jobs/<job_id>/explanations/<int:position>")
@scope("infer")
@operation(
    "getExplanation",
    "Jobs",
    {200: ("The picture under its heat map, at most 1024 pixels a side.", Media(["image/png"]))},
)
def explanation(job_id: str, position: int) -> Response:
    """Show why a picture has its label.

    Of a job with `explain`: the heat lies where the evidence for the label is, and what the model does not see is dark.
    """
    return Response(explanations.read(container(), caller().tenant, job_id, position), mimetype="image/png")


@bp.get("/v1/jobs/<job_id>/events")
@scope("infer")
@operation(
    "followJob",
    "Jobs",
    {200: ("Events; the data of each is a job without its predictions.", Media(["text/event-stream"]))},
)
def events(job_id: str) -> Response:
    """Follow a job.

    Server-sent events: `status` and `progress` on changes, `done` at the end.
    """
    made, tenant = container(), caller().tenant
    jobs.get(made, tenant, job_id)

    def look() -> Snapshot:
        job = jobs.get(made, tenant, job_id)
        return Snapshot(job.status, (job.done, job.failed), serializers.summary(job).encode())

    return server_sent_events.stream(job_id, look)


@bp.post("/v1/jobs/<job_id>/feedback")
@scope("infer")
@operation(
    "correctJob",
    "Jobs",
    {201: ("The example.", Example)},
    body=Body(json=schemas.FeedbackRequest, example={"label": "duck"}),
)
def correct(job_id: str) -> Response:
    """Correct a prediction.

    The picture becomes an example of the dataset, for the next training to learn from.
    """
    wanted = parse_json(schemas.FeedbackRequest)
    labels = right_labels(wanted.label, wanted.labels)
    dataset, limits = find_dataset(wanted.dataset), reading.limits(container().settings)
    example = feedback.correct_job(
        container(), caller().tenant, job_id, wanted.position, labels, dataset.id if dataset else None, limits
    )
    return respond(dataset_serializers.example(example), 201, location=dataset_serializers.example_path(example))


def _respond(job: Job, status: int = 200, *, location: str = "") -> Response:
    items = jobs.list_items(container(), job, limit=serializers.INLINE)
    position = None if job.status.terminal else queue_positions.find(container(), job, is_new=bool(location))
    answer = serializers.job(job, items, position, container().now())
    response = respond(answer, status, location=location, retry_after=retry_after(position) if position else 0)
    mark = f"{job.id}{job.status}{job.done}{job.failed}{answer.position}{job.retries}"
    response.set_etag(hashlib.sha256(mark.encode()).hexdigest()[:16])
    return response


def retry_after(position: QueuePosition) -> int:
    """Return the whole seconds, 1 to 60, until a job at that position should be done; 1 if it is unknown."""
    return min(60, max(1, math.ceil(position.seconds or 0)))


def _all_items(container: Container, job: Job) -> Iterator[Item]:
    position = 0
    while position < job.total:
        page = jobs.list_items(container, job, start=position, limit=PAGE)
        if not page:
            return
        yield from page
        position = page[-1].position + 1


def _ended_by(lines: Iterator[str], complaint: str) -> Iterator[str]:
    """Yield the lines; a complaint follows the last one if the others cannot be read. The status was sent long ago, and
    an answer that just ends looks whole."""
    try:
        yield from lines
    except errors.InferqError as error:
        log.warning("results were cut: %s", error.message)
        yield complaint


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a text begins with that spreadsheets take for a formula, or skip before one."""


def _cell(text: str) -> str:
    """Return a text of a caller or a model as a spreadsheet shows it, with an apostrophe before what would be a
    formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(job: Job, items: Iterator[Item], *, judged: bool) -> Iterator[str]:
    """Yield the rows of a job; `judged` adds the column of doubts."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["position", "name", "status", "rank", "label", "score", "error", *(["doubt"] if judged else [])])
    for item in items:
        start = [item.position, _cell(item.name), item.status]
        end = [item.verdict.doubt if item.verdict else ""] if judged else []
        if item.status != Status.DONE:
            writer.writerow([*start, "", "", "", _cell(item.error), *end])
        elif isinstance(item.result, dict):  # of a search
            for rank, hit in enumerate(SearchResult.from_json(item.result).hits, 1):
                writer.writerow([*start, rank, _cell(hit.label or hit.name), hit.similarity, "", *end])
        elif job.options.task == "features":
            writer.writerow([*start, "", "", " ".join(map(repr, item.result)), "", *end])
        else:
            for rank, (label, score) in enumerate(item.result, 1):
                writer.writerow([*start, rank, _cell(label), score, "", *end])
            if not item.result:  # every picture has a row
                writer.writerow([*start, "", "", "", "", *end])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()
