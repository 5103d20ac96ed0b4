"""Use-cases of webhooks call a URL back, signed and limited in time, and rotate the secret of a tenant, which signs its
callbacks."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from shared import errors
from shared.container import Container
from shared.domain import webhooks
from shared.domain.webhooks import Attempt, Reply, WebhookSecret

TIMEOUT = 12.0
"""Seconds for one attempt, in all."""
CONNECT = 5.0
"""Seconds for looking up the host of the receiver and connecting to it."""
SILENCE = 10.0
"""Seconds that a receiver may be silent after that."""


def call_back(
    container: Container, url: str, signing: Sequence[str], message_id: str, body: bytes, trace: str = "",
    attempt_number: int = 1,
) -> Attempt:  # fmt: skip
    """Send one callback, never to a private address, and return how that ended; signed by each of the secrets.

    If there is a span above it, `trace` or the current one, it is a span, and the receiver gets its `traceparent`.
    """
    if not trace and not container.tracing.current():
        return _call_back(container, url, signing, message_id, body)
    # The path may be a secret, as that of a chat's webhook is.
    about: dict[str, str | int] = {
        "http.request.method": "POST",
        "server.address": webhooks.host_of(url),
        "inferq.delivery": message_id,
        "inferq.attempt": attempt_number,
    }
    with container.tracing.span("webhook", about, parent=trace, kind="client") as span:
        attempt = _call_back(container, url, signing, message_id, body)
        if attempt.reply:
            span.set({"http.response.status_code": attempt.reply.status})
        if attempt.problem:
            span.fail(attempt.problem)
    return attempt


def _call_back(container: Container, url: str, signing: Sequence[str], message_id: str, body: bytes) -> Attempt:
    began = time.monotonic()
    reply, problem = None, ""
    try:
        reply = Reply(
            *container.call_back(
                url, body, _headers(container, signing, message_id, body),
                timeout=TIMEOUT, connect=CONNECT, silence=SILENCE, allow_private=container.settings.webhook_private,
            )
        )  # fmt: skip
        problem = webhooks.problem_of(reply)
    except errors.BadUrl as error:
        problem = error.reason
    return Attempt(hashlib.sha256(body).hexdigest(), time.monotonic() - began, reply, problem)


def signing_secrets(container: Container, tenant: str, own: str = "") -> Sequence[str]:
    """Return the secrets that sign a callback of the tenant; `own` is that of its job, training or model."""
    of_tenant = None
    if not own:
        with container.database.read() as uow:
            of_tenant = uow.webhook_secrets.find(tenant)
    return webhooks.signing_secrets(own, of_tenant, container.settings.webhook_secret, container.now())


def rotate_secret(container: Container, tenant: str, overlap: float) -> WebhookSecret:
    """Make a new secret for the tenant, and let the one before it sign as well for `overlap` seconds; return both.

    The one before the first is that of the service, if it has one. Raises Conflict while two secrets sign already,
    unless `overlap` is 0, which ends both.
    """
    now = container.now()
    with container.database.write() as uow:
        current = uow.webhook_secrets.find(tenant, lock=True)
        if current and overlap and current.previous and now < current.previous_until:
            until = datetime.fromtimestamp(current.previous_until, UTC).isoformat(timespec="seconds")
            raise errors.Conflict(
                f"Until {until} webhooks are signed with two secrets already. Rotate again after that, or with "
                "overlap 0, by which both end now."
            )
        new = WebhookSecret(
            tenant,
            "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
            now,
            (current.secret if current else container.settings.webhook_secret) if overlap else "",
            now + overlap,
        )
        if current:
            uow.webhook_secrets.replace(new)
        else:
            uow.webhook_secrets.add(new)
    return new


def _headers(container: Container, signing: Sequence[str], message_id: str, body: bytes) -> dict[str, str]:
    now = int(container.now())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "inferq-webhooks",
        "Date": format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True),
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
    }
    if trace := container.tracing.current():
        headers["traceparent"] = trace
    if signing:
        headers["webhook-signature"] = webhooks.signatures(signing, message_id, now, body)
    return headers
