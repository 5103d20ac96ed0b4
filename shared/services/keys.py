"""Keys identify the caller of a request: its tenant, its scopes and its stage (rules and use-cases)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

import uuid6

from shared import errors
from shared.container import Container
from shared.domain.keys import (
    ACCESS,
    DEFAULT_TENANT,
    FARTHEST,
    SCOPES,
    STAGES,
    ApiKey,
    Caller,
    check_tenant,
    hash_secret,
    is_loopback,
)
from shared.services import absences


def identify(container: Container, secret: str, *, from_loopback: bool) -> Caller:
    """Return the caller that a credential belongs to; raises Unauthorized, KeyExpired for a key that has expired.

    On loopback, before the first key exists, any credential or none identifies the tenant `default`.
    """
    admin = container.settings.admin_key
    if admin and secret and hmac.compare_digest(secret.encode(), admin.encode()):
        return Caller(DEFAULT_TENANT, SCOPES)
    hashed = hash_secret(secret)
    try:
        caller = container.lookups.get(
            ("caller", hashed, from_loopback),
            lambda: _caller_of_key(container, secret, hashed, from_loopback=from_loopback),
        )
    except errors.Unauthorized:
        with container.database.read() as uow:  # not kept in memory: a token expires by the clock
            key = uow.keys.find_by_token(hashed, ACCESS, container.now()) if secret else None
        if key is None:
            raise
        caller = _caller(key)
    # Also of a caller that was looked up before the key expired.
    now = container.now()
    check_expiry(caller.expires_at, now)
    if caller.key_id:
        container.last_uses.note(caller.key_id, now)
    return caller


def check_expiry(expires_at: float | None, now: float) -> None:
    """Raise KeyExpired if the time at which a key expires has come; both are in Unix seconds."""
    if expires_at is not None and expires_at <= now:
        raise errors.KeyExpired(
            f"The API key expired at {absences.in_words(expires_at)}. Send another key: the manager of your keys makes "
            "it with `inferq keys create`, or on the page of the keys."
        )


def write_uses(container: Container) -> bool:
    """Write when the keys of this process were last used; return False if none was used since the last time. Raises
    Unavailable, and keeps the uses for the next time."""
    uses = container.last_uses.take()
    if not uses:
        return False
    try:
        with container.database.write() as uow:
            uow.key_uses.note(uses)
    except BaseException:
        container.last_uses.give_back(uses)
        raise
    return True


def _caller(key: ApiKey) -> Caller:
    return Caller(key.tenant, key.scopes, key.stage, key.id, key.expires_at)


def _caller_of_key(container: Container, secret: str, hashed: str, *, from_loopback: bool) -> Caller:
    with container.database.read() as uow:
        key = uow.keys.find_by_hash(hashed) if secret else None
    if key is not None:
        return _caller(key)
    if is_open(container, from_loopback=from_loopback):
        return Caller(DEFAULT_TENANT, SCOPES, "test" if secret.startswith("test_") else "live")
    if not secret:
        raise errors.Unauthorized("An API key is required; send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.")
    raise errors.Unauthorized("The API key is not valid.")


def is_open(container: Container, *, from_loopback: bool) -> bool:
    """Return True if requests without credentials are accepted: on loopback, before the first key exists.

    An admin key in the settings counts as a key.
    """
    if not from_loopback or container.settings.admin_key:
        return False
    with container.database.read() as uow:
        return not uow.keys.any()


def create(
    container: Container,
    caller: Caller,
    *,
    tenant: str = "",
    name: str = "",
    scopes: Sequence[str] = (),
    stage: str = "",
    expires_at: float | None = None,
) -> tuple[ApiKey, str]:
    """Create a key; return it with its text, which cannot be shown again.

    With a stage, the text begins with the stage's name; from `expires_at` on, in Unix seconds, it is refused. If no
    scopes are given, the first key gets all scopes, and later keys get `infer` and `models`. A key for another tenant
    may be made by the tenant `default` only, that is with the admin key or while requests without credentials are
    accepted. Raises Forbidden for other tenants and for scopes that the caller lacks, BadOption for an unknown scope
    and for a time of expiry that does not lie ahead.
    """
    tenant, scopes = terms(container, caller, tenant, scopes, expires_at)
    if stage not in ("", *STAGES):
        raise errors.BadOption(f"stage must be one of {', '.join(STAGES)}, not {stage!r}")
    text = f"{stage or 'iq'}_{secrets.token_urlsafe(32)}"
    key_id, shown = str(uuid6.uuid7()), text[: text.index("_") + 6]
    key = ApiKey(
        key_id, tenant, name, shown, hash_secret(text), scopes, container.now(), stage=stage or "live",
        expires_at=expires_at,
    )  # fmt: skip
    with container.database.write() as uow:
        uow.keys.add(key)
    return key, text


def list_keys(container: Container, tenant: str) -> list[ApiKey]:
    """Return the keys that the tenant manages, revoked keys too; the tenant `default` manages all tenants' keys."""
    with container.database.read() as uow:
        return uow.keys.all(tenant)


