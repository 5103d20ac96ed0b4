"""Accounts: a public key is registered, an assertion signed with its private half is worth a token, nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain.keys import SCOPES, ApiKey, Caller, hash_secret
from shared.services import accounts, keys, maintenance

HERE = "https://vision.example.test/v2/oauth2/token"
OWNER = Caller("default", SCOPES)
ANNA, PRIVATE, OTHER = "anna@example.test", rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


def public(key: Any, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, form).decode())


def private(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate(key: RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anna")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def signed(key: Any = PRIVATE, algorithm: str = "RS256", **claims: Any) -> str:
    """Return a valid assertion, changed by `claims`; None leaves a claim out."""
    payload = {"sub": ANNA, "aud": HERE, "exp": time.time() + 600} | claims
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, key, algorithm)


def register(container: Container, key: RSAPrivateKey = PRIVATE, account: str = ANNA, **about: Any) -> ApiKey:
    """Create the key of an account; the owner's own key must exist already."""
    with container.database.read() as uow:
        first = not uow.keys.any()
    if first:
        keys.create(container, OWNER)
    return accounts.register(container, OWNER, account=account, public_key=public(key), **about)


def exchange(container: Container, assertion: str, **about: Any) -> accounts.Token:
    return accounts.exchange(container, assertion, [HERE], **about)


def identify(container: Container, secret: str) -> Caller:
    return keys.identify(container, secret, from_loopback=False)


# registering


@pytest.mark.parametrize(
    "sent", [public(PRIVATE), public(PRIVATE, PublicFormat.PKCS1), certificate(PRIVATE), f"\n  {public(PRIVATE)}\n"]
)
def test_a_public_key_is_taken_in_every_form_of_pem_and_kept_in_one(container: Container, sent: str) -> None:
    keys.create(container, OWNER)
    key = accounts.register(container, OWNER, account=f" {ANNA} ", public_key=sent)
    assert (key.account, key.public_key) == (ANNA, public(PRIVATE))
    assert exchange(container, signed()).access


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (private(PRIVATE), "Never send it to anybody; send the public one, which `openssl pkey .* -pubout`"),
        (public(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
        (public(rsa.generate_private_key(65537, 1024)), "1024 bits; make a key of 2048"),
        ("ssh-rsa AAAAB3NzaC1yc2E anna", "in PEM"),
        (public(PRIVATE)[:200], "in PEM"),
        (certificate(PRIVATE)[:300], "in PEM"),
        ("", "in PEM"),
    ],
    ids=["private", "elliptic", "short", "ssh", "cut off", "cut off certificate", "empty"],
)
def test_what_is_no_usable_public_key_is_refused_with_what_to_send(
    container: Container, sent: str, reason: str
) -> None:
    with pytest.raises(errors.BadOption, match=reason):
        accounts.register(container, OWNER, account=ANNA, public_key=sent)
    with container.database.read() as uow:
        assert not uow.keys.any()


@pytest.mark.parametrize("account", ["", "  ", "a" * 256])
def test_an_account_has_a_name_that_fits(container: Container, account: str) -> None:
    with pytest.raises(errors.BadOption, match="account"):
        accounts.register(container, OWNER, account=account, public_key=public(PRIVATE))


def test_the_tenants_a_caller_may_make_keys_for_are_those_of_keys_with_a_text(container: Container) -> None:
    key = register(container, tenant="anna")
    assert (key.tenant, key.scopes) == ("anna", ("infer", "models"))
    with pytest.raises(errors.Forbidden):
        accounts.register(container, Caller("ben", ("keys",)), account="b", public_key=public(OTHER), tenant="anna")
    with pytest.raises(errors.BadOption, match="unknown scope 'all'"):
        register(container, OTHER, scopes=("all",))


def test_a_public_key_is_not_the_first_key(container: Container) -> None:
    """It would close the open door in front of the one who registers it."""
    with pytest.raises(errors.BadOption, match="leave out `public_key`, and give `scopes`"):
        accounts.register(container, OWNER, account=ANNA, public_key=public(PRIVATE))
    guarded = replace(container, settings=container.settings.changed(admin_key="admin"))
    assert accounts.register(guarded, OWNER, account=ANNA, public_key=public(PRIVATE), scopes=("infer", "keys"))
    assert register(container, OTHER).scopes == ("infer", "models")


def test_the_same_key_is_registered_once_for_an_account_of_whatever_tenant(container: Container) -> None:
    key = register(container)
    with pytest.raises(errors.Conflict, match="already"):
        accounts.register(container, OWNER, account=ANNA, public_key=certificate(PRIVATE), tenant="ben")
    keys.revoke(container, "default", key.id)
    assert register(container).id != key.id


def test_of_many_registrations_of_the_same_key_at_once_one_succeeds(database: Database, container: Container) -> None:
    container = replace(container, database=database)
    register(container, OTHER, "first")

    def registered(number: int) -> bool:
        try:
            return bool(register(container, tenant=f"tenant-{number}"))
        except errors.Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(registered, range(8))) == 1


