"""`/v1/models/{name}/…` and `/v1/comparisons`: compare versions, and choose the default version and a canary."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope, waited
from api.dialects.native.openapi.operations import WAIT, Body, OperationsBlueprint, operation
from api.dialects.native.requests.common import find_dataset, parse_json, preferred_wait
from api.dialects.native.routes.models import summaries
from api.dialects.native.serializers import models as model_serializers
from api.dialects.native.serializers import promotions as serializers
from api.dialects.native.serializers.common import respond
from shared import errors
from shared.domain.comparisons import Comparison
from shared.domain.models import ModelVersion
from shared.domain.promotions import Canary
from shared.schemas import promotions as schemas
from shared.schemas.models import Version
from shared.services import comparisons, models, promotions

bp = OperationsBlueprint("native-promotion", __name__)

POLL_AGAIN = 2
"""Seconds until a client should poll a comparison again."""


@bp.post("/v1/models/<name>/compare")
@scope("models")
@operation(
    "compareVersions",
    "Promotion",
    {
        200: ("The comparison, ended within the wait.", schemas.Comparison),
        202: ("The comparison, not ended yet. `Location` is where to poll.", schemas.Comparison),
    },
    body=Body(json=schemas.ComparisonRequest, example={"version": "2"}),
    headers=[WAIT],
)
async def compare(name: str) -> Response:
    """Compare two versions.

    Both are run on the same test pictures, none of which either has learned from. A training that adds a version
    compares it with the default version by itself.
    """
    seconds, wanted = preferred_wait(), parse_json(schemas.ComparisonRequest)
    dataset, tenant = find_dataset(wanted.dataset), caller().tenant
    comparison = comparisons.request(
        container(), tenant, name, wanted.version, wanted.baseline, dataset.id if dataset else None
    )
    comparison = await _ended(comparison, seconds)
    return _respond(comparison, 200 if comparison.status.terminal else 202, location=f"/v1/comparisons/{comparison.id}")


@bp.get("/v1/models/<name>/comparisons")
@operation("listComparisons", "Promotion", {200: ("The comparisons.", schemas.ComparisonList)})
def listing(name: str) -> Response:
    """List comparisons.

    The last fifty of a model, newest first.
    """
    rows = comparisons.list_of_model(container(), caller().tenant, name)
    names = _names(rows)
    return respond(schemas.ComparisonList(comparisons=[serializers.comparison(row, names) for row in rows]))


@bp.get("/v1/comparisons/<comparison_id>")
@operation("getComparison", "Promotion", {200: ("The comparison.", schemas.Comparison)}, headers=[WAIT])
async def show(comparison_id: str) -> Response:
    """Poll a comparison.

    Or wait for it, with `Prefer: wait=N`. Its report is there when it is DONE.
    """
    comparison = comparisons.get(container(), caller().tenant, comparison_id)
    return _respond(await _ended(comparison, preferred_wait()))


@bp.post("/v1/models/<name>/promote")
@scope("models")
@operation(
    "promoteVersion",
    "Promotion",
    {200: ("The version that is the default now.", Version)},
    body=Body(json=schemas.PromotionRequest, example={"version": "2"}),
)
def promote(name: str) -> Response:
    """Make a version the default.

    409 unless it was compared with the present default: look at the report first.
    """
    wanted = parse_json(schemas.PromotionRequest)
    return _respond_default(promotions.promote(container(), caller().tenant, name, wanted.version))


@bp.post("/v1/models/<name>/rollback")
@scope("models")
@operation("rollbackVersion", "Promotion", {200: ("The version that is the default again.", Version)})
def rollback(name: str) -> Response:
    """Undo the last promotion."""
    return _respond_default(promotions.rollback(container(), caller().tenant, name))


@bp.get("/v1/models/<name>/canary")
@operation("getCanary", "Promotion", {200: ("The canary.", schemas.Canary)})
def canary(name: str) -> Response:
    """Look at the canary.

    The version that answers a share of the requests, and how often it agreed with the default version.
    """
    return _respond_canary(promotions.canary(container(), caller().tenant, name))


@bp.put("/v1/models/<name>/canary")
@scope("models")
@operation(
    "setCanary",
    "Promotion",
    {200: ("The canary.", schemas.Canary)},
    body=Body(json=schemas.CanaryRequest, example={"version": "2", "share": 0.1}),
)
def set_canary(name: str) -> Response:
    """Give a version a share of the requests.

    Of those that name no version. It replaces another canary, and its agreement is counted from 0 again.
    """
    wanted = parse_json(schemas.CanaryRequest)
    return _respond_canary(promotions.set_canary(container(), caller().tenant, name, wanted.version, wanted.share))


@bp.delete("/v1/models/<name>/canary")
@scope("models")
@operation("clearCanary", "Promotion", {204: ("The default version answers every request again.", None)})
def clear_canary(name: str) -> ResponseReturnValue:
    """End the canary.

    The version stays.
    """
    promotions.clear_canary(container(), caller().tenant, name)
    return "", 204


def _respond_default(version: ModelVersion) -> Response:
    return respond(model_serializers.version(version, summaries([version])))


async def _ended(comparison: Comparison, seconds: float) -> Comparison:
    if comparison.status.terminal:
        return comparison
    return await waited(
        comparison, seconds, lambda most: comparisons.wait(container(), comparison.tenant, comparison.id, most)
    )


def _respond(comparison: Comparison, status: int = 200, *, location: str = "") -> Response:
    answer = serializers.comparison(comparison, _names([comparison]))
    return respond(answer, status, location=location, retry_after=0 if comparison.status.terminal else POLL_AGAIN)


def _names(rows: Sequence[Comparison]) -> dict[str, str]:
    """Return version id -> version name, of all versions in the comparisons."""
    ids = {version_id for row in rows for version_id in (row.candidate_id, row.baseline_id)}
    versions = models.find_versions_by_id(container(), ids)
    return {version.id: version.version for version in versions.values()}


def _respond_canary(canary: Canary) -> Response:
    version = models.find_version_by_id(container(), canary.version_id)
    if version is None:  # removed a moment ago
        raise errors.NotFound("The canary has been removed.")
    return respond(serializers.canary(canary, version))
