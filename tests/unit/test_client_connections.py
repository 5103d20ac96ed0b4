"""The connections of both clients: certificates, more requests than connections, and tasks that fail together."""

from __future__ import annotations

import asyncio
import gc
import shutil
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from inferq import errors
from inferq.client import AsyncClient, Client
from inferq.client.loop_runtime import LoopRuntime
from inferq.client.runtime import ThreadRuntime
from shared.schemas.workers import Queue
from tests.needed import missing
from tests.unit.answers import complete, job
from tests.unit.toy_server import Answer, ToyRequest, ToyServer


class Thief(BaseHTTPRequestHandler):
    """Keeps the key of every request."""

    keys: list[str]

    def do_GET(self) -> None:
        self.keys.append(self.headers["Authorization"])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Write no log."""


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Write no traceback: a client that distrusts the certificate breaks off."""


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "Https"])
def test_a_server_whose_certificate_is_not_trusted_never_sees_the_key(tmp_path: Path, scheme: str) -> None:
    if not (openssl := shutil.which("openssl")):
        missing("the command openssl, which makes a certificate,")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    keys: list[str] = []
    with QuietServer(("127.0.0.1", 0), type("Bound", (Thief,), {"keys": keys})) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"{scheme}://localhost:{server.server_port}"
            with (
                Client(url, key="secret", retries=0) as client,
                pytest.raises(errors.Unreachable, match="certificate verify failed"),
            ):
                client.workers.queue()
        finally:
            server.shutdown()
            thread.join()
    assert keys == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_request_that_waits_for_a_connection_is_not_too_late(
    server: ToyServer, monkeypatch: pytest.MonkeyPatch, kind: type[Client] | type[AsyncClient]
) -> None:
    timeout = 0.5
    asked = threading.Event()

    def held(_request: ToyRequest) -> Answer:
        asked.set()
        threading.Event().wait(1.5 * timeout)  # the only connection is in use for longer than the time-out
        return 200, {}, job("DONE")

    def blocking() -> int:
        with Client(server.url, timeout=timeout) as client, ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.jobs.get, "j1", wait=20)
            assert asked.wait(20)
            waiting = client.workers.queue().waiting
            assert first.result().terminal
            return waiting

    async def awaited() -> int:
        async with AsyncClient(server.url, timeout=timeout) as client:
            first = asyncio.create_task(client.jobs.get("j1", wait=20))
            assert await asyncio.to_thread(asked.wait, 20)
            waiting = (await client.workers.queue()).waiting
            assert (await first).terminal
            return waiting

    for runtime, opened in ((ThreadRuntime, httpx.Client), (LoopRuntime, httpx.AsyncClient)):

        def with_one_connection(self: Any, opened: Any = opened, **options: Any) -> None:
            self._http = opened(**options, limits=httpx.Limits(max_connections=1))

        monkeypatch.setattr(runtime, "__init__", with_one_connection)
    server.on("GET /v1/jobs/j1", held)
    server.on("GET /v1/queue", (200, {}, complete(Queue, waiting=3)))
    assert (blocking() if kind is Client else asyncio.run(awaited())) == 3


def test_of_tasks_that_fail_alike_one_error_is_raised_and_the_others_are_not_logged() -> None:
    heard: list[dict[str, Any]] = []

    async def fail() -> None:
        raise errors.NotFound(404, "model_not_found", "There is no model.")

    async def first_of_two() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        runtime = LoopRuntime()
        tasks = runtime.tasks(2)
        first, second = tasks.start(fail), tasks.start(fail)
        with pytest.raises(errors.NotFound):
            await first.result(None)
        while not second.done():
            await asyncio.sleep(0)
        await tasks.stop()
        await runtime.close()

    asyncio.run(first_of_two())
    gc.collect()
    assert heard == []
