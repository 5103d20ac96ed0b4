"""Holding a named lock while a block runs: renewed in the background, lapsing when the process dies."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared import errors

if TYPE_CHECKING:
    from shared.tools import Tools

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """A lock that is held."""

    lost: threading.Event = field(default_factory=threading.Event)
    """Set when somebody else has got it: this process slept for longer than the lease, or the queue forgot it."""


@contextmanager
def hold(tools: Tools, name: str) -> Iterator[Held | None]:
    """Hold a lock as long as the block lasts; None when somebody else holds it, here or elsewhere.

    Raises Unavailable when the queue is away at the beginning. Later that costs the lock, not the work: what two could
    do at once after a flush of Redis has to be told apart in SQL, or by looking at `lost`.
    """
    queue, lease = tools.queue, tools.settings.lease
    # Of this block, not of the process: two of its threads may be sent to do the same.
    holder = secrets.token_hex(8)
    if not queue.lock(name, holder, lease):
        yield None
        return
    done, held = threading.Event(), Held()

    def renew() -> None:
        while not done.wait(lease / 4):
            try:
                if not queue.lock(name, holder, lease):
                    held.lost.set()
                    return
            except errors.Unavailable as error:
                log.warning("the lock %s: %s", name, error.message)

    renewing = threading.Thread(target=renew, name=f"lease-{name}", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        done.set()
        renewing.join()  # or it might take the lock again after it was given back
        _give_back(tools, name, holder)


def _give_back(tools: Tools, name: str, holder: str) -> None:
    try:
        tools.queue.unlock(name, holder)
    except errors.Unavailable as error:  # it lapses by itself, and what was done is done
        log.warning("the lock %s: %s", name, error.message)
