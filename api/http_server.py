"""The HTTP server: granian reads requests in one event loop, and threads run the Flask application for them.

    client ──> granian ──RSGI──> event loop: reads the body ──> thread: Flask ──> granian: writes the answer

A client that is slow to send a small body holds no thread, as it would if granian called the application by WSGI.
Bodies of more than SMALL bytes are handed over while they arrive, since the application may refuse them or write them
to a file.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, cast

from granian import rsgi
from granian.rsgi import Scope

log = logging.getLogger(__name__)

SMALL = 1024 * 1024
"""Bytes of a body that is read whole before a thread is taken."""
WHOLE = 60.0
"""Seconds in which a small body must have arrived."""
SILENCE = 15.0
"""Seconds without a byte of a larger body, after which the request fails."""
# granian.rsgi has these without saying so in its types.
HTTPProtocol: TypeAlias = Any
_Gone: type[Exception] = rsgi.ProtocolClosed  # type: ignore[attr-defined]
_Broken: type[Exception] = rsgi.ProtocolError  # type: ignore[attr-defined]
Headers = list[tuple[str, str]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class HttpServer:
    """The RSGI application of one process, over a WSGI application."""

    def __init__(self, application: Application, threads: int) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="http")

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request; granian calls this."""
        loop = asyncio.get_running_loop()
        environ = _environ(scope)
        length = environ.get("CONTENT_LENGTH", "")
        if length == "" and "HTTP_TRANSFER_ENCODING" not in environ:
            environ["wsgi.input"] = io.BytesIO()
        elif length.isdecimal() and int(length) <= SMALL:
            environ["wsgi.input"] = await _small_body(protocol, loop)
        else:
            expected = int(length) if length.isdecimal() else None
            environ["wsgi.input"] = io.BufferedReader(_ArrivingBody(protocol, loop, expected))
            environ["wsgi.input_terminated"] = True  # the server ends it, whatever its length
        await loop.run_in_executor(self._threads, partial(self._run, environ, protocol, loop))

    def _run(self, environ: dict[str, Any], protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop) -> None:
        """Run the application in a thread, and answer from there: the event loop hears of it later."""
        started: list[tuple[int, Headers]] = []

        def start_response(status: str, headers: Headers, _error: object = None) -> None:
            started[:] = [(int(status[:3]), headers)]

        parts = self._application(environ, start_response)
        try:
            if isinstance(parts, (list, tuple)) or _is_whole(started):
                protocol.response_bytes(*started[0], b"".join(parts))
            else:
                self._stream(parts, started, protocol, loop)
        except (_Gone, OSError):
            log.debug("a client left before the end of its answer")
        finally:
            if close := getattr(parts, "close", None):
                close()

    @staticmethod
    def _stream(
        parts: Iterable[bytes],
        started: list[tuple[int, Headers]],
        protocol: HTTPProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Send an answer of unknown length part by part, until it ends or the client has gone."""
        iterator = iter(parts)
        first = next(iterator, b"")  # the application may only now know its status
        transport = protocol.response_stream(*started[0])
        for part in chain([first], iterator):
            asyncio.run_coroutine_threadsafe(_send(transport, part), loop).result()


class _ArrivingBody(io.RawIOBase):
    """A body that is read while it arrives.

    Raises TimeoutError when nothing arrives for SILENCE seconds, and ConnectionError when it breaks off, which granian
    does not tell from its end: a body that has no length may be cut.
    """

    def __init__(self, protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop, length: int | None) -> None:
        """`length` is that of the whole body in bytes, None if it is unknown."""
        self._chunks, self._loop, self._missing = protocol.__aiter__(), loop, length
        self._left = memoryview(b"")
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._error:  # the next read fails at once, instead of waiting again
            raise self._error
        try:
            if not self._left:
                self._left = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        except (TimeoutError, ConnectionError) as error:
            self._error = error
            raise
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    async def _next(self) -> bytes:
        """Return what comes next, nothing at the end."""
        async with asyncio.timeout(SILENCE):
            try:
                while not (chunk := await anext(self._chunks)):
                    pass
            except StopAsyncIteration:
                if self._missing:
                    raise ConnectionError("the body has broken off") from None
                return b""
            except _Broken as error:
                raise ConnectionError("the client has gone") from error
        if self._missing is not None:
            self._missing -= len(chunk)
        return bytes(chunk)


class _LateBody(io.RawIOBase):
    """A body that has not arrived: the application says so, in the words of its wire."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise TimeoutError


async def _small_body(protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop) -> io.BytesIO | _LateBody:
    """Return the whole body.

    Without `asyncio.timeout`, which costs a tenth of what the whole request does.
    """
    late = loop.call_later(WHOLE, cast("asyncio.Task[None]", asyncio.current_task()).cancel)
    try:
        return io.BytesIO(await protocol())
    except (asyncio.CancelledError, _Broken, _Gone):
        return _LateBody()
    finally:
        late.cancel()


async def _send(transport: Any, part: bytes) -> None:
    await transport.send_bytes(part)


def _is_whole(started: list[tuple[int, Headers]]) -> bool:
    """Return whether an answer has a length, and so is not streamed."""
    return bool(started) and any(name.lower() == "content-length" for name, _ in started[0][1])


def _environ(scope: Scope) -> dict[str, Any]:
    """Return the WSGI environment of a request, without its body (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:  # `Content_Length` would count as Content-Length
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if scope.authority and "HTTP_HOST" not in environ:  # HTTP/2
        environ["HTTP_HOST"] = scope.authority
    return environ
