"""`/v1/models/{name}/…` and `/v1/comparisons`: compare versions, and choose the default version and a canary."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope, waited
from api.dialects.native.requests import common
from api.dialects.native.routes.models import summaries
from api.dialects.native.serializers import datasets_and_trainings, jobs_and_models
from shared import errors
from shared.domain.comparisons import Comparison
from shared.domain.models import ModelVersion
from shared.domain.promotions import Canary
from shared.services import comparisons, models, promotions

bp = Blueprint("native-promotion", __name__)

AGAIN = "2"
"""Seconds until a client should poll a comparison again."""
_VERSION = "the version of the model that is meant, such as `2`"


@bp.post("/v1/models/<name>/compare")
@scope("models")
def compare(name: str) -> ResponseReturnValue:
    """Compare two versions on the same test pictures; 202, or 200 when the report is ready within the wait."""
    seconds, fields = common.preferred_wait(), common.json_fields()
    version, dataset = common.needed(fields, "version", _VERSION), common.dataset(fields)
    baseline = fields.text("baseline")
    tenant = caller().tenant
    made = comparisons.request(container(), tenant, name, version, baseline, dataset.id if dataset else None)
    made = _ended(made, seconds)
    response = _answer(made)
    response.status_code = 200 if made.status.terminal else 202
    response.headers["Location"] = f"/v1/comparisons/{made.id}"
    return response


@bp.get("/v1/models/<name>/comparisons")
def listing(name: str) -> ResponseReturnValue:
    """List the last fifty comparisons of a model, newest first."""
    found = comparisons.list_of_model(container(), caller().tenant, name)
    names = _names(found)
    return jsonify(comparisons=[datasets_and_trainings.comparison(one, names) for one in found])


@bp.get("/v1/comparisons/<comparison_id>")
def show(comparison_id: str) -> ResponseReturnValue:
    """Return a comparison, with its report when it is DONE; `Prefer: wait=N` waits for the end."""
    found = comparisons.get(container(), caller().tenant, comparison_id)
    return _answer(_ended(found, common.preferred_wait()))


@bp.post("/v1/models/<name>/promote")
@scope("models")
def promote(name: str) -> ResponseReturnValue:
    """Make a version that was compared with the default the new default; return the version."""
    version = common.needed(common.json_fields(), "version", _VERSION)
    return _default(promotions.promote(container(), caller().tenant, name, version))


@bp.post("/v1/models/<name>/rollback")
@scope("models")
def rollback(name: str) -> ResponseReturnValue:
    """Undo the last promotion; return the version that is the default again."""
    return _default(promotions.rollback(container(), caller().tenant, name))


@bp.get("/v1/models/<name>/canary")
def canary(name: str) -> ResponseReturnValue:
    """Return the version that answers a share of the requests, and how often it agreed with the default."""
    return _canary(promotions.canary(container(), caller().tenant, name))


@bp.put("/v1/models/<name>/canary")
@scope("models")
def set_canary(name: str) -> ResponseReturnValue:
    """Let a version answer a share of the requests that name no version; its agreement is counted from 0 again."""
    fields = common.json_fields()
    version = common.needed(fields, "version", _VERSION)
    if not fields.has("share"):
        raise errors.BadOption("share must be above 0 and at most 1: which part of the requests it is to answer")
    return _canary(promotions.set_canary(container(), caller().tenant, name, version, fields.number("share", 0)))


@bp.delete("/v1/models/<name>/canary")
@scope("models")
def clear_canary(name: str) -> ResponseReturnValue:
    """End the canary, so that the default answers every request again; 204."""
    promotions.clear_canary(container(), caller().tenant, name)
    return "", 204


def _default(version: ModelVersion) -> Response:
    return jsonify(jobs_and_models.version(version, summaries([version])))


def _ended(comparison: Comparison, seconds: float) -> Comparison:
    if comparison.status.terminal:
        return comparison
    return waited(
        comparison, seconds, lambda most: comparisons.wait(container(), comparison.tenant, comparison.id, most)
    )


def _answer(comparison: Comparison) -> Response:
    response = jsonify(datasets_and_trainings.comparison(comparison, _names([comparison])))
    if not comparison.status.terminal:
        response.headers["Retry-After"] = AGAIN
    return response


def _names(found: Sequence[Comparison]) -> dict[str, str]:
    """Return version id -> version name, of all versions in the comparisons."""
    ids = {version_id for one in found for version_id in (one.candidate_id, one.baseline_id)}
    known = models.find_versions_by_id(container(), ids)
    return {version.id: version.version for version in known.values()}


def _canary(canary: Canary) -> Response:
    version = models.find_version_by_id(container(), canary.version_id)
    if version is None:  # removed a moment ago
        raise errors.NotFound("The canary is gone.")
    return jsonify(datasets_and_trainings.canary(canary, version))
