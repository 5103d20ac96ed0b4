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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds between attempts; about an hour and three quarters in all. The result stays with the job regardless."""
LONGEST_DELAY = 3600.0
"""Seconds until the next attempt at most, whatever the receiver asks for with `Retry-After`."""
GONE = 410
"""The status by which a receiver ends the attempts of a delivery."""
KINDS = ("job", "training", "drift")


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
class ModelWebhook:
    """Where the owner of a model is called back when one of its days has drifted."""

    url: str
    secret: str
    """Signs the callbacks; empty for that of the tenant, or of the service."""


@dataclass(frozen=True)
class Receiver:
    """Who is called back: deliveries of one receiver share its places."""

    tenant: str
    host: str
    """The host of the URL with its port, in lower case."""


@dataclass(frozen=True)
class Delivery:
    """A callback of an ended job or training, or of a drift, with the end of its last attempt."""

    job_id: str
    """The id of a job, of a training, or of an alarm about drift."""
    kind: str
    """One of KINDS."""
    tenant: str
    url: str
    secret: str
    """The secret of the job, training or model itself; empty if it has none."""
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
        """The id of the delivery, which is that of its job, training or alarm."""
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
class Resent:
    """What one call has made due again."""

    deliveries: int
    left_after: str
    """The id of the last delivery that was looked at, where the call has stopped; empty if it has reached the end."""


@dataclass(frozen=True)
class WaitingCallback:
    """A callback that is sent for the first time or again, now or later."""

    tenant: str
    url: str
    since: float
    """Unix seconds of the end that it announces."""
    has_failed: bool
    """True if its last attempt has failed."""
    status: int | None
    """The HTTP status that answered then; None if none did."""


@dataclass(frozen=True)
class FailingReceiver:
    """A receiver that has not taken a callback, which is sent again."""

    tenant: str
    origin: str
    """Scheme, host and port of its URLs, whose paths may be secrets."""
    waiting: int
    """Callbacks that wait for it, also those that were not tried yet."""
    since: float
    """Unix seconds from when on one waits that has failed."""
    status: int | None
    """The HTTP status that answered that one last; None if none did."""


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


def first_id(moment: float) -> str:
    """Return what sorts before the id of each job, training and alarm that was made at this time (Unix seconds) or
    later, and after all others: a UUID of version 7 begins with its milliseconds."""
    digits = f"{int(moment * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def host_of(url: str) -> str:
    """Return the host of a URL with its port, in lower case; empty if the URL cannot be read."""
    try:
        return urllib.parse.urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, in lower case; its name and password, path and query may be secrets."""
    return f"{url.partition(':')[0].lower()}://{host_of(url).rpartition('@')[2]}"


def failing_receivers(waiting: Iterable[WaitingCallback]) -> list[FailingReceiver]:
    """Return the receivers of waiting callbacks that have not taken one, those with the most callbacks first."""
    of_receiver: dict[tuple[str, str], list[WaitingCallback]] = {}
    for callback in waiting:
        of_receiver.setdefault((callback.tenant, origin_of(callback.url)), []).append(callback)
    found = []
    for (tenant, origin), callbacks in of_receiver.items():
        failed = [callback for callback in callbacks if callback.has_failed]
        if failed:
            first = min(failed, key=lambda callback: callback.since)
            found.append(FailingReceiver(tenant, origin, len(callbacks), first.since, first.status))
    return sorted(found, key=lambda receiver: (-receiver.waiting, receiver.since))


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
