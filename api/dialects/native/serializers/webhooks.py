"""Serializers of webhook deliveries, pings and secrets; these functions read only their arguments."""

from __future__ import annotations

from shared.domain.webhooks import Attempt, Delivery, WebhookSecret
from shared.schemas import webhooks as schemas
from shared.schemas.common import moment, moment_at


def delivery(delivery: Delivery) -> schemas.Delivery:
    """Return a delivery, without the secret that signs it."""
    return schemas.Delivery(
        id=delivery.id,
        kind=delivery.kind,
        status=delivery.status,
        url=delivery.url,
        attempts=delivery.attempts,
        last_attempt_at=moment(delivery.tried_at),
        next_attempt_at=moment(delivery.due_at),
        delivered_at=moment(delivery.delivered_at),
        response_status=delivery.response_status,
        error=delivery.error,
        body_sha256=delivery.body_sha256,
    )


def ping_result(attempt: Attempt, signatures: int) -> schemas.PingResult:
    """Return what came back from a ping that carried so many signatures."""
    return schemas.PingResult(
        received=not attempt.problem,
        response_status=attempt.reply.status if attempt.reply else None,
        milliseconds=round(attempt.seconds * 1000),
        error=attempt.problem,
        signatures=signatures,
    )


def new_secret(secret: WebhookSecret) -> schemas.NewWebhookSecret:
    """Return a secret that was just made."""
    return schemas.NewWebhookSecret(
        secret=secret.secret,
        created_at=moment_at(secret.created_at),
        previous_until=moment_at(secret.previous_until) if secret.previous else None,
    )
