"""The device check tells a picture that makes a model fail from a device that fails with every picture."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

from shared.adapters.storage import Storage
from worker.engine import Loaded

log = logging.getLogger(__name__)


def end_if_device_fails(storage: Storage, model: Loaded) -> None:
    """Run the version's example; if that fails as well, the device is at fault and not the picture. Raises
    Unavailable.

    The process then exits without recording anything: a worker whose GPU is lost would fail the whole queue.
    """
    example = model.version.example
    if example is None:
        return
    with suppress(FileNotFoundError):
        data = storage.read(example.blob)
        try:
            model.forward([model.prepare(data)], "classify")
        except Exception:
            log.critical("the model fails on its own example too; this worker ends itself", exc_info=True)
            os._exit(71)
