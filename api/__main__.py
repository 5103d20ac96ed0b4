"""`python -m api`: the HTTP service under gunicorn, one process with threads.

One process is enough, because the expensive part is the model, which runs in the workers. It has threads, because each
waiting request holds a thread.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from api import create_app
from shared.container import build
from shared.services import keys
from shared.settings import Settings, from_environment

SILENCE = 15
"""Seconds without a byte from a client, after which its connection is closed."""


class Server(BaseApplication):
    """The gunicorn server is configured by our settings alone, and reads no configuration file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        options: dict[str, Any] = {
            "bind": f"{host}:{self._settings.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._settings.api_threads,
            "timeout": 60,
            "graceful_timeout": 10,
            "keepalive": 15,
            "proc_name": "inferq-api",
            "loglevel": self._settings.log_level.lower(),
            "control_socket_disable": True,
            "post_fork": _hang_up_on_silence,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application; gunicorn calls this in its worker process, so no connection crosses the fork."""
        container = build(self._settings)
        container.waiters.listen()
        return create_app(container)


def _hang_up_on_silence(_server: Any, worker: Any) -> None:
    """Give every connection a time limit for silence: gunicorn's threads wait for the rest of a request without one.

    Accepted sockets inherit the limit from the listening socket. A client that sends a byte now and then is not cut off
    by it: put a proxy that buffers requests in front where untrusted clients can connect.
    """
    for listener in worker.sockets:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE, 0))


def main() -> int:
    """Serve until SIGTERM. Return 2, with one line on stderr, for a bad setting or a public address without a key."""
    try:
        settings = from_environment()
        container = build(settings)
    except ValueError as error:  # a setting is not valid
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    allowed = keys.may_listen(container, settings.host)
    container.close()
    if not allowed:
        print(f"inferq: refusing to listen on {settings.host} without a key; see python -m api.setup", file=sys.stderr)
        return 2
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
