"""Receivers of webhooks on real sockets, silent ones too, and a deliverer that sends what is due."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.container import Container
from worker.delivery import Deliverer
from worker.delivery_places import DeliveryPlaces


class Receiver(http.server.ThreadingHTTPServer):
    """A receiver; `calls` holds the requests that it has got, with the names of their headers in lower case."""

    daemon_threads = True
    request_queue_size = 128  # by default 5 connections may wait to be accepted

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None, *, silent: bool = False) -> None:
        """A `silent` receiver answers only once `speak` is set."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.status, self.headers = status, headers or {}
        self.called, self.speak = threading.Semaphore(0), threading.Event()
        self.at_once, self.most_at_once = 0, 0
        """The requests that it has and has not answered; the highest number of them."""
        self.counting = threading.Lock()
        if not silent:
            self.speak.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait_for_calls(self, count: int, seconds: float = 20.0) -> bool:
        """Return True once so many more calls have come."""
        return all(self.called.acquire(timeout=seconds) for _ in range(count))

    def handle_error(self, *_: object) -> None:
        """Write no traceback when a deliverer has gone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        receiver = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with receiver.counting:
            receiver.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.at_once += 1
            receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
        receiver.called.release()
        receiver.speak.wait()
        with receiver.counting:
            receiver.at_once -= 1
        self.send_response(receiver.status)
        for name, value in receiver.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Write no log of requests."""


@contextmanager
def receiving(status: int = 200, headers: dict[str, str] | None = None, *, silent: bool = False) -> Iterator[Receiver]:
    """Run a receiver for the duration of the block; a silent one speaks at its end, so that no deliverer waits on."""
    receiver = Receiver(status, headers, silent=silent)
    threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.speak.set()
        receiver.shutdown()
        receiver.server_close()


@contextmanager
def delivering(container: Container, places: DeliveryPlaces | None = None) -> Iterator[Deliverer]:
    """Run a deliverer for the duration of the block; what it has begun ends with it."""
    deliverer = Deliverer(container, places)
    try:
        yield deliverer
    finally:
        deliverer.close()


def deliver(container: Container) -> None:
    """Send the callbacks that are due, and return when all attempts have ended."""
    with delivering(container) as deliverer:
        deliverer.deliver()
