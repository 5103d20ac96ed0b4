"""The queue, the workers and trainers that work on it, what they have done, and the state of the service as a whole."""

from __future__ import annotations

from typing import Literal

from inferq.client import http
from inferq.client.blocking import Blocking, blocking
from inferq.client.connection import Connection, read
from shared.schemas.diagnosis import Diagnosis
from shared.schemas.history import History
from shared.schemas.workers import Queue, Readiness, WorkerList


class AsyncWorkers:
    """The running workers and trainers of the service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> WorkerList:
        """Return the running workers and trainers, and the pictures that the workers hold."""
        return read(WorkerList, await self._connection.get("/v1/workers"))

    async def queue(self) -> Queue:
        """Return the waiting pictures, by model and priority."""
        return read(Queue, await self._connection.get("/v1/queue"))

    async def history(self, span: Literal["hour", "day"] = "hour") -> History:
        """Return what was done in each minute of the last hour, or quarter of an hour of the last day."""
        return read(History, await self._connection.get("/v1/history", params={"span": span}))

    async def readiness(self) -> Readiness:
        """Return whether the service is ready, and of each part why it is not."""
        return read(Readiness, await self._connection.get("/readyz", accepted=(503,)))

    async def diagnosis(self, *, wait: float = 0.0) -> Diagnosis:
        """Return what is right and wrong with each part of the service, with what to do; all parts for a key of the
        operator, otherwise those that concern the key's tenant.

        The server answers after `wait` seconds. The request is not repeated if it fails, so that a proxy that cuts it
        is noticed.
        """
        headers = http.prefer(wait) if wait > 0 else {}
        timeout = self._connection.timeout + wait
        return read(Diagnosis, await self._connection.request("GET", "/v1/diagnosis", headers=headers, timeout=timeout))


class Workers(Blocking[AsyncWorkers]):
    """The running workers and trainers of the service."""

    list = blocking(AsyncWorkers.list)
    queue = blocking(AsyncWorkers.queue)
    history = blocking(AsyncWorkers.history)
    readiness = blocking(AsyncWorkers.readiness)
    diagnosis = blocking(AsyncWorkers.diagnosis)
