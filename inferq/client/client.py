"""The client of a server, blocking and asynchronous: one connection, and an object for each kind of resource."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from inferq.client.connection import RETRIES, Connection
from inferq.client.datasets import AsyncDatasets, Datasets
from inferq.client.dead_letters import AsyncDeadLetters, DeadLetters
from inferq.client.jobs import AsyncJobs, Jobs
from inferq.client.keys import AsyncKeys, Keys
from inferq.client.models import AsyncModels, Models
from inferq.client.runtime import ThreadRuntime, drive
from inferq.client.tenants import AsyncTenants, Tenants
from inferq.client.trainings import AsyncTrainings, Trainings
from inferq.client.webhooks import AsyncWebhooks, Webhooks
from inferq.client.workers import AsyncWorkers, Workers


class AsyncClient:
    """A client of the native API of a server, for coroutines of asyncio; close it, or use it in an `async with`.

    It has what Client has; methods are awaited, and what Client iterates over is for `async for`.
    """

    url: str
    jobs: AsyncJobs
    dead_letters: AsyncDeadLetters
    models: AsyncModels
    datasets: AsyncDatasets
    trainings: AsyncTrainings
    keys: AsyncKeys
    tenants: AsyncTenants
    webhooks: AsyncWebhooks
    workers: AsyncWorkers

    def __init__(
        self, url: str | None = None, key: str | None = None, *, timeout: float = 30.0, retries: int = RETRIES
    ) -> None:
        """The arguments are those of Client."""
        from inferq.client.loop_runtime import LoopRuntime  # loads asyncio, which the command has no need for

        connection = Connection(url, key, timeout=timeout, retries=retries, runtime=LoopRuntime)
        self._connection = connection
        self.url = connection.url
        self.jobs = AsyncJobs(connection)
        self.dead_letters = AsyncDeadLetters(connection)
        self.models = AsyncModels(connection)
        self.datasets = AsyncDatasets(connection)
        self.trainings = AsyncTrainings(connection)
        self.keys = AsyncKeys(connection)
        self.tenants = AsyncTenants(connection)
        self.webhooks = AsyncWebhooks(connection)
        self.workers = AsyncWorkers(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.runtime.close()


class Client:
    """A client of the native API of a server. Thread-safe; close it, or use it in a `with`.

    Every method raises InferqHTTPError if the server refuses, in the class of its status, Unreachable if it does not
    answer, and BadAnswer if its answer is not that of this version of inferq; the constructor raises Unreachable if the
    URL is invalid.

    jobs          submit, classify, map, search, get, wait, stream, list, cancel, delete, retry, results, correct
    dead_letters  list, replay
    models        list, get, add, upload, remove; the default model, aliases, versions, comparison, promotion, canary
    datasets      create, add_archive, list, get, stream, duplicates, remove; suspects, labels and pictures of examples
    trainings     start, get, list, stream, cancel, plot
    keys          create, register, list, revoke
    tenants       limits, set_limits, list
    webhooks      list, get, resend, resend_failed, ping, rotate_secret
    workers       list, queue, history, readiness, diagnosis
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

    def __init__(
        self, url: str | None = None, key: str | None = None, *, timeout: float = 30.0, retries: int = RETRIES
    ) -> None:
        """Without a URL or key, INFERQ_URL and INFERQ_KEY are used; `key=""` sends no key.

        `timeout` is the seconds that the server may take to answer, in addition to a requested wait. Requests that
        read, and those that send pictures, are repeated up to `retries` times while the server is busy or away, after
        the time that it asks for.
        """
        connection = Connection(url, key, timeout=timeout, retries=retries, runtime=ThreadRuntime)
        self._connection = connection
        self.url = connection.url
        self.jobs = Jobs(AsyncJobs(connection))
        self.dead_letters = DeadLetters(AsyncDeadLetters(connection))
        self.models = Models(AsyncModels(connection))
        self.datasets = Datasets(AsyncDatasets(connection))
        self.trainings = Trainings(AsyncTrainings(connection))
        self.keys = Keys(AsyncKeys(connection))
        self.tenants = Tenants(AsyncTenants(connection))
        self.webhooks = Webhooks(AsyncWebhooks(connection))
        self.workers = Workers(AsyncWorkers(connection))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        drive(self._connection.runtime.close())
