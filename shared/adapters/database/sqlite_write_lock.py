"""The write lock of SQLite, shared by all threads and processes that use the file."""

from __future__ import annotations

import fcntl
import os
import threading

from shared import errors

PATIENCE = 15.0
"""Seconds that a thread waits for other threads of its process before it raises Unavailable."""


class SqliteWriteLock:
    """A lock that wakes the next writer as soon as it is free; the kernel releases it when its process exits.

    SQLite itself makes a writer retry after 1, 2, 5, 10, 15, 20, 25 and more milliseconds: with forty API threads and
    two workers, half of both cores was idle while all writers slept. Threads take their turns in the order of
    `threading.Lock`, processes in the order of the kernel.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._file: int | None = None

    def __enter__(self) -> None:
        if not self._threads.acquire(timeout=PATIENCE):
            raise errors.Unavailable("The database does not answer; try again soon.")
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()
