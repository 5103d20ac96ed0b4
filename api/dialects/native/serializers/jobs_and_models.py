"""Serializers of jobs, models and keys, one function each; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import groupby
from typing import Any

from shared.domain.jobs import Item, Job, Status
from shared.domain.keys import ApiKey
from shared.domain.models import ModelAlias, ModelVersion

INLINE = 1000
"""Most predictions written into a job; `links.results` streams those of a larger job."""


def job(job: Job, items: Sequence[Item]) -> dict[str, Any]:
    """Return a job; `items` are its first INLINE items."""
    body: dict[str, Any] = {
        "_id": job.id,
        "status": job.status,
        "terminal": job.status.terminal,
        "tenantName": job.tenant,
        "request": {
            "files": [item.name for item in items],
            "options": options(job),
            "texts": [],
            "tenantName": job.tenant,
        },
        "wire": job.wire,
        "model": {"name": job.model, "version": job.version},
        "predictions": [prediction(job, item) for item in items] if job.status.terminal else [],
        "priority": job.priority,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "processed_time": rfc1123(job.finished_at),
        "deadline": iso(job.deadline),
        "metadata": dict(job.metadata),
        "progress": {"total": job.total, "done": job.done, "failed": job.failed},
        "links": {
            "self": f"/v1/jobs/{job.id}",
            "results": f"/v1/jobs/{job.id}/results",
            "events": f"/v1/jobs/{job.id}/events",
        },
    }
    if job.status in (Status.FAILED, Status.EXPIRED):
        first = next((item for item in items if item.error_code), None)
        body["error"] = job.error_code or (first.error_code if first else job.status.lower())
        body["error_description"] = (first.error if first else "") or job.error or "The deadline passed before it ran."
    return body


def options(job: Job) -> dict[str, Any]:
    """Return the requested options of the answer."""
    asked = job.options
    chosen = {"task": asked.task, "exif": asked.exif}
    ranked = {"top_k": asked.top_k, "function_to_apply": asked.function_to_apply}
    return chosen | (ranked if asked.task == "classify" else {})


def prediction(job: Job, item: Item) -> dict[str, Any]:
    """Return one picture's answer, or its error, or its status where it has neither."""
    body: dict[str, Any] = {"name": item.name}
    if item.status == Status.FAILED:
        body["error"] = {"code": item.error_code, "message": item.error}
    elif item.result is None:
        body["status"] = item.status
    elif job.options.task == "features":
        body["featureVectors"] = item.result
    else:
        body["results"] = [{"label": label, "score": score} for label, score in item.result]
    return body


Summaries = Mapping[str, Mapping[str, Any]]
"""Training id -> `accuracy` and `method` of the version that it made."""


def models(versions: Sequence[ModelVersion], default: str, aliases: Sequence[ModelAlias],
           summaries: Summaries) -> list[dict[str, Any]]:  # fmt: skip
    """Return versions, which must be sorted by name, grouped as models."""
    grouped = [(name, list(group)) for name, group in groupby(versions, key=lambda version: version.name)]
    return [model(_nearest(group), default, aliases, summaries) for _, group in grouped]


def model(
    versions: Sequence[ModelVersion], default: str, aliases: Sequence[ModelAlias], summaries: Summaries
) -> dict[str, Any]:
    """Return one model with its versions, oldest first; `aliases` are all of the tenant's aliases."""
    chosen = next((known for known in versions if known.is_default), versions[-1])
    return {
        "name": chosen.name,
        "default_version": chosen.version,
        "is_default": chosen.name == default,
        "shared": chosen.tenant == "*",
        "aliases": [known.alias for known in aliases if known.name == chosen.name],
        "versions": [version(known, summaries) for known in versions],
    }


def version(version: ModelVersion, summaries: Summaries) -> dict[str, Any]:
    """Return one version of a model, without the names of its labels and without its full evidence."""
    measured = summaries.get(version.training_id, {})
    return {
        "name": version.name,
        "version": version.version,
        "state": version.state,
        "reason": version.reason,
        "family": version.family,
        "architecture": version.architecture,
        "labels": len(version.labels),
        "checksum": version.checksum,
        "preprocessing": asdict(version.preprocessing) if version.preprocessing else None,
        "preset": asdict(version.preset) if version.preset else None,
        "created_at": iso(version.created_at),
        "metrics": version.metrics,
        "training": version.training_id or None,
        "accuracy": measured.get("accuracy"),
        "method": measured.get("method"),
        "withheld": version.withheld,
        "canary": version.canary,
    }


def alias(alias: ModelAlias) -> dict[str, Any]:
    """Return an alias and the model that it stands for."""
    return {"alias": alias.alias, "model": alias.name}


def key(key: ApiKey) -> dict[str, Any]:
    """Return a key as it is shown after its creation, without its secret text."""
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "stage": key.stage,
        "account": key.account,
        "created_at": iso(key.created_at),
        "revoked_at": iso(key.revoked_at),
    }


def iso(when: float | None) -> str | None:
    """Return Unix seconds in ISO 8601, in UTC with milliseconds and `Z`; None for None."""
    if when is None:
        return None
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc1123(when: float | None) -> str | None:
    """Return Unix seconds in the date format of HTTP headers, which `processed_time` uses; None for None."""
    return format_datetime(datetime.fromtimestamp(when, UTC), usegmt=True) if when is not None else None


def _nearest(versions: Sequence[ModelVersion]) -> Sequence[ModelVersion]:
    """Return the tenant's own versions if there are any, as they hide a shared model of that name; else the shared."""
    return [known for known in versions if known.tenant != "*"] or versions
