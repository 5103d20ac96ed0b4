"""Keep-alive connections of the load, on asyncio's transports.

The client shares the cores with what it measures. httpx would cost about as much per request as the service itself, and
asyncio's streams a fifth more than this.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds for one answer."""
_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One keep-alive connection, with one request at a time; it is opened again after it was closed."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._always = f"Host: {self._host}:{self._port}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = bytearray()
        self._body = 0
        """Where the body of the answer begins; 0 until the head is there."""
        self._expected: int | None = 0
        """Bytes of head and body; None for a body in chunks, which says only at its end how long it is."""
        self.head = b""
        """The head of the last answer, in lower case."""

    async def ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return (status, body); raises OSError, EOFError, TimeoutError or ValueError."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, self._host, self._port)
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        answer = self._answer = loop.create_future()
        late = loop.call_later(PATIENCE, self._fail, TimeoutError(f"no answer for {PATIENCE:g} s"))
        self._received.clear()
        self._body = 0
        request = f"{method} {path} HTTP/1.1\r\n{self._always}{headers}{length}\r\n".encode() + body
        cast(asyncio.Transport, self._transport).write(request)
        try:
            return await answer
        finally:
            late.cancel()

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._transport is not None:
            self._transport.abort()  # close() would wait for what is not sent yet
        self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio calls this and the next two."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Complete the answer when all of its bytes are there."""
        self._received += data
        if not self._body:
            end = self._received.find(_END)
            if end < 0:
                return
            self._body = end + len(_END)
            self.head = bytes(self._received[:end]).lower()
            length = self.head.partition(b"content-length:")[2].partition(b"\r")[0]
            self._expected = self._body + int(length) if length else None
        if self._expected is not None:
            if len(self._received) >= self._expected:
                self._complete(bytes(self._received[self._body : self._expected]))
        elif self._received.endswith(_LAST_CHUNK):
            self._complete(_joined(bytes(self._received[self._body :])))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        self._transport = None
        self._fail(exc or EOFError("the connection was closed without an answer"))

    def _complete(self, body: bytes) -> None:
        if b"connection: close" in self.head:
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(self.head[9:12]), body))

    def _fail(self, error: Any) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _joined(chunks: bytes) -> bytes:
    """Return the body that was sent in chunks."""
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        body, chunks = body + rest[:length], rest[length + 2 :]
    return body
