"""Accounts authenticate callers by a signed assertion instead of a secret; this module issues the tokens for them.

    register   account, public key ──> Key      without a text: no secret that is sent can match it
    exchange   signed assertion ─────> Token    access; and a refresh token where the caller requests it
    refresh    refresh token ────────> Token    access

`keys.identify` accepts access tokens like keys, until they expire or the key is revoked or expires.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import jwt
import uuid6
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from shared import errors
from shared.container import Container
from shared.domain.keys import ACCESS, DEFAULT_TENANT, ApiKey, Caller, hash_secret
from shared.services import keys

ALGORITHM = "RS256"
"""The only accepted algorithm. If HS256 were accepted too, a caller could use a public key as its shared secret."""
CLAIMS = ("sub", "aud", "exp")
MIN_BITS, MAX_BITS = 2048, 8192
LEEWAY = 60
"""The number of seconds by which the caller's clock may be wrong."""
SHORTEST = 60
"""The minimum lifetime of an access token in seconds; a shorter token would expire before it could be used."""
LONGEST = 24 * 3600
"""The maximum lifetime of an access token in seconds, whatever expiry the assertion carries."""
REFRESH_SECONDS = 90 * 24 * 3600
"""The lifetime of a refresh token in seconds, counted from its last use."""
REFRESH = "refresh"
"""The kind of token that can only be exchanged for an access token; requests are authenticated by the kind ACCESS."""


@dataclass(frozen=True)
class Token:
    """A token is issued in exchange for an assertion or a refresh token."""

    access: str
    seconds: int
    """The number of seconds for which `access` is valid."""
    refresh: str = ""
    """The refresh token is valid until it stays unused for REFRESH_SECONDS or its key is revoked; empty if none was
    requested.
    """


def register(
    container: Container,
    caller: Caller,
    *,
    account: str,
    public_key: str,
    tenant: str = "",
    name: str = "",
    scopes: Sequence[str] = (),
    expires_at: float | None = None,
) -> ApiKey:
    """Create a key for the caller that signs as `account`; `public_key` is an RSA key or a certificate in PEM.

    Only callers of the tenant `default` may register accounts, because all tenants share one list of accounts: a
    tenant that registered the public key of another tenant's caller would receive that caller's pictures. Otherwise
    the rules of `keys.create` apply. Raises as `keys.create` does, BadOption for a key that cannot be used, and
    Conflict when the account already has this key: the signature could not distinguish between two tenants.
    """
    if caller.tenant != DEFAULT_TENANT:
        raise errors.Forbidden("Only a key of the tenant 'default' can register accounts, its own and other tenants'.")
    account = account.strip()
    if not 0 < len(account) <= 255:
        raise errors.BadOption("account must be the e-mail address that assertions will carry as `sub`")
    pem = read_public_key(public_key)
    with container.database.read() as uow:
        if not container.settings.admin_key and not uow.keys.any():
            raise errors.BadOption(
                "The first key closes the open door, and a public key opens no door by itself. Make a "
                "secret key for yourself first: leave out `public_key`, and give `scopes` infer, models and keys."
            )
    tenant, scopes = keys.terms(container, caller, tenant, scopes or ("infer", "models"), expires_at)
    # Random bytes instead of a hash: no known secret hashes to them, so the key cannot be used as a secret.
    unmatched = secrets.token_hex(32)
    key = ApiKey(
        str(uuid6.uuid7()), tenant, name, "", unmatched, scopes, container.now(), account=account, public_key=pem,
        expires_at=expires_at,
    )  # fmt: skip
    try:
        with container.database.write() as uow:
            uow.keys.add(key)
    except errors.Conflict:
        raise errors.Conflict(
            f"This public key is registered for {account} already. If that registration has expired, revoke it first."
        ) from None
    return key


def read_public_key(text: str) -> str:
    """Return the RSA key of a public key or certificate (both PEM) as PEM.

    Raises BadOption, whose message describes the input to send instead.
    """
    if "PRIVATE KEY-" in text:
        raise errors.BadOption(
            "This is a private key. Never send it to anybody; send the public one, which "
            "`openssl pkey -in private.pem -pubout` prints."
        )
    try:
        data = text.strip().encode()
        is_certificate = b"BEGIN CERTIFICATE" in data
        loaded = x509.load_pem_x509_certificate(data).public_key() if is_certificate else load_pem_public_key(data)
    except Exception as error:  # cryptography raises many types of error for input that it cannot read
        raise errors.BadOption("public_key must be an RSA public key, or a certificate, in PEM") from error
    if not isinstance(loaded, RSAPublicKey):
        raise errors.BadOption("public_key is not an RSA key; assertions are signed with RS256, which needs one")
    if not MIN_BITS <= loaded.key_size <= MAX_BITS:
        raise errors.BadOption(f"public_key has {loaded.key_size} bits; make a key of {MIN_BITS} to {MAX_BITS}")
    return loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def exchange(
    container: Container,
    assertion: str,
    audiences: Collection[str],
    *,
    offline: bool = False,
    from_loopback: bool = False,
) -> Token:
    """Issue a token for an assertion: a JWT (RS256) whose `sub` is the account and whose `aud` is in `audiences`.

    The access token is valid as long as the assertion, but for at least SHORTEST and at most LONGEST seconds;
    `offline` requests a refresh token as well. An assertion is accepted for LEEWAY seconds after it has expired. If
    requests without credentials are accepted, nothing is checked. Raises BadRequest for an assertion that is not a
    JWT, Unauthorized for a JWT that proves nothing.
    """
    if keys.is_open(container, from_loopback=from_loopback):
        return Token(_text(), LONGEST, _text() if offline else "")
    key, expires_at = _prove(container, assertion, audiences)
    return _give(container, key, expires_at - int(container.now()), offline=offline)


