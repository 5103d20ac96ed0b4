"""Models: list, add, import and remove; aliases, the default model; versions, their comparison and promotion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, TypedDict, Unpack

from inferq.client import exports, http
from inferq.client.connection import UPLOAD, Connection, read
from inferq.client.folder_archive import packed
from shared.schemas.models import (
    Alias,
    AliasList,
    DefaultModel,
    Model,
    ModelDetails,
    ModelList,
    Version,
    VersionDetails,
    VersionList,
)
from shared.schemas.promotions import Canary, Comparison


class ImportOptions(TypedDict, total=False):
    """What an import may say about a model, where the file does not."""

    architecture: str
    labels: str | Path
    """A file of labels (text, JSON, CSV), or `imagenet`."""
    version: str
    preprocessing: str | Mapping[str, Any]
    """The name of a preset, or values: preset, resize, crop, mean, std, interpolation, and those of `models show`."""
    problem_type: str
    """`single_label_classification` or `multi_label_classification`."""
    threshold: float | Sequence[float]
    """Of a multi-label model: the score from which a label is an answer; one for all labels, or one per label."""
    state_key: str
    """The set of weights to take from a file that holds several."""
    checks: Sequence[tuple[Path, str]]
    """Pictures with the label that the model must give them; else it is refused."""


class Models:
    """The models that the key's tenant may use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> ModelDetails:
        """Return a model with its versions, and the labels of its default version."""
        return read(ModelDetails, self._connection.get(_path(name)))

    def add(self, name: str, *, architecture: str = "") -> Version:
        """Add an architecture with its published weights, which a worker fetches; poll `get(name)`."""
        fields = {"name": name, "architecture": architecture}
        parts: list[tuple[str, Any]] = [(key, (None, value)) for key, value in fields.items() if value]
        return read(Version, self._connection.form("/v1/models", parts))

    def upload(self, name: str, weights: Path, **options: Unpack[ImportOptions]) -> Version:
        """Upload a model: a file (.safetensors, .pth, .ckpt, .onnx, .mar), or a folder of timm, transformers or an
        export.

        A worker checks it: poll `get(name)`. Raises OSError if a file cannot be read, InferqError if a folder holds no
        model.
        """
        parts = list(_import_parts(name, options))
        with _opened(weights) as file:  # streamed, so that hundreds of megabytes are not held in memory
            parts.append(("weights", (weights.name, file)))
            return read(Version, self._connection.form("/v1/models", parts, timeout=UPLOAD))

    def remove(self, name: str, version: str = "") -> None:
        """Remove one version of a model, or all of it."""
        self._connection.request("DELETE", _version_path(name, version) if version else _path(name))

    # the default model, and aliases

    def get_default(self) -> DefaultModel:
        """Return the default model, and who has chosen it: `origin`."""
        return read(DefaultModel, self._connection.get("/v1/default-model"))

    def choose_default(self, name: str) -> DefaultModel:
        """Make a model the default for requests of the key's tenant that name no model."""
        return read(DefaultModel, self._connection.request("PUT", "/v1/default-model", json={"model": name}))

    def reset_default(self) -> DefaultModel:
        """Remove the tenant's choice; returns the default that then applies."""
        return read(DefaultModel, self._connection.request("DELETE", "/v1/default-model"))

    def list_aliases(self) -> list[Alias]:
        """Return the aliases of models, and the model that each stands for."""
        return read(AliasList, self._connection.get("/v1/aliases")).aliases

    def set_alias(self, alias: str, model: str) -> Alias:
        """Make `alias` stand for the model, whatever it stood for before."""
        return read(Alias, self._connection.request("PUT", f"/v1/aliases/{http.words(alias)}", json={"model": model}))

    def remove_alias(self, alias: str) -> None:
        """Remove the alias; the model stays."""
        self._connection.request("DELETE", f"/v1/aliases/{http.words(alias)}")

    # versions

    def list_versions(self, name: str) -> list[Version]:
        """Return the versions of a model, each with a summary of its evidence."""
        return read(VersionList, self._connection.get(f"{_path(name)}/versions")).versions

    def get_version(self, name: str, version: str) -> VersionDetails:
        """Return a version of a model, with its labels and all its evidence."""
        return read(VersionDetails, self._connection.get(_version_path(name, version)))

    def export(
        self,
        name: str,
        version: str,
        format: str = "safetensors",
        folder: str | Path = "",
        *,
        progress: exports.Progress = lambda done: None,
    ) -> Path:
        """Write a version into a folder, from which it can be imported again; returns the folder, NAME-VERSION.

        `format` is `safetensors`, or `onnx`, for which the server may convert the weights first. Raises InferqError if
        the folder is not empty, OSError if it cannot be written.
        """
        target = Path(folder or f"{name.replace('/', '-')}-{version}")
        return exports.download(self._connection, exports.export_path(name, version, format), target, progress)

    def compare(self, name: str, version: str, *, baseline: str = "", dataset: int | str | None = None) -> Comparison:
        """Compare two versions on the same test pictures; waits until the comparison has ended, as DONE or FAILED.

        `baseline` is by default the default version, `dataset` the dataset that `version` was trained on.
        """
        fields = {"version": version, "baseline": baseline, "dataset": dataset}
        wanted = {key: value for key, value in fields.items() if value not in ("", None)}
        started = read(Comparison, self._connection.request("POST", f"{_path(name)}/compare", json=wanted))
        path = f"/v1/comparisons/{http.word(started.id)}"
        *_, ended = self._connection.follow(path, Comparison, lambda comparison: comparison.terminal)
        return ended

    def promote(self, name: str, version: str) -> Version:
        """Make a version the model's default; the server requires a comparison with the present default first."""
        return read(Version, self._connection.request("POST", f"{_path(name)}/promote", json={"version": version}))

    def rollback(self, name: str) -> Version:
        """Undo the last promotion; returns the version that is the default again."""
        return read(Version, self._connection.request("POST", f"{_path(name)}/rollback"))

    def get_canary(self, name: str) -> Canary:
        """Return the version that answers a share of the requests, and how often it agreed with the default."""
        return read(Canary, self._connection.get(f"{_path(name)}/canary"))

    def set_canary(self, name: str, version: str, share: float) -> Canary:
        """Let a version answer a share, above 0 and at most 1, of the requests that name no version."""
        wanted = {"version": version, "share": share}
        return read(Canary, self._connection.request("PUT", f"{_path(name)}/canary", json=wanted))

    def clear_canary(self, name: str) -> None:
        """End the canary: the default version answers all requests again."""
        self._connection.request("DELETE", f"{_path(name)}/canary")

    # last, because after it `list` in an annotation of this class is this method

    def list(self) -> list[Model]:
        """Return every model with its versions and default version."""
        return read(ModelList, self._connection.get("/v1/models")).models


