"""Datasets: labelled pictures to train on, from archives, folders or URLs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from inferq.client import http
from inferq.client.blocking import Blocking, blocking, iterating
from inferq.client.connection import UPLOAD, Connection, read
from inferq.client.folder_archive import packed
from inferq.client.pictures import is_url
from shared.schemas.datasets import Dataset, DatasetPage, DuplicateGroups, Example, SuspectList


class AsyncDatasets:
    """The datasets of the key's tenant. A dataset is identified by its id or its name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self, name: str, source: str | os.PathLike[str] | None = None, *, labels: Sequence[str] = (),
        problem_type: str = "",
    ) -> Dataset:  # fmt: skip
        """Create a dataset from `source`, or an empty dataset with these labels.

        `source` is an archive of label folders (zip or tar), a folder of label folders, or the URL of an archive; a
        table such as `labels.csv` may name the labels in place of the folders. `problem_type` is
        `single_label_classification` or `multi_label_classification`; by default the archive says it.
        The dataset is LOADING first: see `stream`. Raises OSError if a file, InferqError if a folder cannot be read.
        """
        asked = {"problem_type": problem_type} if problem_type else {}
        if source is None:
            wanted = {"name": name, "labels": list(labels), **asked}
            return read(Dataset, await self._connection.request("POST", "/v1/datasets", json=wanted))
        return await self._load("/v1/datasets", source, {"name": name, **asked})

    async def add_archive(self, dataset: int | str, source: str | os.PathLike[str]) -> Dataset:
        """Add pictures to a dataset, from the same kinds of source as `create`; it is LOADING again."""
        return await self._load(f"{_path(dataset)}/archive", source, {})

    async def list(self, *, limit: int = 50) -> list[Dataset]:
        """Return the newest datasets, at most `limit`."""
        return await self._connection.entries("/v1/datasets", DatasetPage, lambda page: page.datasets, {}, limit)

    async def get(self, dataset: int | str) -> Dataset:
        """Return the dataset in its current state."""
        return read(Dataset, await self._connection.get(_path(dataset)))

    async def stream(self, dataset: int | str) -> AsyncIterator[Dataset]:
        """Yield the dataset now and each time it has changed, until it is no longer LOADING.

        Outages of the server of up to five minutes are tolerated.
        """
        async for change in self._connection.changes(
            _path(dataset), Dataset, lambda dataset: dataset.state != "LOADING"
        ):
            yield change

    async def duplicates(self, dataset: int | str, *, limit: int = 50) -> DuplicateGroups:
        """Return groups of pictures that are nearly the same, those with several labels first."""
        return read(DuplicateGroups, await self._connection.get(f"{_path(dataset)}/duplicates?limit={limit}"))

    async def suspects(self, dataset: int | str) -> SuspectList:
        """Return the examples whose label the newest training on the dataset doubts, the most doubtful first."""
        return read(SuspectList, await self._connection.get(f"{_path(dataset)}/suspects"))

    async def keep_label(self, dataset: int | str, example: int) -> None:
        """Keep the label of a suspect: later trainings do not bring it up again."""
        await self._connection.request("DELETE", f"{_path(dataset)}/suspects/{example}")

    async def relabel(self, dataset: int | str, example: int, label: str | Sequence[str]) -> Example:
        """Give an example another label, and return it with its new id.

        In a multi-label dataset `label` is a list of all labels that the picture shows, empty for none.
        """
        right = {"label": label} if isinstance(label, str) else {"labels": [*label]}
        return read(Example, await self._connection.request("POST", f"{_example(dataset, example)}/labels", json=right))

    async def picture(self, dataset: int | str, example: int) -> bytes:
        """Return the bytes of an example as they were uploaded."""
        return (await self._connection.get(f"{_example(dataset, example)}/picture")).content

    async def remove_example(self, dataset: int | str, example: int) -> None:
        """Take an example out of a dataset; versions that were trained on keep it."""
        await self._connection.request("DELETE", _example(dataset, example))

    async def remove(self, dataset: int | str) -> None:
        """Delete a dataset with its pictures; models that were trained on it stay."""
        await self._connection.request("DELETE", _path(dataset))

    async def _load(self, path: str, source: str | os.PathLike[str], fields: Mapping[str, str]) -> Dataset:
        if isinstance(source, str) and is_url(source):
            return read(Dataset, await self._connection.request("POST", path, json={**fields, "url": source}))
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields.items()]
        local = Path(source)
        # Streamed from the disk in both cases, so that gigabytes are not held in memory.
        with ExitStack() as stack:
            opening = packed(local) if local.is_dir() else local.open("rb")
            file = await self._connection.runtime.call(lambda: stack.enter_context(opening))
            name = f"{local.resolve().name}.zip" if local.is_dir() else local.name
            return read(Dataset, await self._connection.form(path, [*parts, ("file", (name, file))], timeout=UPLOAD))


class Datasets(Blocking[AsyncDatasets]):
    """The datasets of the key's tenant. A dataset is identified by its id or its name."""

    create = blocking(AsyncDatasets.create)
    add_archive = blocking(AsyncDatasets.add_archive)
    list = blocking(AsyncDatasets.list)
    get = blocking(AsyncDatasets.get)
    stream = iterating(AsyncDatasets.stream)
    duplicates = blocking(AsyncDatasets.duplicates)
    suspects = blocking(AsyncDatasets.suspects)
    keep_label = blocking(AsyncDatasets.keep_label)
    relabel = blocking(AsyncDatasets.relabel)
    picture = blocking(AsyncDatasets.picture)
    remove_example = blocking(AsyncDatasets.remove_example)
    remove = blocking(AsyncDatasets.remove)


def _path(dataset: int | str) -> str:
    return f"/v1/datasets/{http.word(str(dataset))}"


def _example(dataset: int | str, example: int) -> str:
    return f"{_path(dataset)}/examples/{example}"
