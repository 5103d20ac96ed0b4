"""The HTTP server: granian reads requests in one event loop, and threads run the Flask application for them.

    client ──> granian ──RSGI──> event loop: reads the body ──> thread: Flask ──> granian: writes the answer
                                                                   └─ waits for a job: late thread ─┘

A client that is slow to send a small body holds no thread, as it would if granian called the application by WSGI. Nor
does a request that waits for its job: api/coroutine_routes.py.
Bodies of more than SMALL bytes are handed over while they arrive, since the application may refuse them or write them
to a file; threads of their own read them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, cast

from granian import rsgi
from granian.rsgi import Scope

from api.connections import Connections
from api.coroutine_routes import LATER, NOT_YET, GoOn
from api.load_shedding import GIVEN_AGAIN, HOLDS_FOR, Headers, LoadShedding, Refusal
from api.request_metrics import ARRIVED
from api.wsgi_environ import wsgi_environ
from shared import errors
from shared.adapters.pauses import Pause

log = logging.getLogger(__name__)

SMALL = 1024 * 1024
"""Bytes of a body that is read whole before a thread is taken."""
WHOLE = 60.0
"""Seconds in which a small body must have arrived."""
LATE_THREADS = 8
"""Threads that give the answers that have waited."""
LISTEN_AFTER = 1.0
"""Seconds after which a request that waits ends with its connection."""
STOP = signal.SIGUSR1
"""The signal at which answers that wait are given within LAST_WAITS."""
LAST_WAITS = 8.0
"""Seconds."""
SILENCE = 15.0
"""Seconds without a byte of a larger body, after which the request fails."""
SLOWEST = 16 * 1024
"""Bytes per second that a larger body must bring, beside the WHOLE seconds that any body has."""
SLOW = 2.0
"""Seconds after which a small body counts as slow."""
MOST_SLOW = 512
"""Slow small bodies of one address at the same time; more fail at once, since all of them take memory for a minute."""
# granian.rsgi has these without saying so in its types.
HTTPProtocol: TypeAlias = Any
_Gone: type[Exception] = rsgi.ProtocolClosed  # type: ignore[attr-defined]
_TOO_MANY = "Too many large bodies arrive from your address at this moment; send it again in a second."
_Broken: type[Exception] = rsgi.ProtocolError  # type: ignore[attr-defined]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class HttpServer:
    """The RSGI application of one process, over a WSGI application."""

    def __init__(
        self,
        application: Application,
        threads: int,
        end_waits: Callable[[float], None] | None = None,
        at_end: Callable[[], None] | None = None,
        *,
        connections: Connections | None = None,
        limits_addresses: bool = True,
    ) -> None:
        """`end_waits` is called with LAST_WAITS at the signal STOP: answers that wait are given by then. `at_end` is
        called after the last answer. Behind a proxy all requests come from the same address, and `limits_addresses` is
        False. Without `connections`, no connection is closed for being idle beside too many others."""
        self._application, self._end_waits, self._at_end = application, end_waits, at_end
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="http")
        # Threads apart for what takes as long as a client takes: large bodies, streamed answers.
        self._slow = ThreadPoolExecutor(threads, thread_name_prefix="slow")
        # Few, since events end many waits at the same moment, and more threads would only take turns at them.
        self._late = ThreadPoolExecutor(LATE_THREADS, thread_name_prefix="late")
        self._most_large = max(1, threads // 2) if limits_addresses else sys.maxsize
        self._large: Counter[str] = Counter()
        self._open: dict[_Exchange, float] = {}
        """Requests without an answer -> since when, by the time of the event loop."""
        self._is_timer_set = False
        self._slow_bodies = _SlowBodies(MOST_SLOW if limits_addresses else sys.maxsize)
        self._connections = connections or Connections(sys.maxsize, sys.maxsize)
        self._shedding = LoadShedding()

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen to STOP, and watch the connections; granian calls this before the first request."""
        if self._end_waits:
            loop.add_signal_handler(STOP, self._end_waits, LAST_WAITS)
        self._connections.watch(loop)

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        """Do what is left to do; granian calls this after the last request."""
        if self._at_end:
            self._at_end()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request; granian calls this."""
        client = scope.client
        self._connections.begin(client)
        try:
            await self._answer(scope, protocol)
        finally:
            self._connections.end(client)

    async def _answer(self, scope: Scope, protocol: HTTPProtocol) -> None:
        loop = asyncio.get_running_loop()
        environ, threads = wsgi_environ(scope), self._threads
        length, address = environ.get("CONTENT_LENGTH", ""), environ["REMOTE_ADDR"]
        is_large = False
        if length == "" and "HTTP_TRANSFER_ENCODING" not in environ:
            environ["wsgi.input"] = io.BytesIO()
        elif length.isdecimal() and int(length) <= SMALL:
            environ["wsgi.input"] = await _small_body(protocol, loop, self._slow_bodies, address)
            if refusal := self._shedding.find(scope):  # now that its body is read: the connection stays usable
                with contextlib.suppress(_Gone, OSError):
                    protocol.response_bytes(*refusal)
                return
        elif self._large[address] >= self._most_large:
            environ["wsgi.input"] = _NoBody(errors.TooManyRequests(_TOO_MANY, retry_after=1.0))
        else:
            expected = int(length) if length.isdecimal() else None
            environ["wsgi.input"] = io.BufferedReader(_ArrivingBody(protocol, loop, expected))
            environ["wsgi.input_terminated"] = True  # the server ends it, whatever its length
            threads, is_large = self._slow, True
            self._large[address] += 1
        # The rest of a body that the application does not read is read after a wait, as slowly as it comes.
        exchange = _Exchange(environ, protocol, loop, self._slow, self._slow if is_large else self._late,
                             partial(self._shedding.keep, scope))  # fmt: skip
        threads.submit(exchange.run, partial(self._application, environ))
        self._open[exchange] = loop.time()
        self._set_timer(loop)
        try:
            await exchange.answered
        finally:
            del self._open[exchange]
            if exchange.listener:
                exchange.listener.cancel()
            if is_large:
                self._large[address] -= 1
                if not self._large[address]:
                    del self._large[address]

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_timer_set:
            self._is_timer_set = True
            loop.call_later(LISTEN_AFTER, self._listen_for_ends, loop)

    def _listen_for_ends(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the requests that have waited for some time end with their connections. Not all: most end sooner, and a
        task for each costs as much as a tenth of a request."""
        for exchange, since in self._open.items():
            if since <= loop.time() - LISTEN_AFTER and exchange.pause and not exchange.listener:
                exchange.listener = loop.create_task(exchange.give_up_with_client())
        self._is_timer_set = False
        if self._open:
            self._set_timer(loop)


