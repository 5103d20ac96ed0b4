"""The part of the client for training models: datasets, trainings, feedback, versions and their promotion.

client.create_dataset("flowers", "flowers/")          # label folders; or an archive of them, or its URL
training = client.train("flowers", "flowers", base="mobilenet_v2")
for training in client.follow_training(training.id):
    print(training.message)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inferq.client import http
from inferq.client.connection import UPLOAD, Connection
from inferq.client.folder_archive import packed
from inferq.client.responses import Dataset, Training


class DatasetsAndTrainings(Connection):
    """Datasets, trainings, feedback, and the versions that answer. A dataset is identified by its id or its name."""

    # datasets

    def create_dataset(
        self, name: str, source: str | os.PathLike[str] | None = None, *, labels: Sequence[str] = ()
    ) -> Dataset:
        """Create a dataset from `source`, or an empty dataset with these labels.

        `source` is an archive of label folders (zip, tar, tar.gz), a folder of label folders, or the URL of an archive.
        The dataset is LOADING first: see follow_dataset. Raises OSError if a file, InferqError if a folder cannot be
        read.
        """
        if source is None:
            made = self._request("POST", "/v1/datasets", json={"name": name, "labels": list(labels)})
            return Dataset.read(made.json())
        return self._load("/v1/datasets", source, {"name": name})

    def add_to_dataset(self, dataset: int | str, source: str | os.PathLike[str]) -> Dataset:
        """Add pictures to a dataset, from the same kinds of source as create_dataset; it is LOADING again."""
        return self._load(f"{_dataset(dataset)}/archive", source, {})

    def datasets(self, *, limit: int = 50) -> list[Dataset]:
        """Return the newest datasets, at most `limit`."""
        return [Dataset.read(data) for data in self._pages("/v1/datasets", "datasets", {}, limit)]

    def dataset(self, dataset: int | str) -> Dataset:
        """Return the dataset in its current state."""
        return Dataset.read(self._get(_dataset(dataset)).json())

    def follow_dataset(self, dataset: int | str) -> Iterator[Dataset]:
        """Yield the dataset now and each time it has changed, until it is no longer LOADING.

        Outages of the server of up to five minutes are tolerated.
        """
        yield from map(Dataset.read, self._follow(_dataset(dataset), lambda data: data["state"] != "LOADING"))

    def remove_dataset(self, dataset: int | str) -> None:
        """Delete a dataset with its pictures; models that were trained on it stay."""
        self._request("DELETE", _dataset(dataset))

    # trainings

    def train(
        self, dataset: int | str, name: str, *, base: str = "", base_version: str = "",
        options: Mapping[str, Any] | None = None, **parameters: Any,
    ) -> Training:  # fmt: skip
        """Start a training of a version of the model `name` on a dataset, and return at once.

        `base` is the model to start from, or `scratch`; by default the best available. `options` are webhook,
        webhook_secret and metadata. Parameters are those of `POST /v1/trainings`: epochs, learning_rate, batch_size,
        max_unimproved_epochs, train_split_ratio, seed, with_feedback, fine_tune, flip, max_seconds.
        """
        given = {key: value for key, value in parameters.items() if value is not None}
        asked = {"dataset": dataset, "name": name, "base": base, "base_version": base_version, "parameters": given}
        sent = {key: value for key, value in {**asked, **(options or {})}.items() if value not in ("", {})}
        return Training.read(self._request("POST", "/v1/trainings", json=sent).json())

    def training(self, training_id: str) -> Training:
        """Return the training in its current state, with its evidence if it is done."""
        return Training.read(self._get(_training(training_id)).json())

    def trainings(self, *, status: str = "", limit: int = 50) -> list[Training]:
        """Return the newest trainings, at most `limit`, without evidence."""
        found = self._pages("/v1/trainings", "trainings", {"status": status}, limit)
        return [Training.read(data) for data in found]

    def follow_training(self, training_id: str) -> Iterator[Training]:
        """Yield the training now and each time it has changed; the last has ended, and has its evidence.

        Outages of the server of up to five minutes are tolerated.
        """
        yield from map(Training.read, self._follow(_training(training_id), _over))

    def cancel_training(self, training_id: str) -> Training:
        """Cancel a training that has not ended; its dataset and the model's other versions stay as they are."""
        return Training.read(self._request("DELETE", _training(training_id)).json())

    def plot(self, training_id: str, name: str) -> bytes:
        """Return a plot of the evidence: `confusion`, `curve` or `reliability`, with `.svg` or `.png`."""
        return self._get(f"{_training(training_id)}/plots/{http.word(name)}").content

    def feedback(
        self, job_id: str, label: str, position: int = 0, *, dataset: int | str | None = None
    ) -> dict[str, Any]:
        """Send the right label of picture `position` of a job (0 is the first); the next training learns from it.

        Returns the example that it becomes, in `dataset`, or by default in the dataset that the job's model was trained
        on.
        """
        said = {"label": label, "position": position} | ({} if dataset is None else {"dataset": dataset})
        return dict(self._request("POST", f"/v1/jobs/{http.word(job_id)}/feedback", json=said).json())

    # versions

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return the versions of a model, each with a summary of its evidence."""
        return list(self._get(f"{_model(name)}/versions").json()["versions"])

    def version(self, name: str, version: str) -> dict[str, Any]:
        """Return a version of a model, with all its evidence."""
        return dict(self._get(f"{_model(name)}/versions/{http.word(version)}").json())

    def compare(
        self, name: str, version: str, *, baseline: str = "", dataset: int | str | None = None
    ) -> dict[str, Any]:
        """Compare two versions on the same test pictures; waits until the comparison has ended, as DONE or FAILED.

        `baseline` is by default the default version, `dataset` the dataset that `version` was trained on.
        """
        asked = {"version": version, "baseline": baseline, "dataset": dataset}
        sent = {key: value for key, value in asked.items() if value not in ("", None)}
        made = self._request("POST", f"{_model(name)}/compare", json=sent).json()
        *_, ended = self._follow(f"/v1/comparisons/{http.word(str(made.get('_id') or made.get('id')))}", _over)
        return ended

    def promote(self, name: str, version: str) -> dict[str, Any]:
        """Make a version the model's default; the server requires a comparison with the present default first."""
        return dict(self._request("POST", f"{_model(name)}/promote", json={"version": version}).json())

    def rollback(self, name: str) -> dict[str, Any]:
        """Undo the last promotion; returns the version that is the default again."""
        return dict(self._request("POST", f"{_model(name)}/rollback").json())

    def canary(self, name: str) -> dict[str, Any]:
        """Return the version that answers a share of the requests, and how often it agreed with the default."""
        return dict(self._get(f"{_model(name)}/canary").json())

    def set_canary(self, name: str, version: str, share: float) -> dict[str, Any]:
        """Let a version answer a share, above 0 and at most 1, of the requests that name no version."""
        return dict(self._request("PUT", f"{_model(name)}/canary", json={"version": version, "share": share}).json())

    def clear_canary(self, name: str) -> None:
        """End the canary: the default version answers all requests again."""
        self._request("DELETE", f"{_model(name)}/canary")

    def _load(self, path: str, source: str | os.PathLike[str], said: Mapping[str, str]) -> Dataset:
        if isinstance(source, str) and is_url(source):
            return Dataset.read(self._request("POST", path, json={**said, "url": source}).json())
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in said.items()]
        found = Path(source)
        # Streamed from the disk in both cases, so that gigabytes are not held in memory.
        with packed(found) if found.is_dir() else found.open("rb") as file:
            name = f"{found.resolve().name}.zip" if found.is_dir() else found.name
            return Dataset.read(self._form(path, [*parts, ("file", (name, file))], timeout=UPLOAD))


def is_url(source: str) -> bool:
    """Return True if the source is a URL, not a path."""
    return source.startswith(("http://", "https://"))


def _dataset(dataset: int | str) -> str:
    return f"/v1/datasets/{http.word(str(dataset))}"


def _training(training_id: str) -> str:
    return f"/v1/trainings/{http.word(training_id)}"


def _model(name: str) -> str:
    return f"/v1/models/{http.word(name)}"


def _over(data: Mapping[str, Any]) -> bool:
    return Training.read(data).terminal
