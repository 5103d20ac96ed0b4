"""The log files of the parts: rotated, followed on demand, and read for the last line after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

KEEP = 10 * 1024 * 1024
"""Bytes above which a log is renamed to `NAME.log.1` when its part starts."""
_TAIL = 4096


def rotate(log: Path) -> None:
    """Rename a log of more than KEEP bytes; the previously renamed log is overwritten."""
    if log.exists() and log.stat().st_size > KEEP:
        log.replace(log.with_name(log.name + ".1"))


def last_line(log: Path, limit: int = 200) -> str:
    """Return the last line that is not empty, shortened to `limit` characters; an empty string if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:limit] for line in reversed(lines) if line.strip()), "")


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
