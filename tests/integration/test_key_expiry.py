"""Expiry and last use of keys: refused at once, also from memory, with all tokens; uses are written now and then."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import sqlalchemy as sa
import uuid6
from alembic import command
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.key_uses import UsesWriter
from migrations.__main__ import configuration, upgrade
from shared import errors
from shared.adapters import lookups
from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.domain.keys import SCOPES, ApiKey, Caller
from shared.services import accounts, keys
from tests import stacks
from tests.clocks import Clock
from tests.stacks import until

OWNER = Caller("default", SCOPES)
HERE = "https://vision.example.test/v2/oauth2/token"
ANNA, PRIVATE = "anna@example.test", rsa.generate_private_key(65537, 2048)
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(container: Container, database: Database, clock: Clock) -> Container:
    """The service on each kind of database, with the first key."""
    made = replace(container, database=database, now=clock)
    keys.create(made, OWNER)
    return made


def identify(container: Container, secret: str) -> Caller:
    return keys.identify(container, secret, from_loopback=False)


def last_uses(container: Container) -> dict[str, float | None]:
    """Return the last uses by the names of the keys, as they stand in the database."""
    return {key.name: key.last_used_at for key in keys.list_keys(container, "default")}


def exchange(container: Container, *, offline: bool = False) -> accounts.Token:
    claims = {"sub": ANNA, "aud": HERE, "exp": container.now() + 2 * DAY}
    return accounts.exchange(container, jwt.encode(claims, PRIVATE, "RS256"), [HERE], offline=offline)


def register(container: Container, **about: Any) -> ApiKey:
    return accounts.register(container, OWNER, account=ANNA, public_key=PUBLIC, **about)


# -- expiry


def test_a_key_is_refused_from_the_moment_at_which_it_expires_also_from_memory(
    service: Container, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SECONDS", HOUR)  # what is looked up stays in memory for the whole test
    _, secret = keys.create(service, OWNER, expires_at=clock() + 60)
    assert identify(service, secret).expires_at == clock() + 60
    clock.now += 59.9
    assert identify(service, secret)
    clock.now += 0.1
    with pytest.raises(errors.KeyExpired, match=r"expired at 20.*\+00:00\. Send another key: .* `inferq keys create`"):
        identify(service, secret)


def test_loopback_stays_closed_when_every_key_has_expired(service: Container, clock: Clock) -> None:
    clock.now += 1
    with service.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE keys SET expires_at = 1"))
    for secret in ("", "whatever"):
        with pytest.raises(errors.Unauthorized):
            keys.identify(service, secret, from_loopback=True)


@pytest.mark.parametrize("ahead", [-DAY, 0.0, 200 * 365 * DAY])
def test_a_time_that_is_past_or_too_far_is_refused_by_name(service: Container, clock: Clock, ahead: float) -> None:
    for create in (keys.create, register_like):
        with pytest.raises(errors.BadOption, match="expires must be a time that lies ahead, by a hundred years"):
            create(service, OWNER, expires_at=clock() + ahead)
    assert len(keys.list_keys(service, "default")) == 1


def register_like(container: Container, _: Caller, **about: Any) -> ApiKey:
    return register(container, **about)


def test_the_first_key_does_not_expire_unless_there_is_an_admin_key(container: Container) -> None:
    ends = container.now() + DAY
    with pytest.raises(errors.BadOption, match="first key makes the others, so it must not expire"):
        keys.create(container, OWNER, expires_at=ends)
    guarded = replace(container, settings=container.settings.changed(admin_key="admin"))
    assert keys.create(guarded, OWNER, expires_at=ends)[0].expires_at == ends


def test_the_key_that_makes_others_for_longest_is_not_revoked_without_force(service: Container, clock: Clock) -> None:
    (first,) = keys.list_keys(service, "default")
    short, _ = keys.create(service, OWNER, scopes=SCOPES, expires_at=clock() + HOUR)
    long, _ = keys.create(service, OWNER, scopes=SCOPES, expires_at=clock() + DAY)
    with pytest.raises(errors.Conflict, match=r"No other key .* is valid for as long as this one"):
        keys.revoke(service, "default", first.id)
    keys.revoke(service, "default", first.id, force=True)
    with pytest.raises(errors.Conflict, match="No other key"):
        keys.revoke(service, "default", long.id)
    clock.now += 2 * HOUR
    keys.revoke(service, "default", short.id)  # it has expired, and makes no others any more


def test_no_token_outlives_its_key(service: Container, clock: Clock) -> None:
    register(service, expires_at=clock() + HOUR)
    token = exchange(service, offline=True)
    assert token.seconds == HOUR  # not a day, as the assertion would be worth
    assert accounts.refresh(service, token.refresh).seconds == HOUR
    assert identify(service, token.access)
    clock.now += HOUR
    for refused in (
        lambda: identify(service, token.access),
        lambda: accounts.refresh(service, token.refresh),
        lambda: exchange(service),
    ):
        with pytest.raises(errors.KeyExpired, match="expired at"):
            refused()


def test_a_stranger_does_not_learn_that_an_account_has_expired(service: Container, clock: Clock) -> None:
    register(service, expires_at=clock() + HOUR)
    clock.now += HOUR
    claims = {"sub": ANNA, "aud": HERE, "exp": clock() + HOUR}
    stranger = jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256")
    with pytest.raises(errors.Unauthorized, match="not signed by a key that is registered"):
        accounts.exchange(service, stranger, [HERE])


# -- last use


def test_a_use_is_written_later_and_the_last_one_of_several(service: Container, clock: Clock) -> None:
    _, secret = keys.create(service, OWNER, name="app")
    for _ in range(3):
        clock.now += 10
        identify(service, secret)
    assert last_uses(service)["app"] is None
    keys.write_uses(service)
    assert last_uses(service) == {"": None, "app": clock()}


def test_a_token_uses_its_key_from_its_exchange_on(service: Container, clock: Clock) -> None:
    register(service, name="anna")
    token = exchange(service)
    keys.write_uses(service)
    assert last_uses(service)["anna"] == clock()
    clock.now += 10
    identify(service, token.access)
    keys.write_uses(service)
    assert last_uses(service)["anna"] == clock()


def test_a_refused_key_is_not_used(service: Container, clock: Clock) -> None:
    _, secret = keys.create(service, OWNER, name="app", expires_at=clock() + 60)
    clock.now += 60
    with pytest.raises(errors.KeyExpired):
        identify(service, secret)
    keys.write_uses(service)
    assert last_uses(service)["app"] is None


def test_a_process_writes_its_uses_soon_and_then_rarely_and_what_is_left_at_its_end(
    service: Container, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = keys.create(service, OWNER, name="app")
    writes = list[dict[str, float | None]]()
    looked, written = threading.Semaphore(0), threading.Event()
    write = keys.write_uses

    def watched(container: Container) -> bool:
        done = write(container)
        looked.release()
        if done:
            writes.append(last_uses(container))
            written.set()
        return done

    monkeypatch.setattr(keys, "write_uses", watched)
    writer = UsesWriter(service, look_every=0.01, write_every=HOUR)
    writer.start()
    assert looked.acquire(timeout=20)  # it looks, and writes nothing as long as there is nothing
    assert writes == []
    identify(service, secret)
    first = clock.now
    assert written.wait(20)
    clock.now += 10
    identify(service, secret)
    writer.end()
    assert [use["app"] for use in writes] == [first, first + 10]


def test_a_use_never_goes_back_whatever_the_order_in_which_processes_write(database: Database) -> None:
    made = [ApiKey(str(uuid6.uuid7()), "anna", str(n), "", str(n), ("infer",), 1.0) for n in range(5)]
    with database.write() as uow:
        for key in made:
            uow.keys.add(key)

    def write(when: int) -> None:
        ids = [key.id for key in made]
        random.Random(when).shuffle(ids)  # as each process has used them in another order
        with database.write() as uow:
            uow.key_uses.note({key_id: float(when) for key_id in ids})

    def look(_: int) -> None:  # as a revocation does, which locks the same rows
        with database.write() as uow:
            uow.keys.outlasts_others_with("anna", "keys", made[0].id, 2.0)

    with ThreadPoolExecutor(8) as pool:
        looks = pool.map(look, range(40))
        list(pool.map(write, [7, 40, 3, *range(40), 2, 1]))
        list(looks)
    with database.read() as uow:
        assert [key.last_used_at for key in uow.keys.all("anna")] == [40.0] * 5


def test_to_write_uses_has_no_process_look_its_keys_up_again(service: Container, clock: Clock) -> None:
    _, secret = keys.create(service, OWNER)
    identify(service, secret)
    cleared = service.lookups._cleared
    keys.write_uses(service)
    assert service.lookups._cleared == cleared


def test_a_database_that_is_away_holds_up_no_request_and_loses_no_use(
    service: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = keys.create(service, OWNER, name="app")
    identify(service, secret)

    def away() -> None:
        raise errors.Unavailable("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(service.database, "write", away)
        writer = UsesWriter(service)
        with pytest.raises(errors.Unavailable):
            keys.write_uses(service)
        assert identify(service, secret)
        writer.start()
        writer.end()  # without an error
    keys.write_uses(service)
    assert last_uses(service)["app"] == service.now()


@pytest.mark.slow
def test_a_service_that_is_stopped_has_written_the_uses_of_its_last_seconds(tmp_path: Path) -> None:
    with stacks.running(tmp_path / "data", "--workers", "1") as stack:
        owner = httpx.post(f"{stack.url}/v1/keys", json={"name": "owner"}).raise_for_status().json()["key"]
        last = httpx.post(f"{stack.url}/v1/keys", json={"name": "last"}, headers={"x-api-key": owner}).json()["key"]

        def seen() -> dict[str, Any]:
            listed = httpx.get(f"{stack.url}/v1/keys", headers={"x-api-key": owner}).json()["keys"]
            return {key["name"]: key["last_used"] for key in listed}

        until(lambda: seen()["owner"] is not None, 30)  # from now on nothing is written for a minute
        httpx.get(f"{stack.url}/v1/keys/current", headers={"x-api-key": last}).raise_for_status()
        used = time.time()
        assert seen()["last"] is None
    database = Database(f"sqlite:///{tmp_path}/data/inferq.db")
    with database.read() as uow:
        uses = {key.name: key.last_used_at for key in uow.keys.all("default")}
    database.close()
    assert uses["last"] == pytest.approx(used, abs=30)
    assert time.time() - used < 50  # it was not the write of the next minute


# -- upgrades


def test_a_key_added_by_an_older_process_does_not_expire_and_was_never_used(database: Database) -> None:
    columns = "id, tenant, name, prefix, hash, scopes, created_at"
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO keys ({columns}) VALUES ('k', 'anna', '', 'iq_', 'h', '[\"infer\"]', 1)"
        )
    with database.read() as uow:
        (key,) = uow.keys.all("anna")
    assert (key.expires_at, key.last_used_at) == (None, None)


def test_a_step_back_revokes_the_keys_that_would_live_for_ever(database: Database) -> None:
    with database.write() as uow:
        for name, ends in (("never", None), ("soon", time.time() + DAY)):
            uow.keys.add(ApiKey(str(uuid6.uuid7()), "anna", name, "", name, ("infer",), 1.0, expires_at=ends))
    command.downgrade(configuration(database.url), "0020")
    upgrade(database.url)
    with database.read() as uow:
        assert {key.name: key.revoked_at is not None for key in uow.keys.all("anna")} == {"never": False, "soon": True}
