"""Being called back: what is sent when a job has ended, how it is signed, and when it is tried again (rules).

Signed as the Standard Webhooks specification says: `webhook-signature: v1,<base64 HMAC-SHA256>` over
`id.timestamp.body`, so that existing libraries can check it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds between tries; about an hour and three quarters in all. The result stays with the job regardless."""


@dataclass(frozen=True)
class Delivery:
    """One callback that is due."""

    job_id: str
    """Of a job, or of a training."""
    kind: str
    """`job` or `training`."""
    tenant: str
    url: str
    secret: str
    attempts: int
    """Tries before this one."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`; `whsec_…` secrets are base64, others are taken as they are."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def delay(attempts: int) -> float | None:
    """Seconds until the next try after `attempts` failed ones; None when it is time to give up."""
    return DELAYS[attempts - 1] if attempts <= len(DELAYS) else None
