"""Named locks that expire with the process that holds them, by redis-py's own `Lock`.

Its scripts compare the holder and delete, or extend, in one step. To get and then to delete, in two, would let a holder
whose lock has expired in between remove the lock of the next one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis
from redis.exceptions import LockError

from shared import errors
from shared.adapters.queue.connection import Connection, translated_errors

log = logging.getLogger(__name__)


class Locks:
    """Locks by name. The holder is one block of code, not a process: two threads of a process exclude each other."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key, self._settings = connection.redis, connection.key, connection.settings

    def acquire(self, name: str, seconds: float) -> Lock | None:
        """Take a lock that expires after `seconds` unless it is renewed; None when another holder has it."""
        # thread_local=False: it is renewed by another thread than the one that took it.
        lock = redis.lock.Lock(self._redis, self._key("lock", name), timeout=seconds, thread_local=False)
        with translated_errors():
            return Lock(lock, seconds) if lock.acquire(blocking=False) else None

    def is_held(self, name: str) -> bool:
        """True while any process holds the lock."""
        with translated_errors():
            return bool(self._redis.exists(self._key("lock", name)))

    @contextmanager
    def renewed(self, name: str) -> Iterator[RenewedLock | None]:
        """Hold a lock as long as the block lasts, renewed in the background; None when another holder has it.

        It expires one lease (a setting, in seconds) after the process was killed. Raises Unavailable when Redis is
        away at the beginning. Later that costs the lock, not the work: what two holders could do at once after a flush
        of Redis has to be told apart in SQL, or by looking at `lost`.
        """
        lease = self._settings.lease
        lock = self.acquire(name, lease)
        if lock is None:
            yield None
            return
        done, held = threading.Event(), RenewedLock()

        def renew() -> None:
            while not done.wait(lease / 4):
                try:
                    if not lock.renew():
                        held.lost.set()
                        return
                except errors.Unavailable as error:
                    log.warning("the lock %s is not renewed: %s", name, error.message)

        renewing = threading.Thread(target=renew, name=f"lease-{name}", daemon=True)
        renewing.start()
        try:
            yield held
        finally:
            done.set()
            renewing.join()  # or it might take the lock again after it was released
            try:
                lock.release()
            except errors.Unavailable as error:  # it expires by itself, and what was done is done
                log.warning("the lock %s is not released: %s", name, error.message)


class Lock:
    """A lock that was taken."""

    def __init__(self, lock: redis.lock.Lock, seconds: float) -> None:
        self._lock, self._seconds = lock, seconds

    def renew(self) -> bool:
        """Let it expire later, or take it again if Redis has forgotten it; False when another holder has it now."""
        with translated_errors():
            try:
                return bool(self._lock.extend(self._seconds, replace_ttl=True))
            except LockError:
                return bool(self._lock.acquire(blocking=False))

    def release(self) -> None:
        """Release it, unless it has expired and may be another holder's by now."""
        with translated_errors():
            try:
                self._lock.release()
            except LockError:
                log.debug("the lock had expired before it was released")


@dataclass(frozen=True)
class RenewedLock:
    """What a block that holds a renewed lock can look at."""

    lost: threading.Event = field(default_factory=threading.Event)
    """Set when another holder has it: this process slept for longer than the lease, or Redis forgot the lock."""
