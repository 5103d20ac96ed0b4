"""Webhooks: the signature of a callback, and the times of its attempts (rules, no I/O).

Signed as the Standard Webhooks specification requires: `webhook-signature: v1,<base64 HMAC-SHA256>` over
`id.timestamp.body`, so that existing libraries can verify it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds between attempts; about an hour and three quarters in all. The result stays with the job regardless."""


@dataclass(frozen=True)
class Delivery:
    """A callback that is due."""

    job_id: str
    """The id of a job or of a training."""
    kind: str
    """`job` or `training`."""
    tenant: str
    url: str
    secret: str
    attempts: int
    """Attempts before this one."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`; `whsec_…` secrets are base64, others are used as they are."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def delay(attempts: int) -> float | None:
    """Return the seconds until the next attempt after `attempts` failed attempts; None if there is no other."""
    return DELAYS[attempts - 1] if attempts <= len(DELAYS) else None
