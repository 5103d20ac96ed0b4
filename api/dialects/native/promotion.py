"""`/v1/models/{name}/…` and `/v1/comparisons`: which version answers by default, and why that one."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from api.context import caller, scope, tools, waited
from api.dialects.native import asking, training_views, views
from api.dialects.native.models import summaries
from shared import comparisons, errors, models, promotion
from shared.comparisons import Comparison
from shared.models import Version
from shared.promotion import Canary

bp = Blueprint("native-promotion", __name__)

AGAIN = "2"
"""Seconds until asking again for a report makes sense."""
_VERSION = "the version of the model that is meant, such as `2`"


@bp.post("/v1/models/<name>/compare")
@scope("models")
def compare(name: str) -> ResponseReturnValue:
    """Have two versions shown the same test pictures; 202, or 200 when the report is there within the wait."""
    seconds, fields = asking.preferred_wait(), asking.json_fields()
    version, dataset = asking.needed(fields, "version", _VERSION), asking.dataset(fields)
    baseline = fields.text("baseline")
    tenant = caller().tenant
    made = comparisons.request(tools(), tenant, name, version, baseline, dataset.id if dataset else None)
    made = _ended(made, seconds)
    response = _answer(made)
    response.status_code = 200 if made.status.terminal else 202
    response.headers["Location"] = f"/v1/comparisons/{made.id}"
    return response


@bp.get("/v1/models/<name>/comparisons")
def listing(name: str) -> ResponseReturnValue:
    """The last fifty of a model, newest first."""
    with tools().records.read() as r:
        models.pick(r.versions.named(caller().tenant, name), name)
        found = r.comparisons.of(caller().tenant, name)
    names = _names(found)
    return jsonify(comparisons=[training_views.comparison(one, names) for one in found])


@bp.get("/v1/comparisons/<comparison_id>")
def show(comparison_id: str) -> ResponseReturnValue:
    """With its report when it is DONE; `Prefer: wait=N` waits for the end."""
    found = comparisons.get(tools(), caller().tenant, comparison_id)
    return _answer(_ended(found, asking.preferred_wait()))


@bp.post("/v1/models/<name>/promote")
@scope("models")
def promote(name: str) -> ResponseReturnValue:
    """Make a version, that has been compared with the default, the default; the version."""
    version = asking.needed(asking.json_fields(), "version", _VERSION)
    return _default(promotion.promote(tools(), caller().tenant, name, version))


@bp.post("/v1/models/<name>/rollback")
@scope("models")
def rollback(name: str) -> ResponseReturnValue:
    """Undo the last promotion; the version that is the default again."""
    return _default(promotion.rollback(tools(), caller().tenant, name))


@bp.get("/v1/models/<name>/canary")
def canary(name: str) -> ResponseReturnValue:
    """The version that answers a share of the requests, and how often it agreed with the default."""
    return _canary(promotion.canary(tools(), caller().tenant, name))


@bp.put("/v1/models/<name>/canary")
@scope("models")
def set_canary(name: str) -> ResponseReturnValue:
    """Let a version answer that share of the requests that name no version; counting begins anew."""
    fields = asking.json_fields()
    version = asking.needed(fields, "version", _VERSION)
    if not fields.has("share"):
        raise errors.BadOption("share must be above 0 and at most 1: which part of the requests it is to answer")
    return _canary(promotion.set_canary(tools(), caller().tenant, name, version, fields.number("share", 0)))


@bp.delete("/v1/models/<name>/canary")
@scope("models")
def clear_canary(name: str) -> ResponseReturnValue:
    """The default answers everything again; 204."""
    promotion.clear_canary(tools(), caller().tenant, name)
    return "", 204


def _default(version: Version) -> Response:
    return jsonify(views.version(version, summaries([version])))


def _ended(comparison: Comparison, seconds: float) -> Comparison:
    if comparison.status.terminal:
        return comparison
    return waited(comparison, seconds, lambda most: comparisons.wait(tools(), comparison.tenant, comparison.id, most))


def _answer(comparison: Comparison) -> Response:
    response = jsonify(training_views.comparison(comparison, _names([comparison])))
    if not comparison.status.terminal:
        response.headers["Retry-After"] = AGAIN
    return response


def _names(found: Sequence[Comparison]) -> dict[str, str]:
    """Version id -> what the version is called, of all that were compared."""
    ids = {version_id for one in found for version_id in (one.candidate_id, one.baseline_id)}
    with tools().records.read() as r:
        known = [r.versions.get(version_id) for version_id in ids]
    return {version.id: version.version for version in known if version}


def _canary(canary: Canary) -> Response:
    with tools().records.read() as r:
        version = r.versions.get(canary.version_id)
    if version is None:  # removed a moment ago
        raise errors.NotFound("The canary is gone.")
    return jsonify(training_views.canary(canary, version))
