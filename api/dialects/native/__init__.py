"""The native wire, `/v1`: jobs, webhooks, datasets, trainings, models, keys, workers, diagnosis; RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint
from flask.typing import ResponseReturnValue

from api.context import link
from api.dialects.native.openapi.document import document
from api.dialects.native.routes import (
    datasets,
    dead_letters,
    diagnosis,
    drift,
    examples,
    exports,
    job_pictures,
    jobs,
    keys,
    models,
    promotions,
    rejection,
    searches,
    suggestions,
    suspects,
    tenant_limits,
    trainings,
    webhooks,
    workers,
)
from api.dialects.native.serializers.common import respond
from api.openapi_builder import Part
from shared.domain.keys import Caller
from shared.errors import InferqError
from shared.schemas.common import Problem, ProblemLinks
from shared.settings import Settings

PREFIXES = ("/", searches.PATH)
_PARTS = (
    jobs,
    job_pictures,
    dead_letters,
    searches,
    webhooks,
    datasets,
    examples,
    suspects,
    trainings,
    models,
    exports,
    promotions,
    rejection,
    suggestions,
    drift,
    keys,
    tenant_limits,
    workers,
    diagnosis,
)
_BLUEPRINTS = [part.bp for part in _PARTS]


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return one blueprint per resource."""
    return _BLUEPRINTS


def openapi(settings: Settings) -> Part:
    """Return the tags, paths and components of this wire."""
    return document({call: operation for bp in _BLUEPRINTS for call, operation in bp.operations.items()})


def allowance(settings: Settings, _caller: Caller) -> str:
    """Return the rate limit of one tenant on this wire."""
    return settings.native_rate


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return a problem document (RFC 9457); `code` is for programs, `detail` for people."""
    problem = Problem(
        type=f"urn:inferq:error:{error.code}",
        title=(type(error).__doc__ or "").strip(),
        status=error.status,
        detail=error.message,
        code=error.code,
        job_id=error.job_id,
        links=ProblemLinks(job=link(f"/v1/jobs/{error.job_id}")) if error.job_id else None,
    )
    response = respond(problem, error.status)
    response.mimetype = "application/problem+json"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="inferq"'
    return response


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
