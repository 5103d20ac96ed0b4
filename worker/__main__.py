"""`python -m worker` runs models; `python -m worker --keeper` is the housekeeper with the clock (beat)."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from shared import errors
from shared.queue import BELLS, HOUSE
from worker import create_app, from_environment

log = logging.getLogger("worker")


def main() -> int:
    """Run until SIGTERM, then finish what is claimed."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--keeper", action="store_true", help="housekeeping only: sweep, callbacks, the clock")
    keeper = parser.parse_args().keeper
    settings = from_environment()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):  # a line per bell, or per sweep
        logging.getLogger(chatty).setLevel(logging.WARNING)
    app = create_app(settings)
    arguments = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", settings.log_level]
    if keeper:
        # The plain scheduler keeps its times in memory: there is no schedule worth a file.
        schedule = ["--beat", "--scheduler", "celery.beat:Scheduler"]
        pool = ["--pool", "threads", "--concurrency", "2"]
        app.worker_main(["-q", "worker", *pool, "--queues", HOUSE, *schedule, *arguments])
        return 0

    try:
        runner = app.process.runner
    except (RuntimeError, ValueError, errors.InferqError) as error:  # a device that is not there, for one
        print(f"inferq: this worker cannot start: {error}", file=sys.stderr)
        return 2

    @worker_ready.connect(weak=False)
    def _join(sender: Any, **_: object) -> None:
        runner.join()
        # Celery asks for the next bell when its loop turns, and the end of a drain in a thread does not turn it: the
        # bell would be heard up to a second late. An idle turn every 20 ms costs about 1 % of a core.
        sender.hub.call_repeatedly(0.02, int)

    @worker_shutting_down.connect(weak=False)
    def _stop(**_: object) -> None:
        runner.stop()

    # Threads, not solo: the main thread keeps hearing the broker and SIGTERM while a drain runs. One of them, since
    # a second drain would only share the same cores or the same card. Never prefork: CUDA dies in a forked child.
    app.worker_main(["-q", "worker", "--pool", "threads", "--concurrency", "1", "--queues", BELLS, *arguments])
    return 0


if __name__ == "__main__":
    sys.exit(main())
