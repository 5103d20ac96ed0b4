"""The data folder of the embedded stack: usable, ours alone, and free of processes that an earlier `up` left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from inferq.errors import CannotStart

MARK = "INFERQ_STACK"
"""In the environment of every process of a stack: its data folder. Children of children inherit it, and unlike a
number in a pid file it never comes to mean a stranger's process."""


def default() -> Path:
    """`$XDG_DATA_HOME/inferq`, or `~/.local/share/inferq`; the same rule as shared/settings.py."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(Path.home(), ".local", "share")
    return Path(base) / "inferq"


def claim(folder: Path) -> IO[str]:
    """Create the folder where needed and lock it; the lock lasts until the file is closed or this process ends.

    Raises CannotStart when the folder cannot be created or written, or is in use by another `inferq up`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise CannotStart(
            f"cannot write to the data folder {folder} ({error.strerror}); choose another one with --data"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise CannotStart(f"another `inferq up` uses {folder}; stop it, or choose another folder with --data") from None
    return lock


def clean(folder: Path) -> list[int]:
    """Kill what is left of an earlier stack on this folder, and return the pids. Only for the holder of the lock."""
    killed: list[int] = []
    while left := processes(folder):  # again until it is empty: the ports are free only when they are really gone
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in left if pid not in killed]
        time.sleep(0.02)
    return killed


def processes(folder: Path) -> list[int]:
    """The pids of all processes that were started by an `inferq up` on this folder and still run."""
    found = _from_proc if sys.platform == "linux" else _from_ps
    return [pid for pid in found(f"{MARK}={folder}") if pid != os.getpid()]


def _from_proc(mark: str) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
            except OSError:  # somebody else's, or gone
                continue
    return pids


def _from_ps(mark: str) -> list[int]:
    """macOS has no /proc; its ps shows the environment of one's own processes after the command."""
    listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=False).stdout
    return [int(line.split(None, 1)[0]) for line in listed.splitlines() if f" {mark} " in f"{line} "]
