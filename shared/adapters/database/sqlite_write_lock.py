"""Whose turn it is to write to SQLite, among all threads and processes that share the file."""

from __future__ import annotations

import fcntl
import os
import threading

from shared import errors

PATIENCE = 15.0
"""Seconds that a thread waits behind others of its process before it says that the database does not answer."""


class SqliteWriteLock:
    """A lock that wakes the next writer the moment it is free, and that dies with its process.

    SQLite itself lets a writer look again after 1, 2, 5, 10, 15, 20, 25 and more milliseconds: with forty API threads
    and two workers, half of both cores was idle while everybody slept. The order of threads is the lock's, that of
    processes the kernel's.
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