def _import_parts(name: str, options: ImportOptions) -> Iterator[tuple[str, Any]]:
    """Yield the parts of the form without the weights."""
    preprocessing, threshold = options.get("preprocessing", ""), options.get("threshold", "")
    fields = {
        "name": name,
        "architecture": options.get("architecture", ""),
        "version": options.get("version", ""),
        "preprocessing": preprocessing if isinstance(preprocessing, str) else json.dumps(dict(preprocessing)),
        "problem_type": options.get("problem_type", ""),
        "threshold": ",".join(map(str, threshold)) if isinstance(threshold, Sequence) else str(threshold),
        "state_key": options.get("state_key", ""),
    }
    yield from ((key, (None, value)) for key, value in fields.items() if value)
    labels = options.get("labels", "")
    if isinstance(labels, Path):
        yield "labels", (labels.name, labels.read_bytes())
    elif labels:
        yield "labels", (None, labels)
    for picture, label in options.get("checks", ()):
        yield "check", (picture.name, picture.read_bytes())
        yield "check_label", (None, label)


def _opened(weights: Path) -> AbstractContextManager[IO[bytes]]:
    """Open a file, or the zip of a folder's files without those that no import reads."""
    return packed(weights, _wanted_files(weights)) if weights.is_dir() else weights.open("rb")


def _wanted_files(folder: Path) -> list[Path]:
    """Return the files of a model: the weights in safetensors if there are any, and the small files beside them.

    Folders from a model hub often hold the same weights several times, for other libraries, and those of a training a
    folder per checkpoint. The server reads the top alone, so of the folders below it only those are packed that a
    format needs; all of them would send gigabytes for nothing.
    """
    top = _top(folder)
    nested = [path for name in _NESTED if (top / name).is_dir() for path in (top / name).rglob("*")]
    files = [path for path in (*top.iterdir(), *nested) if path.is_file() and not path.name.startswith(".")]
    weights = [path for path in files if path.suffix == ".safetensors"]
    weights = weights or [path for path in files if path.suffix in (".onnx", ".pth", ".pt", ".bin", ".ckpt")]
    small = [path for path in files if path.suffix in _BESIDE and path.stat().st_size <= _SMALL]
    others = [path for path in files if path.suffix in _RECOGNISED]
    return sorted({*weights, *small, *others}) or files


def _top(folder: Path) -> Path:
    """Return the folder that holds the files, below the single folder that it may lie in, as the server does."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    single = len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink()
    return _top(inside[0]) if single and not inside[0].name.startswith(_CHECKPOINT) else folder


_NESTED = ("MAR-INF", "variables")
"""Folders of TorchServe and of TensorFlow's SavedModel."""
_CHECKPOINT = "checkpoint"
"""The beginning of the names of folders that a training has left."""
_BESIDE = (".json", ".txt", ".csv", ".png", ".tsv")
_RECOGNISED = (".pb", ".h5", ".keras")
"""Files by which the server recognises a model that it refuses, and says how to convert it."""
_SMALL = 16 * 1024 * 1024


def _path(name: str) -> str:
    return f"/v1/models/{http.word(name)}"


def _version_path(name: str, version: str) -> str:
    return f"{_path(name)}/versions/{http.word(version)}"
