"""A thread of each API process writes when keys were last used, apart from the requests that use them."""

from __future__ import annotations

import logging
import threading
import time

from shared.container import Container
from shared.services import keys

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks whether a key was used: its first use is written that soon."""
WRITE_EVERY = 60.0
"""Seconds between two writes."""


class UsesWriter:
    """The thread, from its start to its end, at which it writes what is left."""

    def __init__(self, container: Container, look_every: float = LOOK_EVERY, write_every: float = WRITE_EVERY) -> None:
        self._container, self._look_every, self._write_every = container, look_every, write_every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uses", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """Stop the thread, and write what is left."""
        self._ended.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        due = 0.0
        while not self._ended.wait(self._look_every):
            if time.monotonic() >= due and self._write():
                due = time.monotonic() + self._write_every

    def _write(self) -> bool:
        """Write the uses, and return whether there were any; those that cannot be written now are kept."""
        try:
            return keys.write_uses(self._container)
        except Exception as error:  # noqa: BLE001 - no request waits for it, and the database may be away
            log.warning("the last uses of keys are written later: %s", error)
            return True
