"""The log files of the parts: kept small, followed on demand, and asked for their last words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

KEEP = 10 * 1024 * 1024
"""Bytes after which a log becomes `NAME.log.1` when its part starts."""
_TAIL = 4096


def rotate(log: Path) -> None:
    """Set an old log of more than KEEP bytes aside; the one set aside before is lost."""
    if log.exists() and log.stat().st_size > KEEP:
        log.replace(log.with_name(log.name + ".1"))


def last_line(log: Path, limit: int = 200) -> str:
    """The last line that is not empty, shortened to `limit` characters; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:limit] for line in reversed(lines) if line.strip()), "")


class Follower:
    """Shows what is appended to the logs of a folder, each line under the name of its part."""

    def __init__(self, folder: Path, show: Callable[[str, str], None]) -> None:
        """`show` gets the part's name and one line. What the logs hold already is passed over."""
        self._folder = folder
        self._show = show
        self._seen = {log: log.stat().st_size for log in folder.glob("*.log")}
        self._partial: dict[Path, bytes] = {}

    def read(self) -> None:
        """Show every line that was completed since the last call."""
        for log in sorted(self._folder.glob("*.log")):
            self._read(log)

    def _read(self, log: Path) -> None:
        size, seen = log.stat().st_size, self._seen.get(log, 0)
        if size == seen:
            return
        with log.open("rb") as file:
            file.seek(seen if size > seen else 0)  # smaller than before: it was set aside and begun anew
            *lines, rest = (self._partial.pop(log, b"") + file.read()).split(b"\n")
            self._seen[log] = file.tell()
        self._partial[log] = rest
        for line in lines:
            self._show(log.stem, line.decode(errors="replace"))
