"""A small file system in memory that only this process and its children see, so that a disk can be full."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_NEW_NAMESPACE = 0x20000
_PRIVATE_BELOW = 0x4000 | 0x40000
_DETACH = 2


def mount(folder: Path, megabytes: int) -> bool:
    """Mount it on the folder; returns False where the user or the system does not allow that.

    It is in a mount namespace of this process, so that it vanishes with the last process that was started from here.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if libc.unshare(_NEW_NAMESPACE) or libc.mount(b"none", b"/", None, _PRIVATE_BELOW, None):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    return libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, b"size=%dm" % megabytes) == 0


def unmount(folder: Path) -> None:
    """Take it away with all that it holds."""
    ctypes.CDLL(None).umount2(bytes(folder), _DETACH)
