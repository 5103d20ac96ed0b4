"""The data folder of the embedded stack: writable, locked, and free of processes that an earlier `up` left running."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from inferq.errors import CannotStart

STACK_VARIABLE = "INFERQ_STACK"
"""Environment variable of every process of a stack, with its data folder as value. Child processes inherit it, and
unlike a number in a pid file it never comes to identify an unrelated process."""


def default() -> Path:
    """Return `$XDG_DATA_HOME/inferq`, or `~/.local/share/inferq`; the same rule as in shared/settings.py."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(Path.home(), ".local", "share")
    return Path(base) / "inferq"


def claim(folder: Path) -> IO[str]:
    """Create the folder if needed and lock it; the lock lasts until the file is closed or this process exits.

    Raises CannotStart if the folder cannot be created or written, can be read by other users and holds other things,
    or is in use by another `inferq up`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep_private(folder)
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


def _keep_private(folder: Path) -> None:
    """Take the folder, which holds keys, pictures and passwords, from all users but its owner.

    Raises CannotStart for a folder with other things in it, such as /tmp or a home, whose rights are not changed.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o077:
        return
    is_ours = any((folder / name).exists() for name in _OURS) or not any(folder.iterdir())
    if not is_ours:
        raise CannotStart(
            f"other users can read the data folder {folder}, and it holds other things; choose another one with "
            f"--data, or run: chmod go-rwx {shlex.quote(str(folder))}"
        )
    folder.chmod(mode & ~0o077)


_OURS = ("stack.json", "inferq.db")
"""Files that only a data folder has."""


def clean(folder: Path) -> list[int]:
    """Kill the remaining processes of an earlier stack on this folder, and return the pids. The caller must hold the
    lock."""
    killed: list[int] = []
    while remaining := processes(folder):  # repeated: the ports are free only after the exits
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in remaining if pid not in killed]
        time.sleep(0.02)
    return killed


def processes(folder: Path) -> list[int]:
    """Return the pids of all running processes that an `inferq up` on this folder started."""
    list_pids = _from_proc if sys.platform == "linux" else _from_ps
    return [pid for pid in list_pids(f"{STACK_VARIABLE}={folder}") if pid != os.getpid()]


def _from_proc(mark: str) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
            except OSError:  # another user's, or just exited
                continue
    return pids


def _from_ps(mark: str) -> list[int]:
    """Return pids by ps: macOS has no /proc, but its ps shows the environment of the user's processes after the
    command."""
    listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=False).stdout
    return [int(line.split(None, 1)[0]) for line in listed.splitlines() if f" {mark} " in f"{line} "]
