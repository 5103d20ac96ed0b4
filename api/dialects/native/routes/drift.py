"""`/v1/models/{name}/drift`: whether the pictures that a version answers are still like those of its reference."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope, waited
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests import jobs as job_requests
from api.dialects.native.requests.common import get_dataset, parse, parse_json
from api.dialects.native.serializers import drift as serializers
from api.dialects.native.serializers.common import respond
from shared.domain.webhooks import ModelWebhook
from shared.schemas import drift as schemas
from shared.services import drift, drift_references

bp = OperationsBlueprint("native-drift", __name__)
POLL_AGAIN = 1
"""Seconds after which a caller should look again at a reference that is being measured."""


@bp.get("/v1/models/<name>/drift")
@operation("getDrift", "Models", {200: ("The drift.", schemas.Drift)}, query=schemas.DriftQuery)
def show(name: str) -> Response:
    """Look at the drift of a model.

    For each day in UTC, how far the labels of a version's answers, their scores and the distance of the pictures from
    its training are from the reference, and whether that is more than chance.
    """
    query = parse(schemas.DriftQuery, request.args)
    return _respond(name, query.version, query.days)


@bp.put("/v1/models/<name>/versions/<version>/drift-reference")
@scope("models")
@operation(
    "setDriftReference",
    "Models",
    {
        200: ("The drift from the new reference, or why it could not be measured.", schemas.Drift),
        202: ("A worker measures it; look again.", schemas.Drift),
    },
    body=Body(json=schemas.ReferenceRequest, example={"dataset": "flowers"}),
)
async def choose_reference(name: str, version: str) -> Response:
    """Have another reference measured.

    A worker runs at most 2,000 pictures of the dataset, of those that the version has not learned from. A training
    makes a reference of its test pictures by itself. What was counted before is compared with the new one as well.
    """
    dataset, tenant = get_dataset(parse_json(schemas.ReferenceRequest).dataset), caller().tenant
    begun = drift_references.request(container(), tenant, name, version, dataset.id)
    ended = await waited(
        begun, container().settings.max_wait, lambda most: drift_references.wait(container(), begun, most)
    )
    return _respond(name, version, schemas.DriftQuery().days, 202 if ended.is_running else 200)


@bp.put("/v1/models/<name>/webhook")
@scope("models")
@operation(
    "setModelWebhook",
    "Models",
    {200: ("The drift of the default version.", schemas.Drift)},
    body=Body(json=schemas.ModelWebhookRequest, example={"url": "https://example.org/hook"}),
)
def set_webhook(name: str) -> Response:
    """Be called back about drift.

    When a day in UTC is over, once for each version and kind that has drifted on it. The call is signed and repeated
    as those of jobs.
    """
    wanted = parse_json(schemas.ModelWebhookRequest)
    webhook = ModelWebhook(*job_requests.webhook({"url": wanted.url, "secret": wanted.secret}))
    drift.set_webhook(container(), caller().tenant, name, webhook)
    return _respond(name, "", schemas.DriftQuery().days)


@bp.delete("/v1/models/<name>/webhook")
@scope("models")
@operation("removeModelWebhook", "Models", {204: ("The model has no webhook.", None)})
def remove_webhook(name: str) -> ResponseReturnValue:
    """Be called back about drift no more."""
    drift.clear_webhook(container(), caller().tenant, name)
    return "", 204


def _respond(name: str, version: str, days: int, status: int = 200) -> Response:
    report = drift.get(container(), caller().tenant, name, version, days)
    measurement = drift_references.find(container(), report.version.id)
    answer = serializers.drift(report, measurement)
    return respond(answer, status, retry_after=POLL_AGAIN if measurement.is_running else 0)
