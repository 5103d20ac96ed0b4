"""API keys, the callers behind them, and what they may do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from shared import errors

DEFAULT_TENANT = "default"
STAGES = ("live", "test")
"""What is uploaded with a key of one stage is not seen with a key of the other."""
ACCESS = "access"
"""The kind of token that stands for a key (shared/services/accounts.py)."""
SCOPES = ("infer", "models", "keys")
"""`infer`: jobs and images. `models`: bring and remove models. `keys`: make and revoke keys, see the fleet."""


@dataclass(frozen=True)
class ApiKey:
    """A stored key; its text was shown once, when it was made."""

    id: str
    tenant: str
    name: str
    prefix: str
    """The first characters, to recognise it by."""
    hash: str
    """SHA-256, hex. Keys are 32 random bytes, so that a slow hash would protect nothing."""
    scopes: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None
    stage: str = "live"
    """One of STAGES."""
    account: str = ""
    """Who signs assertions with the key that belongs to `public_key`; such a key has no text."""
    public_key: str = ""
    """PEM; empty for ordinary keys."""


@dataclass(frozen=True)
class Caller:
    """Who a request comes from."""

    tenant: str
    scopes: tuple[str, ...]
    stage: str = "live"

    def must(self, scope: str) -> None:
        """Raises Forbidden when the key has not that scope."""
        if scope not in self.scopes:
            raise errors.Forbidden(f"This key lacks the scope {scope!r}; it has: {', '.join(self.scopes) or 'none'}.")


def is_loopback(host: str) -> bool:
    """Whether the address, or name, can only be reached from this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def hash_secret(secret: str) -> str:
    """What is kept of a secret: SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()
