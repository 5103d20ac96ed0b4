"""A worker looks for pictures by itself while Redis is full: notifications need memory, and so do new connections."""

from __future__ import annotations

import logging

from shared import errors
from worker import consumer
from worker.process import WorkerProcess

log = logging.getLogger(__name__)


def serve(worker: WorkerProcess) -> None:
    """Until the worker stops, run what waits whenever Redis is full: nobody would begin otherwise, and it would stay
    full."""
    while not worker.stopping.wait(worker.container.settings.lease / 4):
        try:
            _run_if_full(worker)
        except errors.Unavailable as error:
            log.warning("looking for pictures: %s", error.message)
        except Exception:  # the next look is a quarter of a lease away
            log.exception("looking for pictures")


def _run_if_full(worker: WorkerProcess) -> None:
    queue = worker.container.queue
    try:
        queue.room.ping()
    except errors.QueueFull:
        worker.register()  # the heartbeat renews the leases
        for version_id in queue.streams.version_ids():
            if queue.streams.backlog(version_id) or queue.streams.has_expired(version_id):
                consumer.consume(worker, version_id)
