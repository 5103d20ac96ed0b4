"""The HTTP server over real sockets: bodies of every kind reach the application, and slow clients hold no thread."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import itertools
import json
import select
import socket
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import httpx
import pytest
from flask import Flask, request
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from PIL import Image

from api import http_server
from api.application import create_app
from api.context import held_threads
from api.http_server import Application, HttpServer
from shared import errors
from shared.container import Container
from tests import apps, stacks

PNG = io.BytesIO()
Image.new("L", (8, 8)).save(PNG, "PNG")
BIG = bytes(range(256)) * 16_000
"""More than SMALL."""


@contextmanager
def serving(application: Application, threads: int = 4, at_end: Callable[[], None] | None = None) -> Iterator[str]:
    """Serve the application in this process; yield its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = Server(
        HttpServer(application, threads, at_end=at_end), address="127.0.0.1", port=port, interface=Interfaces.RSGI,
        http=HTTPModes.http1, websockets=False, log_enabled=False,
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),))
    thread.start()
    address = f"127.0.0.1:{port}"
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert thread.is_alive()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join(10)
        loop.close()


def raw(address: str, request: bytes, *, is_whole: bool = False) -> bytes:
    """Send bytes, end the sending side unless the request is whole, and return what comes back."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(request)
        if not is_whole:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    return answer


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the hash of the body, or with what the request was."""
    if environ["PATH_INFO"] == "/environ":
        text = repr({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
    else:
        try:
            text = hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()
        except (TimeoutError, ConnectionError) as error:
            start_response("408 Request Timeout", [("Content-Type", "text/plain")])
            return [type(error).__name__.encode()]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(echo) as address:
        yield address


def pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


@pytest.mark.parametrize("body", [b"", b"small", BIG], ids=["none", "small", "big"])
@pytest.mark.parametrize("how", ["with a length", "in chunks"])
def test_a_body_arrives_whole(address: str, body: bytes, how: str) -> None:
    content = body if how == "with a length" else pieces(body)
    answer = httpx.post(f"http://{address}/", content=content)
    assert answer.text == hashlib.sha256(body).hexdigest()


def test_what_is_left_to_do_is_done_when_the_server_stops() -> None:
    done = list[str]()
    with serving(echo, at_end=lambda: done.append("stored")) as address:
        httpx.post(f"http://{address}/", content=b"small")
        assert done == []
    assert done == ["stored"]


def test_a_client_is_asked_for_the_body_that_it_has_announced(address: str) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"small")
        assert hashlib.sha256(b"small").hexdigest().encode() in client.recv(1000)


def test_the_request_is_what_wsgi_says(address: str) -> None:
    headers = [("X-Twice", "1"), ("X-Twice", "2"), ("Content-Type", "a/b")]
    answer = httpx.post(f"http://{address}/environ?a=%20b", headers=headers, content=b"12")
    environ = eval(answer.text)
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["QUERY_STRING"] == "a=%20b"
    assert environ["HTTP_X_TWICE"] == "1,2"
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "2")
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("127.0.0.1", "127.0.0.1")
    assert environ["HTTP_HOST"] == address


def test_a_path_is_decoded_as_wsgi_says() -> None:
    paths: list[str] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        paths.append(environ["PATH_INFO"].encode("latin-1").decode())
        start_response("204 No Content", [])
        return []

    with serving(application) as address:
        httpx.get(f"http://{address}/a%20%C3%A9/%2F")
    assert paths == ["/a é//"]


def test_an_answer_of_unknown_length_is_sent_part_by_part() -> None:
    closed = threading.Event()
    go_on = threading.Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            yield b"one,"
            assert go_on.wait(10)
            yield b"two"
        finally:
            closed.set()

    with serving(application) as address, httpx.stream("GET", f"http://{address}/") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"one,"
        go_on.set()
        assert b"".join(parts) == b"two"
        assert closed.wait(10)


