"""SQLite's write lock: one holder among threads and processes, and no wait without an end."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.adapters.database.sqlite_write_lock import SqliteWriteLock
from shared.adapters.database.unit_of_work import Database
from shared.errors import Unavailable
from tests.stacks import until

HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "inferq.db.turn")


@pytest.fixture
def holder(path: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which holds the lock until it is killed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def waiting_threads() -> int:
    return sum(thread.name == "write-lock" for thread in threading.enumerate())


def is_free(path: str) -> bool:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_lock_that_another_process_keeps_is_given_up(path: str, holder: subprocess.Popen[bytes]) -> None:
    lock = SqliteWriteLock(path, patience=0.2)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"others have been writing to it for 0.2 s; try again soon"), lock:
            pass
    assert waiting_threads() == 1


def test_a_lock_that_was_given_up_is_taken_again_when_the_other_process_ends(
    path: str, holder: subprocess.Popen[bytes]
) -> None:
    impatient = SqliteWriteLock(path, patience=0.1)
    with pytest.raises(Unavailable), impatient:
        pass
    impatient._patience = 30.0
    threading.Timer(0.2, holder.kill).start()
    with impatient:
        assert not is_free(path)
    assert is_free(path)


def test_a_lock_that_was_given_up_is_left_to_others(path: str, holder: subprocess.Popen[bytes]) -> None:
    lock = SqliteWriteLock(path, patience=0.1)
    with pytest.raises(Unavailable), lock:
        pass
    holder.kill()
    until(lambda: waiting_threads() == 0, 20)
    assert is_free(path)
    with lock:
        assert not is_free(path)


def test_a_thread_gives_up_as_well(path: str) -> None:
    lock = SqliteWriteLock(path, patience=0.1)
    with lock, pytest.raises(Unavailable), lock:
        pass
    with lock:
        pass


def test_many_threads_and_another_holder_exclude_each_other(path: str) -> None:
    locks, holders, most = [SqliteWriteLock(path), SqliteWriteLock(path)], list[int](), list[int]()

    def write(number: int) -> None:
        for _ in range(50):
            with locks[number % 2]:
                holders.append(number)
                most.append(len(holders))
                holders.remove(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(most), max(most)) == (300, 1)


def test_a_write_says_that_the_database_is_busy(tmp_path: Path, path: str, holder: subprocess.Popen[bytes]) -> None:
    database = Database(f"sqlite:///{tmp_path}/inferq.db")
    database._write_lock = SqliteWriteLock(path, patience=0.1)
    with pytest.raises(Unavailable), database.write():
        pass
    with database.read() as uow:
        assert uow
    database.close()
