"""The check of a callback by its receiver: whether one of its secrets has signed it, and recently."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping

TOLERANCE = 300.0
"""Seconds that a callback may be old, or from the future."""


def is_genuine(
    secrets: str | Iterable[str], headers: Mapping[str, str], body: bytes, *, tolerance: float = TOLERANCE
) -> bool:
    """Return True if a callback was signed with one of the secrets (Standard Webhooks), at most `tolerance` seconds
    ago.

    `body` is as it arrived, not parsed and written again. While a secret rotates, give the old one and the new one. A
    callback without the headers of a signature is not genuine. Raises ValueError for a secret that begins with `whsec_`
    and is not base64 after it.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, sent = given.get("webhook-timestamp", ""), given.get("webhook-signature", "").split()
    if not (timestamp.isascii() and timestamp.isdecimal() and abs(time.time() - int(timestamp)) <= tolerance):
        return False
    signed = f"{given.get('webhook-id', '')}.{timestamp}.".encode("utf-8", "replace") + body
    known = [_signature(secret, signed) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    return any(hmac.compare_digest(own.encode(), each.encode("utf-8", "replace")) for own in known for each in sent)


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
