"""The receiver of callbacks: it writes down what arrives, and has a path on which it can be silent for a while."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """An HTTP server on loopback, in threads."""

    def __init__(self) -> None:
        self.received: dict[str, list[str]] = defaultdict(list)
        """Job id -> the `data` of each callback, as JSON: the rest of the body is the time of the attempt."""
        self.speaks = threading.Event()
        """While it is not set, a callback on the path `/moody` is taken and never answered."""
        self.speaks.set()
        self._server = _server(self.received, self.speaks)
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    def url(self, path: str = "/") -> str:
        """Return the address for callbacks."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"


def _server(received: dict[str, list[str]], speaks: threading.Event) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/moody" and not speaks.is_set():
                speaks.wait()
                return
            data: dict[str, Any] = json.loads(body)["data"]
            received[self.headers["webhook-id"]].append(json.dumps(data, sort_keys=True))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
