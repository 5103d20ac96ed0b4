"""The circuit keeps in mind that Redis does not answer: calls fail at once until it does, instead of waiting each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

T = TypeVar("T")

PROBE = 0.5
"""Seconds in which Redis must answer a ping of the circuit, once a call has waited in vain."""
log = logging.getLogger(__name__)


class NoAnswer(redis.ConnectionError):
    """The circuit is open: Redis was not asked."""


class Circuit:
    """Open while Redis hangs. A call that has run out of time has a thread ping Redis, on a connection of its own,
    until it answers. A Redis that refuses connections does not open it, since that costs no time.

    It belongs to one process. Thread-safe.
    """

    def __init__(self, url: str) -> None:
        """`url` is that of Redis; nothing is connected before a call has run out of time."""
        self._url = url
        self._lock = threading.Lock()
        self._is_probing = False
        self._judged = threading.Event()
        self._closed = threading.Event()
        self.is_open = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Circuit:
        return self  # redis-py copies what it is to retry by, for each connection

    def check(self) -> None:
        """Raise NoAnswer if the circuit is open."""
        if self.is_open:
            raise NoAnswer("Redis does not answer, and is not asked until it answers a ping")

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note if the block runs out of time."""
        try:
            yield
        except redis.TimeoutError:
            self._doubt()
            raise

    def connect(self, connection: Any) -> None:
        """Introduce the client on a new connection, as redis-py does; that is not retried, and so is noted here."""
        with self.noting():
            connection.on_connect()

    def wait(self) -> None:
        """Wait until the first ping since the doubt is answered, or its time is over."""
        self._judged.wait(2 * PROBE)  # it may take PROBE to connect, and PROBE to be answered

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _doubt(self) -> None:
        with self._lock:
            if self._is_probing or self._closed.is_set():
                return
            self._is_probing = True
            self._judged.clear()
        threading.Thread(target=self._probe, name="circuit", daemon=True).start()

    def _probe(self) -> None:
        client = redis.Redis.from_url(
            self._url, socket_timeout=PROBE, socket_connect_timeout=PROBE, retry=Retry(NoBackoff(), 0)
        )
        try:
            while not self._closed.is_set() and _hangs(client):
                if not self.is_open:
                    log.warning("Redis does not answer; until it does, calls fail at once")
                self.is_open = True
                self._judged.set()
        finally:
            with self._lock:
                self._is_probing = self.is_open = False
            self._judged.set()
            client.close()


class GuardedRetry(Retry):
    """Retries calls at once, for a connection that the server has closed meanwhile, unless the circuit is open.

    Redis-py's default of three retries with growing pauses would delay a 503 response by seconds.
    """

    def __init__(self, circuit: Circuit, retries: int = 1, *, is_patient: bool = False) -> None:
        """A call that `is_patient` is also tried again after it has run out of time, if Redis answers a ping: the
        connection may be dead."""
        super().__init__(NoBackoff(), retries)
        self._circuit, self._is_patient = circuit, is_patient

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Return what `do` returns; raises what it raises, and NoAnswer."""
        late: list[redis.TimeoutError] = []

        def guarded() -> T:
            if late and not self._is_patient:
                raise late[0]
            if late:
                self._circuit.wait()
            self._circuit.check()
            try:
                with self._circuit.noting():
                    return do()
            except redis.TimeoutError as error:
                late.append(error)
                raise

        return super().call_with_retry(guarded, fail, is_retryable, with_failure_count)


def _hangs(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.TimeoutError:
        return True
    except redis.RedisError as error:  # it answers, or its machine does: calls learn of it without waiting
        log.debug("Redis does not hang: %s", error)
    return False
