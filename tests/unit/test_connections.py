"""Connections without a request: one address cannot keep others out by them, and none is left hanging."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api import connections
from api.connections import bounds
from migrations.__main__ import upgrade
from tests import stacks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="connections are found in /proc")

HALF = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
WHOLE = HALF + b"\r\n"
SOON = 10.0
"""Seconds in which a connection is answered or closed though the machine is busy; keep-alive has 60 here."""


@contextmanager
def serving(data: Path, **settings: object) -> Iterator[int]:
    """Run `python -m api` with these settings, over an empty database; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    database = f"sqlite:///{data}/inferq.db"
    upgrade(database)
    given = {"data": data, "port": port, "keep_alive": 60, "api_processes": 1} | settings
    named = {f"INFERQ_{name.upper()}": str(value) for name, value in given.items()}
    environ = os.environ | named | {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:9/0"}
    with open(data / "api.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "api"], env=environ, stdout=log, stderr=log)
    try:
        stacks.until(lambda: is_alive(port), 60, (data / "api.log").read_text)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def is_alive(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=SOON).status_code == 200
    return False


@contextmanager
def opened(port: int, count: int, *, source: str = "127.0.0.2", sends: bytes = b"") -> Iterator[list[socket.socket]]:
    """Yield so many connections from an address of this machine, each of which has sent these bytes."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
            )
            with contextlib.suppress(OSError):  # it may have been closed
                client.sendall(sends)
            clients.append(client)
        yield clients


def still_open(clients: list[socket.socket]) -> list[socket.socket]:
    """Return those that the server has not closed; none has an answer to read."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    ended = {descriptor for descriptor, _ in poll.poll(0)}
    return [client for client in clients if client.fileno() not in ended]


def let_the_service_look(port: int) -> None:
    """Return when the service has looked at its connections: it has closed some of this address."""
    with opened(port, 60, source="127.0.0.99") as clients:
        stacks.until(lambda: len(still_open(clients)) <= 50, SOON)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service of 200 connections, 50 idle ones of one address."""
    with serving(tmp_path_factory.mktemp("api"), max_idle_connections=50, max_waiting=160, api_threads=10) as port:
        yield port


@pytest.fixture
def port(service: int) -> int:
    """The port of the service, which has no connections left from a test before."""
    stacks.until(lambda: count_connections(service) == 0, 30)
    return service


def count_connections(port: int) -> int:
    """Return the connections to a port of this machine that are open at the server's side, also those that it has not
    accepted yet."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in ("01", "08") for row in rows)


@pytest.mark.parametrize("sends", [b"", HALF, WHOLE], ids=["nothing", "half a head", "a request, and is idle then"])
def test_one_address_that_opens_thousands_of_connections_keeps_no_other_out(port: int, sends: bytes) -> None:
    with opened(port, 2500, sends=sends):
        began = time.monotonic()
        assert is_alive(port)
        assert time.monotonic() - began < SOON


@pytest.mark.parametrize("sends", [b"", HALF], ids=["nothing", "half a head"])
def test_an_address_keeps_as_many_idle_connections_as_it_may_have(port: int, sends: bytes) -> None:
    with opened(port, 70, sends=sends) as clients, opened(port, 10, source="127.0.0.3", sends=sends) as others:
        stacks.until(lambda: len(still_open(clients)) <= 50, SOON)
        let_the_service_look(port)
        assert len(still_open(clients)) == 50
        assert still_open(others) == others


def test_those_that_were_silent_for_the_longest_are_closed(port: int) -> None:
    with opened(port, 40) as old:
        assert is_alive(port)  # meanwhile milliseconds pass
        for client in old[:20]:
            client.sendall(HALF)
        with opened(port, 30) as new:
            stacks.until(lambda: len(still_open(old + new)) <= 50, SOON)
            assert still_open(new) == new
            assert still_open(old) == old[:20]


def test_beyond_the_bound_of_the_process_the_addresses_with_the_most_make_room(port: int) -> None:
    with contextlib.ExitStack() as stack:

        def open_from(source: str, count: int) -> list[socket.socket]:
            return stack.enter_context(opened(port, count, source=source))

        many = [client for host in range(10, 14) for client in open_from(f"127.0.0.{host}", 45)]
        few = open_from("127.0.0.3", 15) + open_from("127.0.0.4", 15)
        stacks.until(lambda: len(still_open(many)) <= 170, SOON)
        assert still_open(few) == few
        assert is_alive(port)


def test_a_connection_with_a_request_is_not_closed(port: int) -> None:
    head = b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n"
    with opened(port, 1, sends=head) as (busy,):
        with opened(port, 100) as idle:
            stacks.until(lambda: len(still_open(idle)) <= 50, SOON)
        busy.sendall(b"{}")
        assert busy.recv(100).startswith(b"HTTP/1.1 4")


def test_a_connection_that_is_used_again_and_again_is_not_idle_in_between(port: int) -> None:
    with opened(port, 60, sends=WHOLE) as clients:
        assert all(client.recv(1000).startswith(b"HTTP/1.1 200 ") for client in clients)
        let_the_service_look(port)
        for client in clients:
            client.sendall(WHOLE)
        assert all(client.recv(1000).startswith(b"HTTP/1.1 200 ") for client in clients)


def test_behind_trusted_proxies_only_all_connections_are_bounded(tmp_path: Path) -> None:
    settings = {"trusted_proxies": 1, "max_idle_connections": 5, "max_waiting": 40, "api_threads": 10}
    with serving(tmp_path, **settings) as port, opened(port, 120) as clients:
        stacks.until(lambda: len(still_open(clients)) <= 80, SOON)
        assert len(still_open(clients)) == 80
        assert is_alive(port)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(20_000, (5024, 6048)), (4096, (2304, 3072)), (1024, (384, 512)), (resource.RLIM_INFINITY, (5024, 6048))],
)
def test_a_process_has_no_more_connections_than_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limit: int, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (min(limit, 1024) if limit > 0 else limit, limit))
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert bounds(5024) == expected
    assert raised == {20_000: [(7072, 20_000)], 4096: [(4096, 4096)]}.get(limit, [])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::7%2", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_the_addresses_that_one_host_may_take_count_together(host: str, expected: str) -> None:
    assert connections.network(host) == expected
