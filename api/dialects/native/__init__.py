"""The native wire, `/v1`: jobs, datasets, trainings, models, keys, queue and workers; RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.dialects.native.openapi.jobs_and_models import openapi
from api.dialects.native.routes import datasets, jobs, keys, models, promotions, trainings, workers
from shared.domain.keys import Caller
from shared.errors import InferqError
from shared.settings import Settings

PREFIXES = ("/",)


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return one blueprint per resource."""
    return [part.bp for part in (jobs, datasets, trainings, models, promotions, keys, workers)]


def allowance(settings: Settings, _caller: Caller) -> str:
    """Return the rate limit of one tenant on this wire."""
    return settings.native_rate


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return a problem document (RFC 9457); `code` is for programs, `detail` for people."""
    problem: dict[str, object] = {
        "type": f"urn:inferq:error:{error.code}",
        "title": (type(error).__doc__ or "").strip(),
        "status": error.status,
        "detail": error.message,
        "code": error.code,
    }
    if error.job_id:
        problem |= {"_id": error.job_id, "links": {"job": f"/v1/jobs/{error.job_id}"}}
    response = jsonify(problem)
    response.status_code = error.status
    response.mimetype = "application/problem+json"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="inferq"'
    return response


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