def test_an_answer_ends_when_its_client_has_gone() -> None:
    closed = threading.Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            while True:
                yield b"." * 100_000
        finally:
            closed.set()

    with serving(application) as address:
        with httpx.stream("GET", f"http://{address}/") as answer:
            next(answer.iter_raw())
        assert closed.wait(10)


@pytest.mark.parametrize("length", [5, len(BIG)])
def test_a_body_that_does_not_come_is_the_applications_to_complain_about(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(http_server, "WHOLE", 0.2)
    monkeypatch.setattr(http_server, "SILENCE", 0.2)
    with serving(echo) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nabc".encode())
            answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"TimeoutError")


def test_slow_clients_hold_no_thread() -> None:
    with serving(echo, threads=1) as address:
        host, port = address.split(":")
        slow = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
        for client in slow:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert httpx.post(f"http://{address}/", content=b"quick", timeout=10).status_code == 200
        for client in slow:
            client.sendall(b"cde")
            assert hashlib.sha256(b"abcde").hexdigest().encode() in client.recv(1000)
            client.close()


def test_however_many_requests_follow_each_other_one_timer_looks_after_those_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "LISTEN_AFTER", 0.2)
    calls: list[float] = []
    listen = HttpServer._listen_for_ends

    def count(server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        calls.append(loop.time())
        listen(server, loop)

    monkeypatch.setattr(HttpServer, "_listen_for_ends", count)
    with serving(echo) as address, httpx.Client() as client:
        for _ in range(100):
            assert client.post(f"http://{address}/", content=b"quick").status_code == 200
        stacks.until(lambda: len(calls) > 0, 10)
    assert all(later - earlier >= 0.19 for earlier, later in itertools.pairwise(calls))


@contextmanager
def half_sent(address: str, length: int, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that have sent the head and a part of the body."""
    host, port = address.split(":")
    clients = [socket.create_connection((host, int(port)), timeout=10) for _ in range(count)]
    for client in clients:
        client.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nab".encode())
    yield clients
    for client in clients:
        client.close()


def test_of_one_address_only_so_many_small_bodies_may_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "SLOW", 0.2)
    monkeypatch.setattr(http_server, "MOST_SLOW", 3)
    with serving(echo) as address, half_sent(address, 5, 5) as clients:
        ready, _, _ = select.select(clients, [], [], 10)
        assert len(ready) <= 2
        assert all(client.recv(1000).startswith(b"HTTP/1.1 408 ") for client in ready)
        assert httpx.post(f"http://{address}/", content=b"quick", timeout=10).status_code == 200


def test_of_one_address_only_so_many_large_bodies_may_arrive_at_once(flask_address: str) -> None:
    with half_sent(flask_address, len(BIG), 2):  # half of the four threads
        refused = httpx.post(f"http://{flask_address}/", content=BIG, timeout=10)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert httpx.post(f"http://{flask_address}/", content=b"small", timeout=10).text == "size 5"
    stacks.until(lambda: httpx.post(f"http://{flask_address}/", content=BIG, timeout=10).status_code == 200, 10)


def test_a_large_body_that_comes_too_slowly_fails_though_it_never_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "WHOLE", 0.5)
    monkeypatch.setattr(http_server, "SLOWEST", 1000)
    with serving(echo) as address, half_sent(address, len(BIG), 1) as (client,):
        client.settimeout(0.05)
        answer = b""
        while not answer:
            client.sendall(b".")
            with contextlib.suppress(TimeoutError):
                answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.fixture(scope="module")
def flask_address() -> Iterator[str]:
    """Serve a Flask application that answers with the size of the body."""
    app = Flask("sizes")
    app.config["MAX_CONTENT_LENGTH"] = 2**30

    @app.errorhandler(errors.TooManyRequests)
    def _refuse(error: errors.TooManyRequests) -> tuple[str, int, dict[str, str]]:
        return error.message, 429, {"Retry-After": f"{error.retry_after:g}"}

    @app.post("/")
    def size() -> str:
        return f"size {len(request.get_data())}"

    with serving(app) as address:
        yield address


@pytest.mark.parametrize("announced", [100, len(BIG)], ids=["small", "big"])
def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(flask_address: str, announced: int) -> None:
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {announced}\r\n\r\n".encode()
    answer = raw(flask_address, head + BIG[: announced // 2])
    assert b"size" not in answer
    assert b"500" not in answer.splitlines()[0]


def test_a_header_that_only_looks_like_the_length_is_left_out(address: str) -> None:
    lengths = b"Content-Length: 2\r\nContent_Length: 2147483648\r\n"
    head = b"POST /environ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lengths + b"X_A: 1\r\n\r\n12"
    answer = raw(address, head, is_whole=True)
    assert b"'CONTENT_LENGTH': '2'" in answer
    assert b"HTTP_X_A" not in answer


def test_an_archive_without_a_length_is_refused_for_it_may_be_cut_and_a_picture_is_taken(container: Container) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("a.png")
        member.size = len(PNG.getvalue())
        tar.addfile(member, io.BytesIO(PNG.getvalue()))
    with serving(create_app(container)) as address:
        url = f"http://{address}/v1/jobs?model=digits"
        refused = httpx.post(url, content=iter([archive.getvalue()]))
        assert (refused.status_code, refused.json()["code"]) == (411, "bad_request")
        assert "Content-Length" in refused.json()["detail"]
        assert httpx.post(url, content=archive.getvalue()).status_code == 202
        assert httpx.post(url, content=iter([PNG.getvalue()])).status_code == 202


@pytest.mark.parametrize("size", [100, 20_000_000], ids=["small", "big"])
@pytest.mark.parametrize("how", ["with a length", "in chunks", "in single bytes"])
def test_a_packed_body_is_unpacked_whatever_its_size(container: Container, size: int, how: str) -> None:
    document = {"inputs": [{"base64": base64.b64encode(PNG.getvalue()).decode()}], "metadata": {"a": "b" * size}}
    packed = gzip.compress(json.dumps(document).encode(), 1)
    content: dict[str, Any] = {
        "with a length": packed,
        "in chunks": pieces(packed),
        "in single bytes": (packed[at : at + 1] for at in range(40)) if size < 1000 else pieces(packed),
    }
    if how == "in single bytes" and size < 1000:
        content[how] = chain(content[how], [packed[40:]])
    with serving(create_app(container)) as address:
        url = f"http://{address}/v1/jobs?model=digits"
        answer = httpx.post(url, content=content[how], headers={"Content-Encoding": "gzip"}, timeout=60)
        assert answer.status_code == 202, answer.text
        cut = httpx.post(url, content=iter([packed[:-20]]), headers={"Content-Encoding": "gzip"}, timeout=60)
        assert (cut.status_code, cut.json()["code"]) == (400, "bad_request")


def test_the_rest_of_a_packed_body_that_is_refused_does_not_disturb_the_next_request(container: Container) -> None:
    app = create_app(replace(container, settings=container.settings.changed(max_body=10_000)))
    packed = gzip.compress(bytes(3_000_000))
    with serving(app) as address, httpx.Client(base_url=f"http://{address}") as client:
        for encoding, status in (("gzip", 413), ("br", 415), ("gzip", 413)):
            answer = client.post("/v1/jobs", content=packed, headers={"Content-Encoding": encoding})
            assert answer.status_code == status
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("made", [create_app, apps.over], ids=["the service", "the tests"])
def test_a_quarter_of_the_threads_stays_free_of_long_answers(container: Container, made: Callable[..., Flask]) -> None:
    app = made(replace(container, settings=container.settings.changed(api_threads=8)))
    with app.app_context():
        taken = [held_threads().acquire() for _ in range(8)]
    assert taken == [True] * 6 + [False] * 2
