"""API keys, the callers that they identify, and the scopes that they grant."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from shared import errors

DEFAULT_TENANT = "default"
STAGES = ("live", "test")
"""The stages of a key; an upload with a key of one stage is invisible to keys of the other."""
ACCESS = "access"
"""The kind of token that stands for a key (shared/services/accounts.py)."""
FARTHEST = 100 * 365 * 86_400.0
"""Seconds from now within which the expiry of a key must lie."""
SCOPES = ("infer", "models", "keys")
"""`infer`: jobs and images. `models`: add and remove models. `keys`: create and revoke keys, list workers."""


@dataclass(frozen=True)
class ApiKey:
    """A stored key; its text was shown once, when it was created."""

    id: str
    tenant: str
    name: str
    prefix: str
    """The first characters, to recognise the key."""
    hash: str
    """SHA-256, hex. Keys are 32 random bytes, so that a slow hash would add no protection."""
    scopes: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None
    stage: str = "live"
    """One of STAGES."""
    account: str = ""
    """The account that signs assertions with the private key belonging to `public_key`; such a key has no text."""
    public_key: str = ""
    """PEM; empty for ordinary keys."""
    expires_at: float | None = None
    """Unix seconds from which the key is refused; None if it is valid until it is revoked."""
    last_used_at: float | None = None
    """Unix seconds of the last request with the key, or with a token issued for it; up to a minute old."""


@dataclass(frozen=True)
class Caller:
    """The tenant, scopes and stage of the sender of a request."""

    tenant: str
    scopes: tuple[str, ...]
    stage: str = "live"
    key_id: str = ""
    """The key that was sent, or for which the token was issued; empty if there is none in the database."""
    expires_at: float | None = None
    """Unix seconds from which the key is refused; None if it does not expire."""

    @property
    def is_operator(self) -> bool:
        """True for those who run the service: keys of the tenant `default` with the scope `keys`."""
        return self.tenant == DEFAULT_TENANT and "keys" in self.scopes

    def must(self, scope: str) -> None:
        """Raise Forbidden if the key lacks the scope."""
        if scope not in self.scopes:
            raise errors.Forbidden(f"This key lacks the scope {scope!r}; it has: {', '.join(self.scopes) or 'none'}.")


def check_tenant(name: str) -> None:
    """Raise BadOption if a tenant cannot have that name."""
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 63:
        raise errors.BadOption("a tenant's name is made of letters, digits, '-' and '_', 63 at most")


@lru_cache(256)  # each request asks three times, of a few names
def is_loopback(host: str) -> bool:
    """Return True for `localhost` and the literal addresses of loopback, which only this machine can reach.

    Any other name is not, whatever it looks like: `127.example.org` may resolve to any address.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def hash_secret(secret: str) -> str:
    """Return the hash under which a secret is stored: SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()