def refresh(container: Container, secret: str, seconds: int = LONGEST, *, from_loopback: bool = False) -> Token:
    """Issue a new access token for a refresh token, valid for `seconds`, a day at most; raises Unauthorized, KeyExpired
    if its key has expired."""
    if keys.is_open(container, from_loopback=from_loopback):
        return Token(_text(), _within(seconds))
    hashed = hash_secret(secret)
    with container.database.write() as uow:
        key = uow.keys.find_by_token(hashed, REFRESH, container.now())
        if key is not None:
            keys.check_expiry(key.expires_at, container.now())
            uow.keys.keep_token(hashed, container.now() + REFRESH_SECONDS)
    if key is None:
        raise errors.Unauthorized("The refresh token is not valid, or its key was revoked. Sign an assertion anew.")
    return _give(container, key, seconds)


def _give(container: Container, key: ApiKey, seconds: int, *, offline: bool = False) -> Token:
    """Issue a token for a key that has not expired, and note that the key is used."""
    seconds, now = _within(seconds), container.now()
    left = seconds if key.expires_at is None else min(seconds, int(key.expires_at - now))
    token = Token(_text(), left, _text() if offline else "")
    container.last_uses.note(key.id, now)
    # In the database a token may outlive its key, which is looked up with it: so the caller learns what has expired.
    with container.database.write() as uow:
        uow.keys.add_token(hash_secret(token.access), key.id, ACCESS, now + seconds)
        if token.refresh:
            uow.keys.add_token(hash_secret(token.refresh), key.id, REFRESH, now + REFRESH_SECONDS)
    return token


def _text() -> str:
    """Return 280 random bits, written in capitals and digits."""
    return base64.b32encode(secrets.token_bytes(35)).decode()


def _within(seconds: int) -> int:
    return max(SHORTEST, min(seconds, LONGEST))


def _prove(container: Container, assertion: str, audiences: Collection[str]) -> tuple[ApiKey, int]:
    """Return the key that signed the assertion, and the assertion's expiry in Unix seconds."""
    account = _account(assertion)
    with container.database.read() as uow:
        candidates = uow.keys.by_account(account) if account else []
    for key in candidates:
        try:
            claims = jwt.decode(
                assertion, key.public_key, [ALGORITHM], audience=audiences, leeway=LEEWAY,
                options={"require": list(CLAIMS)},
            )  # fmt: skip
            keys.check_expiry(key.expires_at, container.now())
            return key, int(claims["exp"])  # some callers sign a fraction of a second
        except jwt.InvalidSignatureError:
            continue  # the account has several keys
        except (jwt.PyJWTError, OverflowError) as error:
            raise errors.Unauthorized(_reason(error, audiences)) from error
    # An account that does not exist gets the same text, so that the error does not reveal which accounts exist.
    raise errors.Unauthorized("The assertion is not signed by a key that is registered for the account in its `sub`.")


def _account(assertion: str) -> str:
    """Return the account that the assertion names; the signature is not verified yet."""
    try:
        claimed = jwt.decode_complete(assertion, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise errors.BadRequest("The assertion is not a JWT: three parts in base64url with dots between.") from error
    if claimed["header"].get("alg") != ALGORITHM:
        raise errors.Unauthorized(f"The assertion must be signed with {ALGORITHM}.")
    account = claimed["payload"].get("sub")
    return account if isinstance(account, str) else ""


def _reason(error: Exception, audiences: Collection[str]) -> str:
    """Return why a claim is refused; only callers whose signature was valid receive this text."""
    if isinstance(error, jwt.ExpiredSignatureError):
        return "The assertion has expired: sign another, whose `exp` lies ahead."
    if isinstance(error, jwt.ImmatureSignatureError):
        return "The assertion is not valid yet: is the clock right where it was signed?"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The assertion needs the claims {', '.join(CLAIMS)}."
    if isinstance(error, jwt.InvalidAudienceError):
        return f"The assertion is for another service: its `aud` must be one of {', '.join(sorted(audiences))}."
    return "The assertion has a claim that cannot be read; `exp` is Unix seconds, `sub` and `aud` are texts."