class _Exchange:
    """One request and its answer, which is sent from a thread: the event loop hears of it afterwards."""

    def __init__(
        self,
        environ: dict[str, Any],
        protocol: HTTPProtocol,
        loop: asyncio.AbstractEventLoop,
        slow: ThreadPoolExecutor,
        late: ThreadPoolExecutor,
        keep: Callable[[Refusal, float, Callable[[], None] | None], None],
    ) -> None:
        """`keep` has a refusal hold for some seconds, and calls something whenever it is given again."""
        self._environ, self._keep = environ, keep
        self._protocol, self._loop, self._slow, self._late = protocol, loop, slow, late
        self._started: list[tuple[int, Headers]] = []
        self.answered: asyncio.Future[None] = loop.create_future()
        self.pause: Pause | None = None
        """What it waits for, or has waited for last."""
        self.listener: asyncio.Task[None] | None = None
        self._is_client_gone = False
        environ[LATER], environ[ARRIVED] = self._later, time.monotonic()

    def run(self, application: GoOn) -> None:
        """Run the application, or the rest of it, and send its answer, unless that comes later."""
        try:
            parts = application(self._start_response)
        except BaseException as error:  # noqa: BLE001 - the event loop waits to hear of it
            self._end(None, error)
            return
        if parts is not NOT_YET:
            self._send(parts)

    async def give_up_with_client(self) -> None:
        """End the wait when the client closes the connection: its place is for others."""
        await self._protocol.client_disconnect()
        self._is_client_gone = True
        if self.pause and not self.answered.done():
            self.pause.give_up()

    def _later(self, pause: Pause, rest: GoOn) -> None:
        self.pause = pause
        pause.start(partial(self._resume, rest))
        if self._is_client_gone:  # it has left during a pause that cannot be given up, such as that for a commit
            pause.give_up()

    def _resume(self, rest: GoOn) -> None:
        self._late.submit(self.run, rest)

    def _start_response(self, status: str, headers: Headers, _error: object = None) -> None:
        self._started[:] = [(int(status[:3]), headers)]

    def _send(self, parts: Iterable[bytes]) -> None:
        try:
            if not isinstance(parts, (list, tuple)) and not _is_whole(self._started):
                self._slow.submit(self._stream, parts)
                return
            answer = Refusal(*self._started[0], b"".join(parts))
            self._protocol.response_bytes(*answer)
            if seconds := self._environ.get(HOLDS_FOR):
                self._keep(answer, seconds, self._environ.get(GIVEN_AGAIN))
        except (_Gone, OSError):
            log.debug("a client left before the end of its answer")
        except BaseException as error:  # noqa: BLE001 - as above
            self._end(parts, error)
            return
        self._end(parts)

    def _stream(self, parts: Iterable[bytes]) -> None:
        """Send an answer of unknown length part by part, until it ends or the client has gone."""
        try:
            iterator = iter(parts)
            first = next(iterator, b"")  # the application may only now know its status
            transport = self._protocol.response_stream(*self._started[0])
            for part in chain([first], iterator):
                asyncio.run_coroutine_threadsafe(_send(transport, part), self._loop).result()
        except (_Gone, OSError):
            log.debug("a client left before the end of its answer")
        except BaseException as error:  # noqa: BLE001 - as above
            self._end(parts, error)
            return
        self._end(parts)

    def _end(self, parts: Iterable[bytes] | None, error: BaseException | None = None) -> None:
        """Close the answer, and tell the event loop that it is sent, or why not."""
        try:
            if close := getattr(parts, "close", None):
                close()
        finally:
            done = partial(self.answered.set_exception, error) if error else partial(self.answered.set_result, None)
            self._loop.call_soon_threadsafe(done)