def terms(
    container: Container, caller: Caller, tenant: str, scopes: Sequence[str], expires_at: float | None
) -> tuple[str, tuple[str, ...]]:
    """Return (tenant, scopes) of a key that the caller requests; raises as `create` does."""
    tenant = tenant or caller.tenant
    with container.database.read() as uow:
        first = not uow.keys.any()
    scopes = tuple(scopes) or (SCOPES if first else ("infer", "models"))
    if unknown := set(scopes) - set(SCOPES):
        raise errors.BadOption(f"unknown scope {min(unknown)!r}; the scopes are {', '.join(SCOPES)}")
    if lacking := set(scopes) - set(caller.scopes):
        raise errors.Forbidden(
            f"A key cannot give scopes that it lacks: {', '.join(sorted(lacking))}. Name in `scopes` some of these: "
            f"{', '.join(caller.scopes)}."
        )
    check_tenant(tenant)
    if caller.tenant not in (tenant, DEFAULT_TENANT):
        raise errors.Forbidden("Only a key of the tenant 'default' can make keys for other tenants.")
    if first and not container.settings.admin_key and ("keys" not in scopes or tenant != DEFAULT_TENANT):
        raise errors.BadOption(
            "The first key closes the open door, so it must be able to make others: for the tenant 'default', with "
            "the scope 'keys'."
        )
    if expires_at is not None:
        if first and not container.settings.admin_key:
            raise errors.BadOption(
                "The first key makes the others, so it must not expire: leave out `expires`. Later keys may have it."
            )
        now = container.now()
        if not 0 < expires_at - now <= FARTHEST:
            raise errors.BadOption(
                f"expires must be a time that lies ahead, by a hundred years at most; it is {absences.in_words(now)} "
                "by the clock of the service"
            )
    return tenant, scopes


def revoke(container: Container, tenant: str, key_id: str, *, force: bool = False) -> None:
    """Revoke a key; raises NotFound when the tenant has no such valid key.

    Raises Conflict for the last key that can make others for all tenants, and for the one that can do so for longer
    than the others, unless `force` is set: without an admin key in the settings, no request could ever make or revoke
    a key again.
    """
    with container.database.write() as uow:
        is_guarded = not force and not container.settings.admin_key
        if is_guarded and uow.keys.outlasts_others_with(DEFAULT_TENANT, "keys", key_id, container.now()):
            raise errors.Conflict(
                "No other key of the tenant 'default' with the scope 'keys' is valid for as long as this one: without "
                "it, a time comes when no request can make or revoke keys. Make a key that does not expire first, or "
                "send force=true."
            )
        if not uow.keys.revoke(tenant, key_id, container.now()):
            raise errors.NotFound(f"There is no valid key {key_id}.")


def may_listen(container: Container, host: str) -> bool:
    """Return True if the service may listen on `host`: beyond loopback only once a key exists."""
    if is_loopback(host) or container.settings.admin_key:
        return True
    with container.database.read() as uow:
        return uow.keys.any()
