"""Containers for a real worker or trainer in this process, and a worker with its heartbeat."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.container import Container, own_storage
from shared.settings import Settings

if TYPE_CHECKING:
    from worker.process import WorkerProcess


def make_container(folder: Path, queue: Queue, **settings: Any) -> Container:
    """Return a container on a database, a folder and this queue, with a short lease; notifications reach no worker."""
    defaults: dict[str, Any] = {"device": "cpu", "linger": 0.05, "lease": 0.2, "max_batch": 16, "weights_timeout": 0.2}
    defaults |= {"weights_url": "http://127.0.0.1:9"}
    queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]
    database = Database(f"sqlite:///{folder}/inferq.db")
    return Container(
        database=database,
        queue=queue,
        storage=own_storage(Settings(storage_url=f"file://{folder}/blobs"), database),
        now=time.time,
        settings=Settings(**defaults | settings),
        waiters=Waiters(queue),
        rate_limits=RateLimits(Settings()),
    )


@contextmanager
def checked_container(checked: Path, folder: Path, queue: Queue) -> Iterator[Container]:
    """Yield a container on a copy of the data folder in which `digits` is checked."""
    shutil.copytree(checked, folder / "data")
    container = make_container(folder / "data", queue)
    yield container
    container.waiters.close()
    container.database.close()


@contextmanager
def registered(container: Container) -> Iterator[WorkerProcess]:
    """Yield a registered worker with a running heartbeat thread."""
    from worker.process import WorkerProcess

    worker = WorkerProcess(container)
    worker.register()
    yield worker
    worker.release_all()  # before: a heartbeat goes on for what is held, and then for a quarter of a lease
    worker.stop()
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(10)
