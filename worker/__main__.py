"""`python -m worker` runs models, `--trainer` trains them, `--maintenance` repairs and calls back."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from shared import errors, logs
from shared.adapters.queue.notifications import MAINTENANCE_QUEUE, MODEL_QUEUE, TRAINING_QUEUE
from shared.settings import Settings
from worker import create_app, create_trainer, from_environment, scratch
from worker.schedule import Schedule

if TYPE_CHECKING:
    from worker.process import WorkerProcess

log = logging.getLogger("worker")

_M_ARENA_MAX = -8
"""The number of that parameter in glibc's malloc.h."""
POLITE = 10
"""Niceness of a trainer process, as in `nice`."""
_CANNOT = (RuntimeError, ValueError, errors.InferqError)
"""Exceptions that prevent a start, such as for a device that does not exist."""


def main() -> int:
    """Run until SIGTERM, then finish the work that is claimed; exit status 2 with one line for a bad setting."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    roles = parser.add_mutually_exclusive_group()
    roles.add_argument("--trainer", action="store_true", help="train models and load datasets")
    roles.add_argument(
        # `--keeper` is its older name, by which scripts may start it.
        "--maintenance",
        "--keeper",
        action="store_true",
        help="repairs and callbacks; exactly one",
    )
    arguments = parser.parse_args()
    role, run = "worker", serve
    if arguments.maintenance:
        role, run = "maintenance", maintain
    elif arguments.trainer:
        role, run = "trainer", train
    try:
        # The API has decided what is traced.
        settings = logs.named(from_environment(), role).changed(otlp_percent=100.0)
    except ValueError as error:  # a setting that cannot be taken
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    logs.configure(settings)
    setup_logging.connect(_keep_logging)
    return run(settings)


def _keep_logging(**_: object) -> None:
    """Do nothing: Celery leaves the logging as it is if something has connected to its signal."""


def maintain(settings: Settings) -> int:
    """Run maintenance by its schedule, and send callbacks when notified."""
    _share_arenas()
    app = create_app(settings, is_maintenance=True)
    schedule = Schedule(app.process.container)

    @worker_shutting_down.connect(weak=False)
    def _stop(**_: object) -> None:
        app.process.deliverer.stop()

    schedule.start()  # before Celery, which waits for Redis; SQL may need repairs meanwhile
    status = _run(app, settings, MAINTENANCE_QUEUE, 1)
    schedule.stop()
    app.process.deliverer.close()
    app.process.container.tracing.close()
    app.process.container.queue.counts.close()
    return status


def _share_arenas() -> None:
    """Have all threads share two arenas of glibc. By default each of the many that send callbacks, and mostly wait,
    gets one of its own, and what it has freed stays there."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def train(settings: Settings) -> int:
    """Run a trainer, at a lower priority than workers on the same machine: even its start takes seconds of CPU time."""
    os.nice(POLITE)
    try:
        app = create_trainer(settings)
        trainer = app.process.trainer
    except _CANNOT as error:
        return _refused(error)
    logs.of_process(worker=trainer.id)

    @worker_ready.connect(weak=False)
    def _join(**_: object) -> None:
        trainer.register()

    @worker_shutting_down.connect(weak=False)
    def _stop(**_: object) -> None:
        trainer.stop()

    return _run(app, settings, TRAINING_QUEUE, 1)


def serve(settings: Settings) -> int:
    """Run a worker that serves models."""
    app = create_app(settings)
    try:
        worker = app.process.worker
    except _CANNOT as error:
        return _refused(error)
    logs.of_process(worker=worker.id)
    scratch.remove_leftovers()
    worker.preload()

    @worker_ready.connect(weak=False)
    def _join(sender: Any, **_: object) -> None:
        worker.register()
        # Celery fetches the next task when its event loop iterates, and a task that ends in a thread does not make it
        # iterate: the next task would start up to a second late. An iteration every 20 ms costs about 1 % of a core.
        sender.hub.call_repeatedly(0.02, int)

    @worker_shutting_down.connect(weak=False)
    def _stop(**_: object) -> None:
        worker.stop()

    # Threads, not solo: the main thread keeps reading the broker and SIGTERM while a task runs. A single thread, since
    # a second task would only share the same cores or GPU. Never prefork: CUDA does not work in a forked child.
    threading.Thread(target=_consume_while_full, args=(worker,), name="while-full", daemon=True).start()
    status = _run(app, settings, MODEL_QUEUE, 1)
    worker.deregister()
    worker.container.tracing.close()
    return status


def _consume_while_full(worker: WorkerProcess) -> None:
    from worker import full_queue  # imports torch

    full_queue.serve(worker)


def _refused(error: Exception) -> int:
    print(f"inferq: this worker cannot start: {error}", file=sys.stderr)
    return 2


def _run(app: Celery, settings: Settings, queue: str, threads: int) -> int:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", settings.log_level]
    pool = ["--pool", "threads", "--concurrency", str(threads)]
    app.worker_main(["-q", "worker", *pool, "--queues", queue, *quiet])
    return 0


if __name__ == "__main__":
    status = main()
    # Not sys.exit: with torch loaded, the interpreter takes seconds to take itself apart, and every stop of a stack
    # waits for it. By now the work is done and the connections are closed; the system frees the rest.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)
