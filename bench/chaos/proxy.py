"""A TCP proxy between the parts and a server: with it the server can be away or silent without being touched."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

_CHUNK = 256 * 1024


class Proxy:
    """Forwards every connection to one server, from a port on loopback, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        """Listen at once; raises OSError."""
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True).start()
        self.appear()

    def appear(self) -> None:
        """Accept connections again; raises OSError if the port was taken meanwhile."""
        self._run(self._listen())

    def vanish(self) -> None:
        """Break every connection, and refuse others, as if no process listened on that port."""
        self._run(self._leave())

    def freeze(self) -> None:
        """Let nothing through, in either direction; connections stay open, and new ones are taken."""
        self._run(self._set(False))

    def thaw(self) -> None:
        """Let everything through again, also what has waited."""
        self._run(self._set(True))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _leave(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _set(self, flows: bool) -> None:
        (self._flows.set if flows else self._flows.clear)()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._flows.wait()
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._close(writer)
            return
        self._open.add(server_writer)
        await asyncio.gather(
            self._forward(reader, server_writer), self._forward(server_reader, writer), return_exceptions=True
        )

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy until one side closes; then the other side is closed as well."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        self._close(writer)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()
