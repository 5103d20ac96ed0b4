"""The queue, and the workers and trainers that work on it."""

from __future__ import annotations

from inferq.client.connection import Connection, read
from shared.schemas.workers import Queue, WorkerList


class Workers:
    """The running workers and trainers of the service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> WorkerList:
        """Return the running workers and trainers, and the pictures that the workers hold."""
        return read(WorkerList, self._connection.get("/v1/workers"))

    def queue(self) -> Queue:
        """Return the waiting pictures, by model and priority."""
        return read(Queue, self._connection.get("/v1/queue"))
