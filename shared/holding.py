"""Holding a named lock while a block runs: renewed in the background, lapsing when the process dies."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared import errors

if TYPE_CHECKING:
    from shared.tools import Tools

log = logging.getLogger(__name__)


@contextmanager
def hold(tools: Tools, name: str) -> Iterator[bool]:
    """Hold a lock as long as the block lasts; False when somebody else holds it, here or elsewhere.

    Raises Unavailable when the queue is away at the beginning. Later that costs the lock, not the work: what two could
    do at once after a flush of Redis has to be told apart in SQL.
    """
    queue, lease = tools.queue, tools.settings.lease
    # Of this block, not of the process: two of its threads may be sent to do the same.
    holder = secrets.token_hex(8)
    if not queue.lock(name, holder, lease):
        yield False
        return
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease / 4):
            try:
                queue.lock(name, holder, lease)
            except errors.Unavailable as error:
                log.warning("the lock %s: %s", name, error.message)

    renewing = threading.Thread(target=renew, name=f"lease-{name}", daemon=True)
    renewing.start()
    try:
        yield True
    finally:
        done.set()
        renewing.join()  # or it might take the lock again after it was given back
        _give_back(tools, name, holder)


def _give_back(tools: Tools, name: str, holder: str) -> None:
    try:
        tools.queue.unlock(name, holder)
    except errors.Unavailable as error:  # it lapses by itself, and what was done is done
        log.warning("the lock %s: %s", name, error.message)
