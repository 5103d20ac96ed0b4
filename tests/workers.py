"""Container for a real worker or trainer in this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.adapters.storage import Storage
from shared.container import Container
from shared.settings import Settings


def make_container(folder: Path, queue: Queue, **settings: Any) -> Container:
    """Return a container on a database, a folder and this queue, with a short lease; notifications reach no worker."""
    defaults: dict[str, Any] = {"device": "cpu", "linger": 0.05, "lease": 0.2, "max_batch": 16, "weights_timeout": 0.2}
    defaults |= {"weights_url": "http://127.0.0.1:9"}
    queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]
    return Container(
        database=Database(f"sqlite:///{folder}/inferq.db"),
        queue=queue,
        storage=Storage(f"file://{folder}/blobs"),
        now=time.time,
        settings=Settings(**defaults | settings),
        waiters=Waiters(queue),
        rate_limits=RateLimits(Settings()),
    )
