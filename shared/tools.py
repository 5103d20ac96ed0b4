"""The doors to the outside in one object, built once per process and handed to every use-case."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.queue import Queue
from shared.rates import Rates
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage
from shared.waiting import Waiters


@dataclass(frozen=True)
class Tools:
    records: Records
    queue: Queue
    storage: Storage
    now: Callable[[], float]
    """Unix seconds."""
    settings: Settings
    waiters: Waiters
    rates: Rates

    def close(self) -> None:
        self.waiters.close()
        self.queue.close()
        self.records.close()


def build(settings: Settings) -> Tools:
    """Everything the settings name; nothing is connected to before it is used."""
    queue = Queue(settings)
    return Tools(
        records=Records(settings.database_url),
        queue=queue,
        storage=Storage(settings.storage_url),
        now=time.time,
        settings=settings,
        waiters=Waiters(queue),
        rates=Rates(settings),
    )
