"""The write lock of SQLite, shared by all threads and processes that use the file."""

from __future__ import annotations

import fcntl
import os
import threading
import time

from shared import errors

PATIENCE = 15.0
"""Seconds that a thread waits for other threads and processes before it raises Unavailable."""


class SqliteWriteLock:
    """A lock that wakes the next writer as soon as it is free; the kernel releases it when its process exits.

    SQLite itself makes a writer retry after 1, 2, 5, 10, 15, 20, 25 and more milliseconds: with forty API threads and
    two workers, half of both cores was idle while all writers slept. Threads take their turns in the order of
    `threading.Lock`, processes in the order of the kernel.
    """

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self._path, self._patience = path, patience
        self._threads = threading.Lock()
        self._file: int | None = None
        self._waiting: _Waiting | None = None
        """Waits for another process on behalf of the thread that has the lock among the threads; or of none, after that
        one has given up."""

    def __enter__(self) -> None:
        """Raise Unavailable if other threads or processes hold the lock for too long."""
        until = time.monotonic() + self._patience
        if not self._threads.acquire(timeout=self._patience):
            raise self._busy()
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not self._lock(self._file, until):
                raise self._busy()
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()

    def _lock(self, file: int, until: float) -> bool:
        """Lock the file among processes; returns False if that takes until then (monotonic seconds)."""
        if self._waiting is None or not self._waiting.resume():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                self._waiting = _Waiting(file)
        if not self._waiting.wait(until - time.monotonic()):
            return False
        self._waiting = None
        return True

    def _busy(self) -> errors.Unavailable:
        return errors.Unavailable(
            f"The database does not answer: others have been writing to it for {self._patience:g} s; try again soon."
        )


class _Waiting:
    """Waits for the lock of a file in a thread, because `flock` has no time limit; polling would be the sleep that the
    lock is there to avoid. If the caller gives up, the thread releases the lock as soon as it gets it."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._granted = threading.Event()
        self._changing = threading.Lock()
        self._is_wanted, self._is_over = True, False
        threading.Thread(target=self._run, name="write-lock", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Return True if the file is locked within so many seconds; else give up."""
        if self._granted.wait(max(0.0, seconds)):
            return True
        with self._changing:
            self._is_wanted = self._granted.is_set()
            return self._is_wanted

    def resume(self) -> bool:
        """Wait again after giving up; returns False if the thread has ended meanwhile."""
        with self._changing:
            self._is_wanted = not self._is_over
            return self._is_wanted

    def _run(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._changing:
            self._is_over = True
            if self._is_wanted:
                self._granted.set()
            else:
                fcntl.flock(self._file, fcntl.LOCK_UN)