def test_only_the_operators_tenant_can_claim_an_account(container: Container) -> None:
    """Otherwise ben could register anna's public key, and her pictures would be stored under his tenant."""
    with pytest.raises(errors.Forbidden, match="default"):
        accounts.register(container, Caller("ben", SCOPES), account=ANNA, public_key=public(PRIVATE))


def test_nothing_that_is_sent_as_a_secret_can_be_a_registered_key(container: Container) -> None:
    key = register(container)
    for secret in ("", key.hash, key.public_key, key.id, key.account):
        with pytest.raises(errors.Unauthorized):
            identify(container, secret)


# exchanging


def test_a_token_is_as_good_as_a_key_of_the_account(container: Container) -> None:
    key = register(container, tenant="anna", scopes=("infer",))
    token = exchange(container, signed())
    assert re.fullmatch("[A-Z2-7]{32,}", token.access)
    assert identify(container, token.access) == Caller("anna", ("infer",), "live", key.id)
    assert not token.refresh


def test_tokens_are_kept_as_hashes_only(container: Container) -> None:
    register(container)
    token = exchange(container, signed(), offline=True)
    with container.database.engine.connect() as connection:
        kept = str(connection.exec_driver_sql("SELECT * FROM tokens").all())
    assert hashlib.sha256(token.access.encode()).hexdigest() in kept
    assert token.access not in kept
    assert token.refresh not in kept


@pytest.mark.parametrize(
    ("ahead", "lives"), [(600.5, 600), (10 * 24 * 3600, 24 * 3600), (5, 60), (-30, 60), (1e300, 24 * 3600)]
)
def test_a_token_lives_as_long_as_the_assertion_within_reason(container: Container, ahead: float, lives: int) -> None:
    register(container)
    token = exchange(container, signed(exp=time.time() + ahead))
    assert lives - 60 <= token.seconds <= lives + 1
    assert token.seconds >= 60
    assert identify(container, token.access)
    later = replace(container, now=lambda: time.time() + token.seconds + 1)
    with pytest.raises(errors.Unauthorized):
        identify(later, token.access)


def test_the_end_of_an_assertion_may_be_any_number(container: Container) -> None:
    register(container)
    for exp in (int(time.time()) + 600, time.time() + 600.7, 10**400):
        assert exchange(container, signed(exp=exp)).seconds > 60


def test_of_several_keys_of_an_account_the_signature_says_which(container: Container) -> None:
    register(container, PRIVATE, tenant="anna")
    register(container, OTHER, tenant="ben")
    assert identify(container, exchange(container, signed(PRIVATE)).access).tenant == "anna"
    assert identify(container, exchange(container, signed(OTHER)).access).tenant == "ben"


UNKNOWN = "not signed by a key that is registered for the account"


@pytest.mark.parametrize(
    ("assertion", "reason"),
    [
        (lambda: signed(OTHER), UNKNOWN),
        (lambda: signed(sub="ben@example.test"), UNKNOWN),
        (lambda: signed(sub=None), UNKNOWN),
        (lambda: signed(exp=time.time() - 120), "expired"),
        (lambda: signed(nbf=time.time() + 600), "not valid yet"),
        (lambda: signed(aud="https://elsewhere.example.test/token"), f"must be one of {HERE}"),
        (lambda: signed(aud=None), "sub, aud, exp"),
        (lambda: signed(exp=None), "sub, aud, exp"),
        (lambda: signed(exp=float("inf")), "cannot be read|expired"),
        (lambda: signed(exp="tomorrow"), "cannot be read"),
        (lambda: signed(algorithm="RS512"), "with RS256"),
        (lambda: signed(key="", algorithm="none"), "with RS256"),
    ],
    ids=["key", "account", "no account", "expired", "early", "aud", "no aud", "no exp", "inf", "exp", "alg", "none"],
)
def test_an_assertion_that_proves_nothing_is_refused(
    container: Container, assertion: Callable[[], str], reason: str
) -> None:
    register(container)
    with pytest.raises(errors.Unauthorized, match=reason):
        exchange(container, assertion())


def test_the_public_key_is_no_secret_to_sign_with(container: Container) -> None:
    """A known attack: an assertion signed with HS256 and the public key, which is no secret, as its secret."""
    pem = register(container).public_key.encode()
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (
        {"alg": "HS256", "typ": "JWT"}, {"sub": ANNA, "aud": HERE, "exp": int(time.time()) + 600})]  # fmt: skip
    body = b".".join(encoded)
    forged = body + b"." + base64.urlsafe_b64encode(hmac.digest(pem, body, "sha256")).rstrip(b"=")
    with pytest.raises(errors.Unauthorized, match="RS256"):
        exchange(container, forged.decode())
    renamed = body.replace(encoded[0], base64.urlsafe_b64encode(b'{"alg":"RS256"}').rstrip(b"="))
    with pytest.raises(errors.Unauthorized, match=UNKNOWN):
        exchange(container, (renamed + b"." + forged.rpartition(b".")[2]).decode())


