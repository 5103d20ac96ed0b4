"""What one process changes, the others hear of: keys, models and defaults that they keep in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared import errors
from shared.adapters import lookups
from shared.container import Container, build
from shared.domain.keys import DEFAULT_TENANT, SCOPES, Caller
from shared.domain.models import ALL_TENANTS, ModelState
from shared.services import catalogue, default_models, keys, models
from shared.settings import Settings
from tests.stacks import until

ADMIN = Caller(DEFAULT_TENANT, SCOPES)


@pytest.fixture
def processes(tmp_path: Path, empty_file: Path, valkey: str) -> Iterator[tuple[Container, Container]]:
    """Two containers on the same database and Redis, as two API processes have them; the first hears of events."""
    shutil.copy(empty_file, tmp_path / "inferq.db")
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/inferq.db", storage_url=f"file://{tmp_path}/blobs", redis_url=valkey,
        prefix=f"test-{tmp_path.name}:",
    )  # fmt: skip
    one, other = build(settings), build(settings)
    catalogue.fill(one)
    one.waiters.listen()
    channel = f"{settings.prefix}moved"
    until(lambda: one.queue.connection.redis.pubsub_numsub(channel)[0][1] == 1, 10)
    yield one, other
    for container in (one, other):
        container.close()


@pytest.fixture
def events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what was looked up until an event clears it."""
    monkeypatch.setattr(lookups, "SECONDS", 3600.0)


def is_refused(container: Container, secret: str) -> bool:
    try:
        keys.identify(container, secret, from_loopback=False)
    except errors.Unauthorized:
        return True
    return False


@pytest.mark.usefixtures("events_only")
def test_a_key_that_another_process_revokes_is_refused(processes: tuple[Container, Container]) -> None:
    one, other = processes
    key, secret = keys.create(other, ADMIN, scopes=SCOPES)
    assert keys.identify(one, secret, from_loopback=False).tenant == DEFAULT_TENANT
    keys.revoke(other, DEFAULT_TENANT, key.id, force=True)
    assert is_refused(other, secret)
    until(lambda: is_refused(one, secret), 10)


def test_a_revoked_key_is_refused_soon_even_if_the_event_is_lost(
    processes: tuple[Container, Container], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = processes
    key, secret = keys.create(other, ADMIN, scopes=SCOPES)
    assert not is_refused(one, secret)
    monkeypatch.setattr(other.queue.events, "publish", lambda *_: None)
    keys.revoke(other, DEFAULT_TENANT, key.id, force=True)
    until(lambda: is_refused(one, secret), 10)


@pytest.mark.usefixtures("events_only")
def test_the_first_key_closes_the_open_door_of_every_process(processes: tuple[Container, Container]) -> None:
    one, other = processes
    assert keys.identify(one, "", from_loopback=True).tenant == DEFAULT_TENANT
    keys.create(other, ADMIN, scopes=SCOPES)

    def is_closed() -> bool:
        try:
            keys.identify(one, "", from_loopback=True)
        except errors.Unauthorized:
            return True
        return False

    until(is_closed, 10)


@pytest.mark.usefixtures("events_only")
def test_another_default_model_answers_in_every_process(processes: tuple[Container, Container]) -> None:
    one, other = processes
    before = models.get_version(one, "anna").name
    chosen = next(version.name for version in models.list_visible(one, "anna") if version.name != before)
    default_models.choose(other, "anna", chosen)
    until(lambda: models.get_version(one, "anna").name == chosen, 10)


@pytest.mark.usefixtures("events_only")
def test_a_model_that_becomes_ready_answers_in_every_process(processes: tuple[Container, Container]) -> None:
    one, other = processes
    version = models.get_version(one, "anna", "digits")
    assert version.state is not ModelState.READY
    with other.database.write() as uow:
        (stored,) = uow.model_versions.named(ALL_TENANTS, "digits")
        uow.model_versions.save(replace(stored, state=ModelState.READY))
    until(lambda: models.get_version(one, "anna", "digits").state is ModelState.READY, 10)
