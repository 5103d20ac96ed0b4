"""`python -m api`: the HTTP service under gunicorn, one process with threads.

One process, because what costs is the model, and that is elsewhere; threads, because waiting requests hold one each.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from api import create_app
from shared import tenants
from shared.settings import Settings, from_environment
from shared.tools import build


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
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """In the worker process, so that no connection is shared across the fork."""
        tools = build(self._settings)
        tools.waiters.listen()
        return create_app(tools)


def main() -> int:
    """Serve until SIGTERM; exit status 2 with one line when listening must be refused."""
    settings = from_environment()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    tools = build(settings)
    allowed = tenants.may_listen(tools, settings.host)
    tools.close()
    if not allowed:
        print(f"inferq: refusing to listen on {settings.host} without a key; see python -m api.setup", file=sys.stderr)
        return 2
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
