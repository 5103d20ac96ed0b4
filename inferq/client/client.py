"""The client of a server: one connection, and an object for each kind of resource."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from inferq.client.connection import Connection
from inferq.client.datasets import Datasets
from inferq.client.dead_letters import DeadLetters
from inferq.client.jobs import Jobs
from inferq.client.keys import Keys
from inferq.client.models import Models
from inferq.client.tenants import Tenants
from inferq.client.trainings import Trainings
from inferq.client.webhooks import Webhooks
from inferq.client.workers import Workers


class Client:
    """A client of the native API of a server. Thread-safe; close it, or use it in a `with`.

    Every method raises InferqHTTPError if the server refuses, Unreachable if it does not answer, and BadAnswer if its
    answer is not that of this version of inferq; the constructor raises Unreachable if the URL is invalid.

    jobs          submit, classify, search, get, wait, list, cancel, delete, retry, results, correct
    dead_letters  list, replay
    models        list, get, add, upload, remove; the default model, aliases, versions, comparison, promotion, canary
    datasets      create, add_archive, list, get, follow, duplicates, remove
    trainings     start, get, list, follow, cancel, plot
    keys          create, register, list, revoke
    tenants       limits, set_limits, list
    webhooks      list, get, resend, ping, rotate_secret
    workers       list, queue
    """

    url: str
    jobs: Jobs
    dead_letters: DeadLetters
    models: Models
    datasets: Datasets
    trainings: Trainings
    keys: Keys
    tenants: Tenants
    webhooks: Webhooks
    workers: Workers

    def __init__(self, url: str | None = None, key: str | None = None, *, timeout: float = 30.0) -> None:
        """Without a URL or key, INFERQ_URL and INFERQ_KEY are used; `key=""` sends no key.

        `timeout` is the seconds that the server may take to answer, in addition to a requested wait.
        """
        self._connection = Connection(url, key, timeout=timeout)
        self.url = self._connection.url
        self.jobs = Jobs(self._connection)
        self.dead_letters = DeadLetters(self._connection)
        self.models = Models(self._connection)
        self.datasets = Datasets(self._connection)
        self.trainings = Trainings(self._connection)
        self.keys = Keys(self._connection)
        self.tenants = Tenants(self._connection)
        self.webhooks = Webhooks(self._connection)
        self.workers = Workers(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
