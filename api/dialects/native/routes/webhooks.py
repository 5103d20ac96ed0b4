"""`/v1/webhooks`: list and resend deliveries, ping a receiver, rotate the secret that signs the callbacks."""

from __future__ import annotations

import uuid6
from flask import Response, request

from api.context import caller, container, held_threads, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests import jobs as job_requests
from api.dialects.native.requests.common import parse, parse_json, parse_optional_json
from api.dialects.native.serializers import webhooks as serializers
from api.dialects.native.serializers.common import cut, respond
from shared.schemas import webhooks as schemas
from shared.schemas.common import moment_at
from shared.services import webhook_deliveries, webhooks

bp = OperationsBlueprint("native-webhooks", __name__)


@bp.get("/v1/webhooks/deliveries")
@scope("infer")
@operation("listDeliveries", "Webhooks", {200: ("A page.", schemas.DeliveryPage)}, query=schemas.DeliveryQuery)
def listing() -> Response:
    """List deliveries.

    Those of the newest jobs, trainings and drifted days first, in pages; `cursor` is the `next` of the page before.
    They are kept as long as finished jobs.
    """
    query = parse(schemas.DeliveryQuery, request.args)
    rows = webhook_deliveries.list_page(
        container(),
        caller().tenant,
        status=query.status,
        kind=query.kind,
        job_id=query.job_id,
        training_id=query.training_id,
        before=query.cursor,
        limit=query.limit + 1,
    )
    page, following = cut(rows, query.limit)
    return respond(schemas.DeliveryPage(deliveries=[serializers.delivery(row) for row in page], next=following))


@bp.get("/v1/webhooks/deliveries/<delivery_id>")
@scope("infer")
@operation("getDelivery", "Webhooks", {200: ("The delivery.", schemas.Delivery)})
def get(delivery_id: str) -> Response:
    """Show a delivery.

    How its last attempt ended, and when the next one is due.
    """
    return respond(serializers.delivery(webhook_deliveries.get(container(), caller().tenant, delivery_id)))


@bp.post("/v1/webhooks/deliveries/<delivery_id>/resend")
@scope("infer")
@operation("resendDelivery", "Webhooks", {202: ("The delivery, which is due now.", schemas.Delivery)})
def resend(delivery_id: str) -> Response:
    """Resend a delivery.

    Whether it was received or not, with the same id and body; if it is refused, it is sent again as often as a new one.
    """
    return respond(serializers.delivery(webhook_deliveries.resend(container(), caller().tenant, delivery_id)), 202)


@bp.post("/v1/webhooks/deliveries/resend")
@scope("infer")
@operation(
    "resendFailedDeliveries",
    "Webhooks",
    {200: ("What is due now.", schemas.Resent)},
    body=Body(json=schemas.ResendRequest, example={"kind": "job"}),
)
def resend_failed() -> Response:
    """Resend all failed deliveries.

    Every delivery with the status `FAILED`, or only those of one kind, is made due now, as by a resend of each. A call
    that takes too long stops early: send it again with `next` as the `cursor`.
    """
    wanted = parse_optional_json(schemas.ResendRequest)
    with held_threads().taken_or_refused():
        done = webhook_deliveries.resend_failed(container(), caller().tenant, kind=wanted.kind, after=wanted.cursor)
    return respond(schemas.Resent(deliveries=done.deliveries, next=done.left_after or None))


@bp.post("/v1/webhooks/ping")
@scope("infer")
@operation(
    "pingWebhook",
    "Webhooks",
    {200: ("What came back.", schemas.PingResult)},
    body=Body(json=schemas.PingRequest, example={"url": "https://example.org/hook"}),
)
def ping() -> Response:
    """Ping a receiver.

    Sends a signed event of the type `webhook.ping` to the URL, once, as callbacks are sent, and waits for the answer. A
    URL to which no callback is sent is refused, as it is with a job.
    """
    wanted = parse_json(schemas.PingRequest)
    url, secret = job_requests.webhook({"url": wanted.url, "secret": wanted.secret})
    event = schemas.PingEvent(timestamp=moment_at(container().now()), data=schemas.Ping(tenant=caller().tenant))
    signing = webhooks.signing_secrets(container(), caller().tenant, secret)
    with held_threads().taken_or_refused():
        attempt = webhooks.call_back(container(), url, signing, f"ping_{uuid6.uuid7()}", event.encode())
    return respond(serializers.ping_result(attempt, len(signing)))


@bp.post("/v1/webhooks/secret/rotate")
@scope("keys")
@operation(
    "rotateWebhookSecret",
    "Webhooks",
    {201: ("The new secret.", schemas.NewWebhookSecret)},
    body=Body(json=schemas.RotationRequest, example={"overlap": 86_400}),
)
def rotate_secret() -> Response:
    """Rotate the secret of the tenant.

    It signs the webhooks of jobs and trainings without a secret of their own. The secret before it, at first that of
    the service, signs as well for the overlap: a callback then carries both signatures, and a receiver that knows
    either secret accepts it. 409 while two secrets sign already, unless the overlap is 0.
    """
    overlap = parse_json(schemas.RotationRequest).overlap
    return respond(serializers.new_secret(webhooks.rotate_secret(container(), caller().tenant, overlap)), 201)
