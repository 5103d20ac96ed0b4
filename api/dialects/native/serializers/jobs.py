"""Serializers of jobs; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.context import link
from api.dialects.native.serializers.common import rfc1123
from api.dialects.native.serializers.searches import similar
from shared.domain.explanations import METHOD, explained_label
from shared.domain.jobs import Item, Job, Status
from shared.domain.rejection import SENTENCES, Doubt, Verdict
from shared.domain.searches import SearchResult
from shared.schemas import jobs as schemas
from shared.schemas.common import moment, moment_at
from shared.services.queue_positions import QueuePosition

INLINE = 1000
"""Most predictions written into a job; `links.results` streams those of a larger job."""


def job(job: Job, items: Sequence[Item], at: QueuePosition | None = None, now: float = 0.0) -> schemas.Job:
    """Return a job; `items` are its first INLINE items, `at` is where one that has not ended stands at `now` (Unix
    seconds)."""
    return schemas.Job(
        **_fields(job, items),
        position=at.position if at else None,
        eta=moment(now + at.seconds) if at and at.seconds is not None else None,
        timeline=[_batch_run(run) for run in job.timeline or ()],
        request=schemas.JobInput(
            files=[item.name for item in items], options=options(job), texts=[], tenant_name=job.tenant
        ),
        predictions=[prediction(job, item) for item in items] if job.status.terminal else [],
    )


def summary(job: Job) -> schemas.JobSummary:
    """Return a job without its request and predictions."""
    return schemas.JobSummary(**_fields(job, ()))


def listed(job: Job, first: Item | None) -> schemas.ListedJob:
    """Return a job as it is in a list, with its first picture."""
    return schemas.ListedJob(**_fields(job, ()), first=_first(first) if first else None)


def _first(item: Item) -> schemas.FirstPicture:
    label, score = item.result[0] if item.result else ("", None)
    doubt = item.verdict.doubt if item.verdict else ""
    error = item.error if item.status == Status.FAILED else ""
    return schemas.FirstPicture(name=item.name, label=label, score=score, doubt=doubt, error=error)


def _fields(job: Job, items: Sequence[Item]) -> dict[str, Any]:
    path = link(f"/v1/jobs/{job.id}")
    fields: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "terminal": job.status.terminal,
        "tenant_name": job.tenant,
        "wire": job.wire,
        "model": schemas.ModelReference(name=job.model, version=job.version),
        "priority": job.priority,
        "created_at": moment_at(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
        "processed_time": rfc1123(job.finished_at),
        "deadline": moment(job.deadline),
        "metadata": dict(job.metadata),
        "progress": schemas.Progress(total=job.total, done=job.done, failed=job.failed),
        "retries": job.retries,
        "links": schemas.JobLinks(
            self=path, results=f"{path}/results", events=f"{path}/events", pictures=f"{path}/pictures"
        ),
    }
    if job.status in (Status.FAILED, Status.EXPIRED):
        failed = next((item for item in items if item.error_code), None)
        fields["error"] = job.error_code or (failed.error_code if failed else job.status.lower())
        reason = (failed.error if failed else "") or job.error
        fields["error_description"] = reason or "The deadline passed before it ran."
    return fields


def _batch_run(run: Mapping[str, Any]) -> schemas.BatchRun:
    times = {name: moment_at(run[name]) for name in ("claimed_at", "stored_at")}
    return schemas.BatchRun(**{**run, **times})


def options(job: Job) -> dict[str, Any]:
    """Return the requested options of the answer."""
    asked = job.options
    if job.search is not None:
        return {"task": "search", "exif": asked.exif, **job.search}
    chosen = {"task": asked.task, "exif": asked.exif}
    ranked = {"top_k": asked.top_k, "function_to_apply": asked.function_to_apply}
    explained = {} if job.explain is None else {"explain": True, "explain_label": job.explain}
    return chosen | (ranked if asked.task == "classify" else {}) | explained


def prediction(job: Job, item: Item) -> schemas.Prediction:
    """Return one picture's answer, or its error, or its status where it has neither."""
    kind = schemas.LabelledPrediction if _is_labelled(job, item) else schemas.Prediction
    return kind(name=item.name, **_outcome(job, item))


def streamed_prediction(job: Job, item: Item) -> schemas.StreamedPrediction:
    """Return one line of the streamed results."""
    kind = schemas.StreamedLabelledPrediction if _is_labelled(job, item) else schemas.StreamedPrediction
    return kind(position=item.position, name=item.name, **_outcome(job, item))


def _is_labelled(job: Job, item: Item) -> bool:
    return item.status == Status.DONE and job.options.task == "classify"


def _outcome(job: Job, item: Item) -> dict[str, Any]:
    if item.status == Status.FAILED:
        return {"error": schemas.PictureError(code=item.error_code, message=item.error)}
    if item.result is None:
        return {"status": str(item.status)}
    if isinstance(item.result, dict):  # of a search; during an upgrade, an older worker answers it with the features
        return {"similar": similar(SearchResult.from_json(item.result))}
    if job.options.task == "features":
        return {"feature_vectors": item.result}
    fields: dict[str, Any] = {"results": [schemas.Label(label=label, score=score) for label, score in item.result]}
    if item.verdict:
        fields |= {"confident": not item.verdict.doubt, "doubt": _doubt(item.verdict)}
    if job.explain is not None:
        fields["explanation"] = _explanation(job.id, job.explain, item)
    return fields


def _doubt(verdict: Verdict) -> schemas.Doubt | None:
    return schemas.Doubt(code=verdict.doubt, message=SENTENCES[Doubt(verdict.doubt)]) if verdict.doubt else None


def _explanation(job_id: str, explain: str, item: Item) -> schemas.Explanation:
    if item.error:
        return schemas.Explanation(reason=item.error)
    path = link(f"/v1/jobs/{job_id}/explanations/{item.position}")
    return schemas.Explanation(label=explained_label(explain, item.result), method=METHOD, link=path)
