"""`python -m worker` runs models, `--trainer` trains them, `--maintenance` repairs and calls back."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from shared import errors
from shared.adapters.queue.notifications import MAINTENANCE_QUEUE, MODEL_QUEUE, TRAINING_QUEUE
from shared.settings import Settings
from worker import create_app, create_trainer, from_environment, scratch
from worker.schedule import Schedule

if TYPE_CHECKING:
    from worker.process import WorkerProcess

log = logging.getLogger("worker")

POLITE = 10
"""Niceness of a trainer process, as in `nice`."""
_CANNOT = (RuntimeError, ValueError, errors.InferqError)
"""Exceptions that prevent a start, such as for a device that does not exist."""


def main() -> int:
    """Run until SIGTERM, then finish the work that is claimed; exit status 2 with one line for a bad setting."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    role = parser.add_mutually_exclusive_group()
    role.add_argument("--trainer", action="store_true", help="train models and load datasets")
    role.add_argument(
        # `--keeper` is its older name, by which scripts may start it.
        "--maintenance",
        "--keeper",
        action="store_true",
        help="repairs and callbacks; exactly one",
    )
    arguments = parser.parse_args()
    try:
        settings = from_environment()
    except ValueError as error:  # a setting that cannot be taken
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("celery.worker.strategy", "celery.app.trace"):  # they log a line per task
        logging.getLogger(chatty).setLevel(logging.WARNING)
    run = maintain if arguments.maintenance else train if arguments.trainer else serve
    return run(settings)


def maintain(settings: Settings) -> int:
    """Run maintenance by its schedule, and send callbacks when notified."""
    app = create_app(settings)
    schedule = Schedule(app.process.container)

    @worker_shutting_down.connect(weak=False)
    def _stop(**_: object) -> None:
        app.process.deliverer.stop()

    schedule.start()  # before Celery, which waits for Redis; SQL may need repairs meanwhile
    status = _run(app, settings, MAINTENANCE_QUEUE, 1)
    schedule.stop()
    app.process.deliverer.close()
    return status


def train(settings: Settings) -> int:
    """Run a trainer, at a lower priority than workers on the same machine: even its start takes seconds of CPU time."""
    os.nice(POLITE)
    try:
        app = create_trainer(settings)
        trainer = app.process.trainer
    except _CANNOT as error:
        return _refused(error)

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
