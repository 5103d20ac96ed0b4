"""Tools for a real worker or trainer in this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from shared.queue import Queue
from shared.rates import Rates
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage
from shared.tools import Tools
from shared.waiting import Waiters


def made_tools(folder: Path, queue: Queue, **settings: Any) -> Tools:
    """On a database, a folder and this queue, with a short lease; no bell is heard by anybody."""
    known = {"device": "cpu", "linger": 0.05, "lease": 0.2, "max_batch": 16, "weights_timeout": 0.2}
    known |= {"weights_url": "http://127.0.0.1:9"}
    queue.call = lambda task, *arguments: True  # type: ignore[method-assign]
    return Tools(
        records=Records(f"sqlite:///{folder}/inferq.db"),
        queue=queue,
        storage=Storage(f"file://{folder}/blobs"),
        now=time.time,
        settings=Settings(**known | settings),
        waiters=Waiters(queue),
        rates=Rates(Settings()),
    )
