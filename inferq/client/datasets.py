"""Datasets: labelled pictures to train on, from archives, folders or URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inferq.client import http
from inferq.client.connection import UPLOAD, Connection, read
from inferq.client.folder_archive import packed
from shared.schemas.datasets import Dataset, DatasetPage, DuplicateGroups


class Datasets:
    """The datasets of the key's tenant. A dataset is identified by its id or its name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, source: str | os.PathLike[str] | None = None, *, labels: Sequence[str] = ()) -> Dataset:
        """Create a dataset from `source`, or an empty dataset with these labels.

        `source` is an archive of label folders (zip or tar), a folder of label folders, or the URL of an archive.
        The dataset is LOADING first: see `follow`. Raises OSError if a file, InferqError if a folder cannot be read.
        """
        if source is None:
            wanted = {"name": name, "labels": list(labels)}
            return read(Dataset, self._connection.request("POST", "/v1/datasets", json=wanted))
        return self._load("/v1/datasets", source, {"name": name})

    def add_archive(self, dataset: int | str, source: str | os.PathLike[str]) -> Dataset:
        """Add pictures to a dataset, from the same kinds of source as `create`; it is LOADING again."""
        return self._load(f"{_path(dataset)}/archive", source, {})

    def list(self, *, limit: int = 50) -> list[Dataset]:
        """Return the newest datasets, at most `limit`."""
        return self._connection.entries("/v1/datasets", DatasetPage, lambda page: page.datasets, {}, limit)

    def get(self, dataset: int | str) -> Dataset:
        """Return the dataset in its current state."""
        return read(Dataset, self._connection.get(_path(dataset)))

    def follow(self, dataset: int | str) -> Iterator[Dataset]:
        """Yield the dataset now and each time it has changed, until it is no longer LOADING.

        Outages of the server of up to five minutes are tolerated.
        """
        yield from self._connection.follow(_path(dataset), Dataset, lambda dataset: dataset.state != "LOADING")

    def duplicates(self, dataset: int | str, *, limit: int = 50) -> DuplicateGroups:
        """Return groups of pictures that are nearly the same, those with several labels first."""
        return read(DuplicateGroups, self._connection.get(f"{_path(dataset)}/duplicates?limit={limit}"))

    def remove(self, dataset: int | str) -> None:
        """Delete a dataset with its pictures; models that were trained on it stay."""
        self._connection.request("DELETE", _path(dataset))

    def _load(self, path: str, source: str | os.PathLike[str], fields: Mapping[str, str]) -> Dataset:
        if isinstance(source, str) and is_url(source):
            return read(Dataset, self._connection.request("POST", path, json={**fields, "url": source}))
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields.items()]
        local = Path(source)
        # Streamed from the disk in both cases, so that gigabytes are not held in memory.
        with packed(local) if local.is_dir() else local.open("rb") as file:
            name = f"{local.resolve().name}.zip" if local.is_dir() else local.name
            return read(Dataset, self._connection.form(path, [*parts, ("file", (name, file))], timeout=UPLOAD))


def is_url(source: str) -> bool:
    """Return True if the source is a URL, not a path."""
    return source.startswith(("http://", "https://"))


def _path(dataset: int | str) -> str:
    return f"/v1/datasets/{http.word(str(dataset))}"
