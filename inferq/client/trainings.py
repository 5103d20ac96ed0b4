"""Trainings: from a dataset to a version of a model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypedDict, Unpack

from inferq.client import http
from inferq.client.blocking import Blocking, blocking, iterating
from inferq.client.connection import Connection, read
from shared.schemas.trainings import Training, TrainingPage, TrainingSummary


class Parameters(TypedDict, total=False):
    """How to train: the fields of `TrainingParameters` in shared/schemas/trainings.py, which describes them."""

    epochs: int | None
    learning_rate: float | None
    batch_size: int | None
    max_unimproved_epochs: int | None
    train_split_ratio: float | None
    seed: int | None
    with_feedback: bool | None
    fine_tune: Literal["auto", "always", "never"] | None
    flip: bool | None
    max_seconds: float | None
    reject_below_precision: float | None
    unknown_label: str | None


class AsyncTrainings:
    """The trainings of the key's tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(
        self, dataset: int | str, name: str, *, base: str = "", base_version: str = "",
        options: Mapping[str, Any] | None = None, **parameters: Unpack[Parameters],
    ) -> Training:  # fmt: skip
        """Start a training of a version of the model `name` on a dataset, and return at once.

        `base` is the model to start from, or `scratch`; by default the best available. `options` are webhook,
        webhook_secret and metadata. A parameter that is None has its default.
        """
        given = {key: value for key, value in parameters.items() if value is not None}
        fields = {"dataset": dataset, "name": name, "base": base, "base_version": base_version, "parameters": given}
        wanted = {key: value for key, value in {**fields, **(options or {})}.items() if value not in ("", {})}
        return read(Training, await self._connection.request("POST", "/v1/trainings", json=wanted))

    async def get(self, training_id: str) -> Training:
        """Return the training in its current state, with its evidence if it is done."""
        return read(Training, await self._connection.get(_path(training_id)))

    async def list(self, *, status: str = "", limit: int = 50) -> list[TrainingSummary]:
        """Return the newest trainings, at most `limit`, without evidence."""
        query = {"status": status}
        return await self._connection.entries("/v1/trainings", TrainingPage, lambda page: page.trainings, query, limit)

    async def stream(self, training_id: str) -> AsyncIterator[Training]:
        """Yield the training now and each time it has changed; the last has ended, and has its evidence.

        Outages of the server of up to five minutes are tolerated.
        """
        async for change in self._connection.changes(_path(training_id), Training, lambda training: training.terminal):
            yield change

    async def cancel(self, training_id: str) -> Training:
        """Cancel a training that has not ended; its dataset and the model's other versions stay as they are."""
        return read(Training, await self._connection.request("DELETE", _path(training_id)))

    async def plot(self, training_id: str, name: str) -> bytes:
        """Return a plot of the evidence: `confusion`, `curve` or `reliability`, with `.svg` or `.png`."""
        return (await self._connection.get(f"{_path(training_id)}/plots/{http.word(name)}")).content


class Trainings(Blocking[AsyncTrainings]):
    """The trainings of the key's tenant."""

    start = blocking(AsyncTrainings.start)
    get = blocking(AsyncTrainings.get)
    list = blocking(AsyncTrainings.list)
    stream = iterating(AsyncTrainings.stream)
    cancel = blocking(AsyncTrainings.cancel)
    plot = blocking(AsyncTrainings.plot)


def _path(training_id: str) -> str:
    return f"/v1/trainings/{http.word(training_id)}"
