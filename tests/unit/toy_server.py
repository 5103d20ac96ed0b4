"""A small real HTTP server with scripted answers, which records the requests it gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], Any]
"""Status, headers, and a body: bytes as they are, everything else as JSON."""


@dataclass
class ToyRequest:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ToyServer:
    """Scripted answers by method and path; each answer is given once, the last one any number of times."""

    url: str
    requests: list[ToyRequest] = field(default_factory=list)
    answers: dict[str, list[Answer | Callable[[ToyRequest], Answer]]] = field(default_factory=dict)

    def on(self, call: str, *answers: Answer | Callable[[ToyRequest], Answer]) -> None:
        """Set the answers of a call: `on("GET /v1/jobs", (200, {}, {...}))`; the query string is ignored."""
        self.answers[call] = list(answers)

    def answer(self, request: ToyRequest) -> Answer:
        self.requests.append(request)
        script = self.answers.get(f"{request.method} {request.path.partition('?')[0]}")
        if not script:
            return 404, {}, {"title": "Not Found", "code": "not_found", "detail": "There is nothing here."}
        chosen = script.pop(0) if len(script) > 1 else script[0]
        return chosen(request) if callable(chosen) else chosen


@contextmanager
def serving() -> Iterator[ToyServer]:
    """A running ToyServer on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunks()
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, extra, answer = toy.answer(ToyRequest(self.command, self.path, headers, body))
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _chunks(self) -> bytes:
            data = b""
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            return data

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Write no log; tests read `requests`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    toy = ToyServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield toy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