class _ArrivingBody(io.RawIOBase):
    """A body that is read while it arrives.

    Raises TimeoutError when nothing arrives for SILENCE seconds, or less than SLOWEST for longer than WHOLE, and
    ConnectionError when it breaks off, which granian does not tell from its end: a body that has no length may be cut.
    """

    def __init__(self, protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop, length: int | None) -> None:
        """`length` is that of the whole body in bytes, None if it is unknown."""
        self._chunks, self._loop, self._missing = protocol.__aiter__(), loop, length
        self._left = memoryview(b"")
        self._error: Exception | None = None
        self._late_at = loop.time() + WHOLE
        """Time of the event loop by which the next bytes must come, moved on by each."""

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
        async with asyncio.timeout(min(SILENCE, self._late_at - self._loop.time())):
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
        self._late_at += len(chunk) / SLOWEST
        return bytes(chunk)


class _NoBody(io.RawIOBase):
    """A body that has not arrived: the application says so, in the words of its wire."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise self._error


class _SlowBodies:
    """How many slow small bodies arrive from each address; used in the event loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._arriving: Counter[str] = Counter()

    def begin(self, address: str) -> bool:
        """Count one more; return False if there are too many."""
        if self._arriving[address] >= self._most:
            return False
        self._arriving[address] += 1
        return True

    def end(self, address: str) -> None:
        """Count one less."""
        self._arriving[address] -= 1
        if not self._arriving[address]:
            del self._arriving[address]


async def _small_body(
    protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop, slow_bodies: _SlowBodies, address: str
) -> io.BytesIO | _NoBody:
    """Return the whole body.

    Without `asyncio.timeout`, which costs a tenth of what the whole request does.
    """
    task = cast("asyncio.Task[None]", asyncio.current_task())
    is_slow = False

    def slow() -> None:
        nonlocal is_slow
        is_slow = slow_bodies.begin(address)
        if is_slow:
            timers.append(loop.call_later(WHOLE - SLOW, task.cancel))
        else:
            task.cancel()

    timers = [loop.call_later(min(SLOW, WHOLE), slow)]
    try:
        return io.BytesIO(await protocol())
    except (asyncio.CancelledError, _Broken, _Gone):
        return _NoBody(TimeoutError())
    finally:
        for timer in timers:
            timer.cancel()
        if is_slow:
            slow_bodies.end(address)


async def _send(transport: Any, part: bytes) -> None:
    await transport.send_bytes(part)


def _is_whole(started: list[tuple[int, Headers]]) -> bool:
    """Return whether an answer has a length, and so is not streamed."""
    return bool(started) and any(name.lower() == "content-length" for name, _ in started[0][1])
