"""What every process of a stack holds: memory, file descriptors and threads; the memory of Redis, and SQLite's WAL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from bench import measure
from bench.soak.result import BYTES, COUNT, Soak

_CHILD = ", child "


class Sampler:
    """Takes samples of one stack into a result."""

    def __init__(self, result: Soak, pids: Mapping[str, Sequence[int]], redis_url: str, database: Path) -> None:
        """`pids` are the processes of each part; their children are measured as well."""
        self._result, self._redis_url = result, redis_url
        self._wal = Path(f"{database}-wal")
        self._processes = dict(_named(pids))

    def take(self, second: float) -> None:
        """Take one sample of everything, `second` seconds after the load began."""
        for name, process in list(self._processes.items()):
            try:
                self._take_process(second, name, process)
            except psutil.NoSuchProcess:
                del self._processes[name]
                if _CHILD not in name:  # a child may be a conversion, which ends by itself
                    self._result.restarts.append(f"{name} ended after {second:.0f} s")
            except psutil.AccessDenied:
                continue
        with contextlib.suppress(OSError):
            self._add(second, "Redis", "memory", BYTES, measure.redis_memory(self._redis_url))
        with contextlib.suppress(OSError):
            self._add(second, "SQLite", "WAL", BYTES, self._wal.stat().st_size)

    def _take_process(self, second: float, name: str, process: psutil.Process) -> None:
        with process.oneshot():
            memory = process.memory_full_info()
            self._add(second, name, "RSS", BYTES, memory.rss)
            if hasattr(memory, "pss"):  # Linux only
                self._add(second, name, "PSS", BYTES, memory.pss)
            self._add(second, name, "descriptors", COUNT, process.num_fds())
            self._add(second, name, "threads", COUNT, process.num_threads())

    def _add(self, second: float, what: str, measured: str, unit: str, value: float) -> None:
        self._result.named(what, measured, unit).add(second, float(value))


def _named(pids: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, psutil.Process]]:
    """Yield (name, process) of the processes of all parts, each followed by its children."""
    for part, roots in pids.items():
        for number, pid in enumerate(roots, 1):
            name = f"{part} {number}" if len(roots) > 1 else part
            for child, process in enumerate(measure.tree([pid])):
                yield f"{name}{_CHILD}{child}" if child else name, process
