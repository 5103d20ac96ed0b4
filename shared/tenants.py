"""Who is asking: keys, the tenants they belong to, and what they may do (rules and use-cases)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import uuid6

from shared import errors

if TYPE_CHECKING:
    from shared.tools import Tools

DEFAULT = "default"
STAGES = ("live", "test")
"""What is uploaded with a key of one stage is not seen with a key of the other."""
ACCESS = "access"
"""The kind of token that stands for a key (shared/accounts.py)."""
SCOPES = ("infer", "models", "keys")
"""`infer`: jobs and images. `models`: bring and remove models. `keys`: make and revoke keys, see the fleet."""


class Owned(Protocol):
    """What a tenant asked for; ids sort by time."""

    @property
    def id(self) -> Any: ...
    @property
    def tenant(self) -> str: ...


Waiting = TypeVar("Waiting", bound=Owned)


def in_turn(waiting: Sequence[Waiting], served: Mapping[str, float]) -> list[Waiting]:
    """The order in which they are served: by time, but nobody's second before everybody's first.

    `served` tells when something of a tenant was served last: who was served just now has had his first.
    """
    seen: dict[str, int] = {}
    rank: dict[Any, int] = {}
    by_time = sorted(waiting, key=lambda one: one.id)
    for one in by_time:
        rank[one.id] = seen[one.tenant] = seen.get(one.tenant, 0) + 1
    return sorted(by_time, key=lambda one: (rank[one.id], served.get(one.tenant, 0.0)))


@dataclass(frozen=True)
class Key:
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
    """Who signs assertions with the key that belongs to `public_key`; such a key has no text (shared/accounts.py)."""
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


def identify(tools: Tools, secret: str, *, from_loopback: bool) -> Caller:
    """The caller behind a credential; raises Unauthorized.

    On loopback the door is open until the first key exists: any credential, or none, is the tenant `default`.
    """
    admin = tools.settings.admin_key
    if admin and secret and hmac.compare_digest(secret.encode(), admin.encode()):
        return Caller(DEFAULT, SCOPES)
    with tools.records.read() as r:
        hashed = digest(secret)
        key = (r.keys.by_hash(hashed) or r.keys.by_token(hashed, ACCESS, tools.now())) if secret else None
    if key is not None:
        return Caller(key.tenant, key.scopes, key.stage)
    if is_open(tools, from_loopback=from_loopback):
        return Caller(DEFAULT, SCOPES, "test" if secret.startswith("test_") else "live")
    if not secret:
        raise errors.Unauthorized("An API key is required; send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.")
    raise errors.Unauthorized("The API key is not valid.")


def is_open(tools: Tools, *, from_loopback: bool) -> bool:
    """Whether nobody is asked who he is."""
    if not from_loopback or tools.settings.admin_key:
        return False
    with tools.records.read() as r:
        return not r.keys.any()


def create(
    tools: Tools, caller: Caller, *, tenant: str = "", name: str = "", scopes: Sequence[str] = (), stage: str = ""
) -> tuple[Key, str]:
    """A new key and its text, which cannot be shown again. With a stage the text begins with its name.

    Without scopes the first key gets all, and later ones `infer` and `models`. A key for another tenant may be made
    by the tenant `default`, that is with the admin key or on the open door; raises Forbidden for others, BadOption
    for an unknown scope.
    """
    tenant, scopes = terms(tools, caller, tenant, scopes)
    if stage not in ("", *STAGES):
        raise errors.BadOption(f"stage must be one of {', '.join(STAGES)}, not {stage!r}")
    text = f"{stage or 'iq'}_{secrets.token_urlsafe(32)}"
    key_id, shown = str(uuid6.uuid7()), text[: text.index("_") + 6]
    key = Key(key_id, tenant, name, shown, digest(text), scopes, tools.now(), stage=stage or "live")
    with tools.records.write() as r:
        r.keys.add(key)
    return key, text


def terms(tools: Tools, caller: Caller, tenant: str, scopes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """(tenant, scopes) of a key that the caller wants made; raises as `create` does."""
    tenant = tenant or caller.tenant
    with tools.records.read() as r:
        first = not r.keys.any()
    scopes = tuple(scopes) or (SCOPES if first else ("infer", "models"))
    if unknown := set(scopes) - set(SCOPES):
        raise errors.BadOption(f"unknown scope {min(unknown)!r}; the scopes are {', '.join(SCOPES)}")
    if not tenant.replace("-", "").replace("_", "").isalnum() or len(tenant) > 63:
        raise errors.BadOption("a tenant's name is made of letters, digits, '-' and '_', 63 at most")
    if caller.tenant not in (tenant, DEFAULT):
        raise errors.Forbidden("Only a key of the tenant 'default' can make keys for other tenants.")
    if first and not tools.settings.admin_key and ("keys" not in scopes or tenant != DEFAULT):
        raise errors.BadOption(
            "The first key closes the open door, so it must be able to make others: for the tenant 'default', with "
            "the scope 'keys'."
        )
    return tenant, scopes


def revoke(tools: Tools, tenant: str, key_id: str) -> None:
    """Raises NotFound when the tenant has no such valid key."""
    with tools.records.write() as r:
        if not r.keys.revoke(tenant, key_id, tools.now()):
            raise errors.NotFound(f"There is no valid key {key_id}.")


def may_listen(tools: Tools, host: str) -> bool:
    """Whether the service may be reached from elsewhere: only with a key, never with the door open."""
    if is_loopback(host) or tools.settings.admin_key:
        return True
    with tools.records.read() as r:
        return r.keys.any()


def is_loopback(host: str) -> bool:
    """Whether the address, or name, can only be reached from this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def digest(secret: str) -> str:
    """What is kept of a secret: SHA-256, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()
