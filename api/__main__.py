"""`python -m api`: the HTTP service under granian, one process or several."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from functools import partial
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from api.connections import Connections, bounds
from api.http_server import STOP, HttpServer
from api.key_uses import UsesWriter
from shared import logs
from shared.container import Container, build
from shared.services import keys
from shared.settings import Settings, from_environment

_PR_SET_PDEATHSIG = 1
CORES_PER_PROCESS = 4
"""Cores of the machine for each API process. One process answers more than a thousand requests per second, so that few
are needed beside the workers, which do the most of the work."""
BACKLOG = 4096
"""Connections that wait to be accepted, as far as the system allows it; a client beyond them tries again after a
second."""


def application() -> HttpServer:
    """Return the application of one process; granian calls this in each, so that no connection crosses a fork."""
    _end_with_parent()
    settings = logs.named(from_environment(), "api")
    logs.configure(settings)
    from api.application import create_app  # not above: granian's main process would load all of it, for nothing

    container = build(settings)
    container.waiters.listen()
    uses = UsesWriter(container)
    uses.start()
    application = create_app(container)
    # What is there now stays: the collector need not look at it again after every few hundred requests.
    gc.collect()
    gc.freeze()
    limits_addresses = not settings.trusted_proxies
    most, _ = connection_bounds(settings)
    most_idle = settings.max_idle_connections if limits_addresses else sys.maxsize
    return HttpServer(
        application,
        settings.api_threads,
        container.waiters.end_within,
        partial(_end, container, uses),
        connections=Connections(most_idle, most),
        limits_addresses=limits_addresses,
    )


def _end(container: Container, uses: UsesWriter) -> None:
    """Write what is noted and counted in memory: the process ends afterwards."""
    container.queue.counts.close()  # first: a database that is away holds up the other
    uses.end()


def _end_with_parent() -> None:
    """Have the kernel kill this process when granian's main process is killed, else it would keep the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and parent.pid != os.getppid():  # it was killed before
            sys.exit(1)


def processes(settings: Settings) -> int:
    """Return the number of API processes: the setting, or by default one for every CORES_PER_PROCESS cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return settings.api_processes or max(1, cores // CORES_PER_PROCESS)


def connection_bounds(settings: Settings) -> tuple[int, int]:
    """Return `bounds` for the connections of one process: of all requests that wait, and four for each thread."""
    return bounds(settings.max_waiting + 4 * settings.api_threads)


class _Server(Granian):  # type: ignore[misc, valid-type]  # chosen by the platform
    """Granian, that also tells its processes to give the answers that wait before they are killed."""

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """Have the server stop; granian's handler of SIGTERM and SIGINT."""
        for worker in self.wrks:
            if worker.is_alive():
                os.kill(worker.inner.pid, STOP)
        super().signal_handler_interrupt(*args, **kwargs)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM; requests that are being answered then are finished."""
    level = settings.log_level.lower()
    server: Any = _Server(
        "api.__main__:application",
        factory=True,
        interface=Interfaces.RSGI,
        address=settings.host,
        port=settings.port,
        workers=processes(settings),
        http=HTTPModes.http1,
        websockets=False,
        backpressure=connection_bounds(settings)[1],  # of one process; more wait to be accepted
        backlog=BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.keep_alive * 1000)),
        respawn_failed_workers=True,
        workers_kill_timeout=12,
        log_level=level,
        log_dictconfig=logs.configuration(settings),
    )
    server.serve()


def main() -> int:
    """Serve until SIGTERM. Return 2, with one line on stderr, for a bad setting or a public address without a key."""
    try:
        settings = logs.named(from_environment(), "api")
        container = build(settings)
    except ValueError as error:  # a setting is not valid
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    logs.configure(settings)
    allowed = keys.may_listen(container, settings.host)
    container.close()
    if not allowed:
        print(f"inferq: refusing to listen on {settings.host} without a key; see python -m api.setup", file=sys.stderr)
        return 2
    serve(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
