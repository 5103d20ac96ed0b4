"""`python -m api`: the HTTP service under gunicorn, one process with threads.

One process, because what costs is the model, and that is elsewhere; threads, because waiting requests hold one each.
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
"""Seconds."""


class Server(BaseApplication):
    """Gunicorn, told everything by our settings and nothing by files."""

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
        """In the worker process, so that no connection is shared across the fork."""
        container = build(self._settings)
        container.waiters.listen()
        return create_app(container)


def _hang_up_on_silence(_server: Any, worker: Any) -> None:
    """Give every connection a time limit for silence: gunicorn's threads wait for the rest of a request without one.

    Accepted sockets inherit it from the listening one. What sends a byte now and then is not cut off by this: put a
    proxy that buffers requests in front where strangers can connect.
    """
    for listener in worker.sockets:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE, 0))


def main() -> int:
    """Serve until SIGTERM; exit status 2 with one line when a setting, or the open door, forbids it."""
    try:
        settings = from_environment()
        container = build(settings)
    except ValueError as error:  # a setting that cannot be taken
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
