"""The log files of the parts: rotated, followed on demand, and read for the last line after a crash."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from inferq.stack import log_lines

KEEP = 50 * 1024 * 1024
"""Bytes above which a log is moved to `NAME.log.1`: as many as a few minutes at full load write."""
PAUSE = 60.0
"""Seconds between two moves of one log: a disk that takes no copy is not worn by one attempt after another."""
_TAIL = 4096
_next_at: dict[Path, float] = {}
"""Log -> when it may be moved again (monotonic seconds)."""


def rotate(log: Path) -> None:
    """Rename a log of more than KEEP bytes; the previously renamed log is overwritten."""
    if log.exists() and log.stat().st_size > KEEP:
        log.replace(log.with_name(log.name + ".1"))


def rotate_open(log: Path) -> None:
    """Move what is in a log of more than KEEP bytes to `NAME.log.1` while its part goes on to append to it. Lines that
    come between the copy and the cut are lost: the part would have to open its log anew instead, and so would its
    children. A disk that has no room for the copy loses the lines, and keeps those that were moved before."""
    now = time.monotonic()
    with contextlib.suppress(OSError):
        size = log.stat().st_size
        if size > KEEP and now >= _next_at.get(log, 0.0):
            _next_at[log] = now + PAUSE
            if shutil.disk_usage(log.parent).free > 2 * size:
                _copy(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def _copy(log: Path, to: Path) -> None:
    """Replace `to` by a copy, unless the disk is full meanwhile."""
    new = to.with_name(to.name + ".new")
    try:
        shutil.copyfile(log, new)
        new.replace(to)
    except OSError:
        new.unlink(missing_ok=True)


def last_line(log: Path, limit: int = 200) -> str:
    """Return the last line that is not empty, shortened to `limit` characters; an empty string if there is none. Of a
    line of the service it is the message, or the last line of its traceback."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    found = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if line := log_lines.read(found):
        found = line.exception.rpartition("\n")[2] or line.message
    return found[:limit]


def find(folder: Path) -> dict[str, Path]:
    """Return part -> its log, of all parts that have one in the folder, by name."""
    return {log.stem: log for log in sorted(folder.glob("*.log"))}


def find_old(log: Path) -> list[Path]:
    """Return the log with the one that was moved away before it, if there is one, the older first."""
    old = log.with_name(log.name + ".1")
    return [old, log] if old.exists() else [log]


def newest(logs: Mapping[str, Path], most: int | None) -> list[tuple[str, str]]:
    """Return (part, line) of the `most` newest lines of these logs, or of all lines, in the order of time.

    A line that begins with no time, as in a traceback, follows the one before it. Raises OSError.
    """
    lines: list[tuple[float, str, str]] = []
    for part, log in logs.items():
        at = 0.0
        with log.open(encoding="utf-8", errors="replace") as file:
            for line in deque(file, most):
                at = log_lines.moment(line) or at
                lines.append((at, part, line.rstrip("\n")))
    lines.sort(key=lambda line: line[0])  # stable: lines of one time stay as they are in their log
    return [(part, line) for _, part, line in (lines if most is None else lines[len(lines) - min(most, len(lines)) :])]


class Follower:
    """Shows the lines appended to the logs of a folder, each with the name of its part."""

    def __init__(self, folder: Path, show: Callable[[str, str], None]) -> None:
        """Start at the end of each log. `show` is called with the part's name and a line."""
        self._folder = folder
        self._show = show
        self._seen = {log: log.stat().st_size for log in folder.glob("*.log")}
        self._partial: dict[Path, bytes] = {}

    def read(self) -> None:
        """Show every line that was completed since the last call."""
        for log in sorted(self._folder.glob("*.log")):
            self._read(log)

    def _read(self, log: Path) -> None:
        size, offset = log.stat().st_size, self._seen.get(log, 0)
        if size == offset:
            return
        with log.open("rb") as file:
            file.seek(offset if size > offset else 0)  # smaller than before: the log was rotated
            *lines, partial = (self._partial.pop(log, b"") + file.read()).split(b"\n")
            self._seen[log] = file.tell()
        self._partial[log] = partial
        for line in lines:
            self._show(log.stem, line.decode(errors="replace"))
