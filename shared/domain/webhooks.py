"""Webhooks: what a delivery is, the signature of a callback, and the times of its attempts (rules, no I/O).

Signed as the Standard Webhooks specification requires: `webhook-signature: v1,<base64 HMAC-SHA256>` over
`id.timestamp.body`, so that existing libraries can verify it. While a secret rotates, the header holds a signature by
each of the two secrets, with a space between them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds between attempts; about an hour and three quarters in all. The result stays with the job regardless."""
LONGEST_DELAY = 3600.0
"""Seconds until the next attempt at most, whatever the receiver asks for with `Retry-After`."""
GONE = 410
"""The status by which a receiver ends the attempts of a delivery."""
KINDS = ("job", "training")


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    WAITING = "WAITING"
    """The first attempt, or the next one, is due at a known time, or runs now."""
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    """The last attempt has failed, and there is no other."""


@dataclass(frozen=True)
class WebhookSecret:
    """The secret that signs the webhooks of a tenant."""

    tenant: str
    secret: str
    created_at: float
    previous: str = ""
    """The secret before it; empty if there was none."""
    previous_until: float = 0.0
    """Unix seconds until which `previous` signs as well."""


@dataclass(frozen=True)
class Receiver:
    """Who is called back: deliveries of one receiver share its places."""

    tenant: str
    host: str
    """The host of the URL with its port, in lower case."""


@dataclass(frozen=True)
class Delivery:
    """A callback of an ended job or training, with the end of its last attempt."""

    job_id: str
    """The id of a job or of a training."""
    kind: str
    """`job` or `training`."""
    tenant: str
    url: str
    secret: str
    """The secret of the job or training itself; empty if it has none."""
    attempts: int
    """Attempts before this one, since the delivery was last resent."""
    due_at: float | None
    """Unix seconds of the next attempt; None if there is no other."""
    host: str | None = None
    """The stored host; None until a deliverer has first looked at the delivery."""
    tried_at: float | None = None
    delivered_at: float | None = None
    response_status: int | None = None
    """The HTTP status of the last answer; None if the last attempt had none."""
    error: str = ""
    body_sha256: str = ""
    """The SHA-256 of the last body in hex; empty before the first attempt."""
    retries: int = 0
    """How often the job was retried before this end."""

    @property
    def message_id(self) -> str:
        """The id by which a receiver recognises a callback that it gets twice: each end of a job has its own."""
        return f"{self.job_id}-{self.retries}" if self.retries else self.job_id

    @property
    def id(self) -> str:
        """The id of the delivery, which is that of its job or training."""
        return self.job_id

    @property
    def status(self) -> DeliveryStatus:
        """The status, which follows from the times."""
        if self.due_at is not None:
            return DeliveryStatus.WAITING
        return DeliveryStatus.FAILED if self.delivered_at is None else DeliveryStatus.DELIVERED

    @property
    def receiver(self) -> Receiver:
        """The receiver of the callback."""
        return Receiver(self.tenant, host_of(self.url) if self.host is None else self.host)


@dataclass(frozen=True)
class Reply:
    """The answer to a callback, without its body."""

    status: int
    retry_after: str
    """The header `Retry-After` as it came; empty if there was none."""


@dataclass(frozen=True)
class Attempt:
    """How one attempt to call back has ended."""

    body_sha256: str
    seconds: float
    """The duration of the attempt."""
    reply: Reply | None = None
    """None if no answer came."""
    problem: str = ""
    """What was wrong, as a part of a sentence; empty if the callback was received."""


def host_of(url: str) -> str:
    """Return the host of a URL with its port, in lower case; empty if the URL cannot be read."""
    try:
        return urllib.parse.urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def signing_secrets(own: str, of_tenant: WebhookSecret | None, of_service: str, now: float) -> Sequence[str]:
    """Return the secrets that sign a callback: the job's own; else the tenant's, two while it rotates; else the
    service's. Empty if there is none."""
    if own:
        return [own]
    if of_tenant is None:
        return [of_service] if of_service else []
    overlaps = of_tenant.previous and now < of_tenant.previous_until
    return [of_tenant.secret, *([of_tenant.previous] if overlaps else [])]


def signatures(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature by each secret; raises as `signature`."""
    return " ".join(signature(secret, message_id, timestamp, body) for secret in secrets)


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature; raises as `signing_key`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(signing_key(secret), signed, hashlib.sha256).digest()).decode()


def signing_key(secret: str) -> bytes:
    """Return the key of a secret: `whsec_…` secrets are base64, others are used as they are. Raises ValueError for a
    secret that is not base64 after `whsec_`, or has nothing there, since anybody could sign with an empty key."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    key = base64.b64decode(secret[6:])
    if not key:
        raise ValueError("the secret holds no key")
    return key


def problem_of(reply: Reply) -> str:
    """Return what is wrong with an answer; empty if the callback was received."""
    if 200 <= reply.status < 300:
        return ""
    return f"answered {reply.status}" + (", so it is not called again" if reply.status == GONE else "")


def delay(attempts: int, reply: Reply | None = None, now: float = 0.0) -> float | None:
    """Return the seconds until the next attempt after `attempts` failed attempts; None if there is no other.

    The receiver may ask for a longer delay with `Retry-After`, up to LONGEST_DELAY, and for no other attempt with GONE.
    """
    if attempts > len(DELAYS) or (reply is not None and reply.status == GONE):
        return None
    asked = _seconds_asked(reply.retry_after, now) if reply else 0.0
    return max(DELAYS[attempts - 1], min(asked, LONGEST_DELAY))


def _seconds_asked(retry_after: str, now: float) -> float:
    """Return the seconds of a `Retry-After`, a number or a date; 0 if it is neither."""
    try:
        is_number = retry_after[:1].isdecimal()
        seconds = float(retry_after) if is_number else parsedate_to_datetime(retry_after).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
