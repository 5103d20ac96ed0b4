"""Named locks that expire after the process that holds them was killed, by redis-py's `Lock`.

Its scripts compare the owner and delete, or extend, in one step. Two commands, GET and then DEL, would let an owner
whose lock has expired in between delete the lock of the next owner.
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
    """Locks by name. The owner is a block of code, not a process: two threads of one process exclude each other."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key, self._settings = connection.redis, connection.key, connection.settings

    def acquire(self, name: str, seconds: float) -> Lock | None:
        """Acquire a lock that expires after `seconds` unless it is renewed; returns None when it is held elsewhere."""
        # thread_local=False: the thread that renews the lock is not the thread that acquired it.
        lock = redis.lock.Lock(self._redis, self._key("lock", name), timeout=seconds, thread_local=False)
        with translated_errors():
            return Lock(lock, seconds) if lock.acquire(blocking=False) else None

    def is_held(self, name: str) -> bool:
        """Return True while any process holds the lock."""
        with translated_errors():
            return bool(self._redis.exists(self._key("lock", name)))

    @contextmanager
    def renewed(self, name: str) -> Iterator[RenewedLock | None]:
        """Hold a lock for the duration of the block, renewed in a background thread; yields None when it is held
        elsewhere.

        The lock expires one lease (a setting, in seconds) after its process was killed. Raises Unavailable when Redis
        is unreachable at the start. If Redis fails later, the lock may be lost but the block continues: it must then
        exclude a second owner through SQL, or by checking `lost`.
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
            renewing.join()  # otherwise the thread might acquire the lock again after the release below
            try:
                lock.release()
            except errors.Unavailable as error:  # the lock expires by itself, and the work is complete
                log.warning("the lock %s is not released: %s", name, error.message)


class Lock:
    """An acquired lock."""

    def __init__(self, lock: redis.lock.Lock, seconds: float) -> None:
        self._lock, self._seconds = lock, seconds

    def renew(self) -> bool:
        """Extend the lock, or acquire it again if Redis has lost it; returns False when it is held elsewhere by now."""
        with translated_errors():
            try:
                return bool(self._lock.extend(self._seconds, replace_ttl=True))
            except LockError:
                return bool(self._lock.acquire(blocking=False))

    def release(self) -> None:
        """Release the lock, unless it has expired and may belong to another owner by now."""
        with translated_errors():
            try:
                self._lock.release()
            except LockError:
                log.debug("the lock had expired before it was released")


@dataclass(frozen=True)
class RenewedLock:
    """The state of a lock that is renewed in the background."""

    lost: threading.Event = field(default_factory=threading.Event)
    """Set when the lock is held elsewhere: this process was suspended for longer than the lease, or Redis lost the
    lock."""