def test_a_claim_that_was_changed_after_signing_is_noticed(container: Container) -> None:
    register(container)
    head, _, signature = signed().split(".")
    claims = json.dumps({"sub": ANNA, "aud": HERE, "exp": time.time() + 10**6}).encode()
    with pytest.raises(errors.Unauthorized, match=UNKNOWN):
        exchange(container, f"{head}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{signature}")


@pytest.mark.parametrize("assertion", ["", "abc", "a.b.c", "....", "äöü", "eyJhbGciOiJSUzI1NiJ9.W10.", "A" * 10_000])
def test_what_is_no_jwt_is_called_so(container: Container, assertion: str) -> None:
    register(container)
    with pytest.raises(errors.BadRequest, match="not a JWT"):
        exchange(container, assertion)


# staying


def test_a_refresh_token_gives_access_for_as_long_as_is_asked(container: Container) -> None:
    register(container, tenant="anna")
    token = exchange(container, signed(), offline=True)
    again = accounts.refresh(container, token.refresh, 3600)
    assert (again.seconds, again.refresh) == (3600, "")
    assert again.access != token.access
    assert identify(container, again.access).tenant == "anna"
    assert accounts.refresh(container, token.refresh, 10**9).seconds == 24 * 3600
    assert accounts.refresh(container, token.refresh, -5).seconds == 60


def test_a_refresh_token_outlives_access_tokens_but_is_none(container: Container) -> None:
    register(container)
    token = exchange(container, signed(), offline=True)
    for days in (80, 160, 240):  # each use keeps it

        def then(days: int = days) -> float:
            return time.time() + days * 24 * 3600

        later = replace(container, now=then)
        assert identify(later, accounts.refresh(later, token.refresh).access)
    with pytest.raises(errors.Unauthorized):
        identify(container, token.refresh)
    for other in (token.access, "NOSUCHTOKEN", ""):
        with pytest.raises(errors.Unauthorized, match="refresh token"):
            accounts.refresh(container, other)


def test_an_unused_refresh_token_ends(container: Container) -> None:
    register(container)
    token = exchange(container, signed(), offline=True)
    later = replace(container, now=lambda: time.time() + accounts.REFRESH_SECONDS + 1)
    with pytest.raises(errors.Unauthorized, match="refresh token"):
        accounts.refresh(later, token.refresh)


def test_revoking_the_key_makes_all_its_tokens_worthless_at_once(container: Container) -> None:
    key = register(container)
    token = exchange(container, signed(), offline=True)
    keys.revoke(container, "default", key.id)
    with pytest.raises(errors.Unauthorized):
        identify(container, token.access)
    with pytest.raises(errors.Unauthorized):
        accounts.refresh(container, token.refresh)
    with pytest.raises(errors.Unauthorized, match=UNKNOWN):
        exchange(container, signed())


# the open door


def test_on_the_open_door_an_assertion_is_not_checked_as_nothing_is(container: Container) -> None:
    token = exchange(container, "whatever", offline=True, from_loopback=True)
    assert token.access != token.refresh != ""
    assert keys.identify(container, token.access, from_loopback=True).scopes == SCOPES
    assert accounts.refresh(container, token.refresh, 300, from_loopback=True).seconds == 300
    with pytest.raises(errors.BadRequest):
        exchange(container, "whatever", from_loopback=False)
    register(container)
    with pytest.raises(errors.BadRequest):
        exchange(container, "whatever", from_loopback=True)
    with pytest.raises(errors.Unauthorized):
        keys.identify(container, token.access, from_loopback=True)


def test_with_an_admin_key_the_door_is_not_open(container: Container) -> None:
    guarded = replace(container, settings=container.settings.changed(admin_key="admin"))
    with pytest.raises(errors.Unauthorized):
        accounts.refresh(guarded, "whatever", from_loopback=True)


# keeping


def test_tidying_drops_the_tokens_that_open_nothing_and_no_others(database: Database, container: Container) -> None:
    container = replace(container, database=database)
    revoked, key = register(container, OTHER, "ben@example.test"), register(container)
    exchange(container, signed(OTHER, sub="ben@example.test"), offline=True)
    kept = exchange(container, signed(exp=time.time() + 3600), offline=True)
    short = exchange(container, signed(exp=time.time() + 300))
    keys.revoke(container, "default", revoked.id)
    later = replace(container, now=lambda: time.time() + 1000)
    maintenance.collect_garbage(later)
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT hash, key_id FROM tokens").all()
    assert {row[0] for row in rows} == {hash_secret(kept.access), hash_secret(kept.refresh)}
    assert {row[1] for row in rows} == {key.id}
    assert identify(later, kept.access)
    with pytest.raises(errors.Unauthorized):
        identify(later, short.access)
