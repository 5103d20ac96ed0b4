"""The connections that a process has accepted: the idle ones are closed where they would keep others out.

granian accepts up to a number of connections and lets further ones wait, and tells the application of requests only.
So this module finds the connections among the descriptors of the process, a few times a second, and closes those
without a request that are too many: granian takes a connection that is shut down for one whose client has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import resource
import socket
import stat
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

SPARE = 1024
"""Connections that a process accepts beyond its bound, until the idle ones are closed."""
FILES = 1024
"""Descriptors that a process needs for other things than accepted connections."""
LOOK_EVERY = 0.25
"""Seconds between two looks."""
IN_USE = 3.0
"""Seconds after a request in which its connection does not count as idle, since it may have the next one any moment."""
LOOK_AGAIN = 0.05
"""Seconds until the next look after one that has closed connections, since more may wait to be accepted."""
_FOLDER = "/proc/self/fd"
_LAST_DATA_RECEIVED = struct.Struct("52xI")
"""tcpi_last_data_recv in Linux's struct tcp_info: milliseconds since data came, or since the connection was made."""


_Place: TypeAlias = tuple[int, int]
"""The descriptor of a socket, and its inode."""


@dataclass(frozen=True)
class _Connection:
    client: str
    """As granian writes it: address and port."""
    network: str
    """Whose connections count together; see `network`."""


class Connections:
    """The accepted connections of this process; used in the event loop only."""

    def __init__(self, most_idle: int, most: int) -> None:
        """`most_idle` is the number of idle connections that one address may have, `most` that of all connections,
        beyond which idle ones of the address that has the most are closed."""
        self._most_idle, self._most = most_idle, most
        self._busy: Counter[str] = Counter()
        self._used: set[str] = set()
        self._used_before: set[str] = set()
        """Connections whose last request ended since IN_USE began, and in the one before."""
        self._in_use_until = 0.0
        self._known: dict[int, _Connection | None] = {}
        """Inodes of sockets -> the connection; None for a socket that is not an accepted connection."""

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the connections from now on. Without Linux's /proc there is nothing to look at."""
        if sys.platform == "linux":
            loop.call_later(LOOK_EVERY, self._look, loop)

    def begin(self, client: str) -> None:
        """Count a request of this connection: it is not closed while it has one."""
        self._busy[client] += 1

    def end(self, client: str) -> None:
        """Count one less."""
        self._busy[client] -= 1
        if not self._busy[client]:
            del self._busy[client]
        self._used.add(client)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop.time() > self._in_use_until:
            self._used, self._used_before = set(), self._used
            self._in_use_until = loop.time() + IN_USE
        loop.call_later(LOOK_AGAIN if self.close_idle() else LOOK_EVERY, self._look, loop)

    def close_idle(self) -> int:
        """Close the idle connections that are too many, those first from which nothing has come for the longest;
        return their number."""
        names = os.listdir(_FOLDER)
        if len(names) <= min(self._most_idle, self._most):
            self._known.clear()
            return 0
        connections = self._accepted(names)
        free: dict[str, list[_Place]] = defaultdict(list)
        for place, connection in connections.items():
            if connection.client not in self._busy:
                free[connection.network].append(place)
        count = sum(map(len, free.values()))
        # However many have requests, some may be without: a new one is, until its request has arrived.
        room = max(self._most - (len(connections) - count), self._most // 4)
        if count <= room and all(len(found) <= self._most_idle for found in free.values()):
            return 0
        used = self._used | self._used_before
        doomed = [
            place
            for nth, (rank, place) in enumerate(_ranked(free.values()))
            if nth < count - room or (rank >= self._most_idle and connections[place].client not in used)
        ]
        for place in doomed:
            _shut_down(place)
        return len(doomed)

    def _accepted(self, names: list[str]) -> dict[_Place, _Connection]:
        """Return the accepted connections by their places."""
        known: dict[int, _Connection | None] = {}
        accepted: dict[_Place, _Connection] = {}
        ports: set[int] | None = None
        for place in _sockets(names):
            _, inode = place
            if inode in self._known:
                connection = self._known[inode]
            else:
                if ports is None:
                    ports = set(_listening_ports(names))
                connection = _accepted_from(place, ports)
            known[inode] = connection
            if connection:
                accepted[place] = connection
        self._known = known
        return accepted


def bounds(wanted: int) -> tuple[int, int]:
    """Return how many connections a process may have, and how many it may accept until the idle ones beyond that are
    closed: `wanted` and SPARE more, or what the system's limit of descriptors allows. The soft limit of this process,
    and so of its children, is raised as far as that takes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES + wanted + SPARE
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    free = limit - min(FILES, limit // 2)
    most = min(wanted, free - min(SPARE, free // 4))
    return most, min(most + SPARE, free)


def _ranked(free: Iterable[list[_Place]]) -> list[tuple[int, _Place]]:
    """Return the free connections of all networks, those to be closed first.

    The rank of a connection is the number of its own network's connections that have been silent for a shorter time.
    A network with few connections has low ranks only, so that its connections are closed last.
    """
    ranks = ((rank, place) for found in free for rank, place in enumerate(sorted(found, key=_milliseconds_silent)))
    return sorted(ranks, reverse=True)


def _sockets(names: list[str]) -> Iterator[_Place]:
    """Yield each socket. A descriptor may have been closed since it was listed."""
    for name in names:
        with contextlib.suppress(OSError):
            about = os.fstat(int(name))
            if stat.S_ISSOCK(about.st_mode):
                yield int(name), about.st_ino


@contextlib.contextmanager
def _opened(place: _Place) -> Iterator[socket.socket]:
    """Yield a socket on a duplicate, as granian may close its descriptor at any moment. Raises OSError if it has been
    closed, though its number may have been given to another."""
    descriptor, inode = place
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        if os.fstat(duplicate.fileno()).st_ino != inode:
            raise OSError(errno.EBADF, "the socket has been closed")
        yield duplicate


def _listening_ports(names: list[str]) -> Iterator[int]:
    for place in _sockets(names):
        with contextlib.suppress(OSError), _opened(place) as found:
            if _is_internet(found) and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield found.getsockname()[1]


def _accepted_from(place: _Place, ports: set[int]) -> _Connection | None:
    with contextlib.suppress(OSError), _opened(place) as found:  # OSError: it is not connected, or closed
        if _is_internet(found) and found.getsockname()[1] in ports:
            host, port = found.getpeername()[:2]
            return _Connection(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", network(host))
    return None


def _is_internet(found: socket.socket) -> bool:
    return found.type == socket.SOCK_STREAM and found.family in (socket.AF_INET, socket.AF_INET6)


def network(host: str) -> str:
    """Return whose connections count together: an IPv4 address, or the 64 bits of an IPv6 address that one host has."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _milliseconds_silent(place: _Place) -> int:
    with contextlib.suppress(OSError), _opened(place) as found:
        about = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
        return int(_LAST_DATA_RECEIVED.unpack(about)[0])
    return 0


def _shut_down(place: _Place) -> None:
    with contextlib.suppress(OSError), _opened(place) as found:
        found.shutdown(socket.SHUT_RDWR)
