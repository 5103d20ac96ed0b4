"""CPU and memory of processes as psutil measures them, and the memory that Redis reports."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

Pids = Mapping[str, Sequence[int]]
"""Part -> its processes; their child processes count as well."""


def cpu_seconds(pids: Pids) -> dict[str, float]:
    """Return user plus system time of each part so far, in seconds, with that of child processes that have ended."""
    seconds = {}
    for part, roots in pids.items():
        seconds[part] = 0.0
        for process in tree(roots):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                seconds[part] += times.user + times.system + times.children_user + times.children_system
    return seconds


def machine_seconds() -> float:
    """Return the CPU time of the whole machine so far, in seconds; the excess over our parts is used by others."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def memory(pids: Sequence[int]) -> list[dict[str, object]]:
    """Return the resident bytes of each process, and whether torch is mapped into it."""
    rows: list[dict[str, object]] = []
    for process in tree(pids):
        with contextlib.suppress(psutil.Error, OSError):
            rows.append({"rss": process.memory_info().rss, "torch": _has_torch(process)})
    return rows


def _has_torch(process: psutil.Process) -> bool:
    return any("libtorch" in mapped.path for mapped in process.memory_maps())


def tree(pids: Sequence[int]) -> Iterator[psutil.Process]:
    """Yield the processes that still run, and their children."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            yield from [process, *process.children(recursive=True)]


def redis_memory(url: str) -> int:
    """Return the bytes that the Redis server reports as used; raises OSError."""
    for line in redis(url, "INFO memory").splitlines():
        if line.startswith("used_memory:"):
            return int(line.partition(":")[2])
    raise OSError("Redis does not answer INFO")


def redis(url: str, command: str) -> str:
    """Return the whole reply of Redis to one inline command on the database of the URL; raises OSError.

    It uses a socket, because only shared/adapters/queue/ may import the redis package.
    """
    parts = urlsplit(url)
    lines = [f"AUTH {unquote(parts.password)}"] if parts.password else []
    lines += [f"SELECT {parts.path.strip('/') or 0}", command, "QUIT", ""]
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile(encoding="utf-8", errors="replace") as answer:
            return answer.read()


def cpu_model() -> str:
    """Return the name of the processor from /proc/cpuinfo; empty if it is unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""
