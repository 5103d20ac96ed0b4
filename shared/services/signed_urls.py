"""Signed URLs give any holder access to a single path until they expire.

The signature covers the path and the expiry, so that a caller can neither forge a URL nor extend its lifetime.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from shared import errors
from shared.container import Container
from shared.domain.keys import Caller

SECRET = "link_secret"  # noqa: S105 - the key of the stored value that holds it
"""The key of the stored value that signs links; if the value is removed, all earlier links become invalid."""


def expiry(container: Container, caller: Caller, seconds: float) -> int:
    """Return the Unix second at which a link of the caller expires: `seconds` from now, or sooner with its key."""
    ends = container.now() + seconds
    return int(ends if caller.expires_at is None else min(ends, caller.expires_at))


def sign(container: Container, paths: Sequence[str], expires: int) -> list[str]:
    """Return a signature (hex) for each path, valid until `expires`, in Unix seconds."""
    secret = _secret(container)
    return [_signature(secret, path, expires) for path in paths]


def check(container: Container, path: str, expires: int, signature: str) -> None:
    """Raise Forbidden unless the signature matches the path and `expires` (Unix seconds) lies ahead."""
    if not hmac.compare_digest(_signature(_secret(container), path, expires).encode(), signature.encode()):
        raise errors.Forbidden("This link was not made here, or was changed; ask for another.")
    if container.now() >= expires:
        raise errors.Forbidden("This link has expired; ask for another.")


def _signature(secret: str, path: str, expires: int) -> str:
    return hmac.new(secret.encode(), f"{expires} {path}".encode(), hashlib.sha256).hexdigest()


def _secret(container: Container) -> str:
    with container.database.read() as uow:
        if stored := uow.key_values.get(SECRET):
            return stored
    with container.database.write() as uow:
        return uow.key_values.get_or_set(SECRET, secrets.token_hex(32))
