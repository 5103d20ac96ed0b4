"""Models: list, add, import and remove; aliases, the default model; versions, their comparison and promotion. What is
worth labelling is in suggestions.py."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urlencode

from inferq.client import exports, http, imports
from inferq.client.blocking import Blocking, blocking
from inferq.client.connection import UPLOAD, Connection, read
from inferq.client.imports import ImportOptions
from inferq.client.suggestions import AsyncSuggesting, Suggesting
from shared.schemas.drift import Drift
from shared.schemas.models import (
    Alias,
    AliasList,
    DefaultModel,
    Model,
    ModelDetails,
    ModelList,
    RejectionFit,
    Version,
    VersionDetails,
    VersionList,
)
from shared.schemas.promotions import Canary, Comparison


class AsyncModels(AsyncSuggesting):
    """The models that the key's tenant may use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, name: str) -> ModelDetails:
        """Return a model with its versions, and the labels of its default version."""
        return read(ModelDetails, await self._connection.get(_path(name)))

    async def add(self, name: str, *, architecture: str = "") -> Version:
        """Add an architecture with its published weights, which a worker fetches; poll `get(name)`."""
        fields = {"name": name, "architecture": architecture}
        parts: list[tuple[str, Any]] = [(key, (None, value)) for key, value in fields.items() if value]
        return read(Version, await self._connection.form("/v1/models", parts))

    async def upload(self, name: str, weights: str | Path, **options: Unpack[ImportOptions]) -> Version:
        """Upload a model: a file (.safetensors, .pth, .ckpt, .onnx, .mar), or a folder of timm, transformers or an
        export.

        `options` are needed where the file does not say them: `architecture`, `labels` (a file, a list, or `imagenet`),
        `version`, `preprocessing` (a preset, a file, or values), `problem_type`, `threshold`, `state_key`, `checks`
        (pictures with their labels); see ImportOptions. A worker checks the model: poll `get(name)`. Raises OSError if
        a file cannot be read, InferqError for an unknown option or a folder without a model.
        """
        path = Path(weights)
        parts = await self._connection.runtime.call(lambda: list(imports.form_parts(name, options)))
        with ExitStack() as stack:  # streamed, so that hundreds of megabytes are not held in memory
            file = await self._connection.runtime.call(lambda: stack.enter_context(imports.opened(path)))
            parts.append(("weights", (path.name, file)))
            return read(Version, await self._connection.form("/v1/models", parts, timeout=UPLOAD))

    async def remove(self, name: str, version: str = "") -> None:
        """Remove one version of a model, or all of it."""
        await self._connection.request("DELETE", _version_path(name, version) if version else _path(name))

    # the default model, and aliases

    async def get_default(self) -> DefaultModel:
        """Return the default model, and who has chosen it: `origin`."""
        return read(DefaultModel, await self._connection.get("/v1/default-model"))

    async def choose_default(self, name: str) -> DefaultModel:
        """Make a model the default for requests of the key's tenant that name no model."""
        return read(DefaultModel, await self._connection.request("PUT", "/v1/default-model", json={"model": name}))

    async def reset_default(self) -> DefaultModel:
        """Remove the tenant's choice; returns the default that then applies."""
        return read(DefaultModel, await self._connection.request("DELETE", "/v1/default-model"))

    async def list_aliases(self) -> list[Alias]:
        """Return the aliases of models, and the model that each stands for."""
        return read(AliasList, await self._connection.get("/v1/aliases")).aliases

    async def set_alias(self, alias: str, model: str) -> Alias:
        """Make `alias` stand for the model, whatever it stood for before."""
        return read(
            Alias, await self._connection.request("PUT", f"/v1/aliases/{http.words(alias)}", json={"model": model})
        )

    async def remove_alias(self, alias: str) -> None:
        """Remove the alias; the model stays."""
        await self._connection.request("DELETE", f"/v1/aliases/{http.words(alias)}")

    # versions

    async def list_versions(self, name: str) -> list[Version]:
        """Return the versions of a model, each with a summary of its evidence."""
        return read(VersionList, await self._connection.get(f"{_path(name)}/versions")).versions

    async def get_version(self, name: str, version: str) -> VersionDetails:
        """Return a version of a model, with its labels and all its evidence."""
        return read(VersionDetails, await self._connection.get(_version_path(name, version)))

    async def export(
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
        return await exports.download(self._connection, exports.export_path(name, version, format), target, progress)

    async def compare(
        self, name: str, version: str, *, baseline: str = "", dataset: int | str | None = None
    ) -> Comparison:
        """Compare two versions on the same test pictures; waits until the comparison has ended, as DONE or FAILED.

        `baseline` is by default the default version, `dataset` the dataset that `version` was trained on.
        """
        fields = {"version": version, "baseline": baseline, "dataset": dataset}
        wanted = {key: value for key, value in fields.items() if value not in ("", None)}
        started = read(Comparison, await self._connection.request("POST", f"{_path(name)}/compare", json=wanted))
        path = f"/v1/comparisons/{http.word(started.id)}"
        return await self._connection.end(path, Comparison, lambda comparison: comparison.terminal)

    async def promote(self, name: str, version: str) -> Version:
        """Make a version the model's default; the server requires a comparison with the present default first."""
        return read(
            Version, await self._connection.request("POST", f"{_path(name)}/promote", json={"version": version})
        )

    async def rollback(self, name: str) -> Version:
        """Undo the last promotion; returns the version that is the default again."""
        return read(Version, await self._connection.request("POST", f"{_path(name)}/rollback"))

    async def get_canary(self, name: str) -> Canary:
        """Return the version that answers a share of the requests, and how often it agreed with the default."""
        return read(Canary, await self._connection.get(f"{_path(name)}/canary"))

    async def set_canary(self, name: str, version: str, share: float) -> Canary:
        """Let a version answer a share, above 0 and at most 1, of the requests that name no version."""
        wanted = {"version": version, "share": share}
        return read(Canary, await self._connection.request("PUT", f"{_path(name)}/canary", json=wanted))

    async def clear_canary(self, name: str) -> None:
        """End the canary: the default version answers all requests again."""
        await self._connection.request("DELETE", f"{_path(name)}/canary")

    # rejection rules

    async def reject(
        self, name: str, version: str, *, precision: float | None = None, dataset: int | str | None = None,
        unknown_label: str = "",
    ) -> RejectionFit:  # fmt: skip
        """Have a rejection rule fitted on a dataset, and return it when a worker has; `error` says why there is none.

        `precision` is the wanted share of right answers among those that are believed. `unknown_label` alone changes
        the label of the present rule.
        """
        fields = {"precision": precision, "dataset": dataset, "unknown_label": unknown_label}
        wanted = {key: value for key, value in fields.items() if value is not None}
        path = f"{_version_path(name, version)}/rejection"
        fit = read(RejectionFit, await self._connection.request("PUT", path, json=wanted, timeout=UPLOAD))
        if fit.fitting:
            fit = await self._connection.end(path, RejectionFit, lambda fit: not fit.fitting)
        return fit

    async def get_rejection(self, name: str, version: str) -> RejectionFit:
        """Return the rejection rule of a version, and whether another one is being fitted."""
        return read(RejectionFit, await self._connection.get(f"{_version_path(name, version)}/rejection"))

    async def remove_rejection(self, name: str, version: str) -> None:
        """Remove the rejection rule of a version, which believes all its answers then."""
        await self._connection.request("DELETE", f"{_version_path(name, version)}/rejection")

    # drift

    async def get_drift(self, name: str, version: str = "", *, days: int = 30) -> Drift:
        """Return how far the answers of a version, by default the default version, are from its reference: of each of
        the last `days` (1 to 90, in UTC), and of the last seven together."""
        query = {"version": version, "days": days}
        return read(Drift, await self._connection.get(f"{_path(name)}/drift", params=query))

    async def measure_reference(self, name: str, version: str, dataset: int | str) -> Drift:
        """Have the reference of a version measured on a dataset, and return its drift when a worker has; `error` says
        why there is none."""
        path = f"{_version_path(name, version)}/drift-reference"
        body = {"dataset": dataset}
        drift = read(Drift, await self._connection.request("PUT", path, json=body, timeout=UPLOAD))
        if drift.measuring:
            path = f"{_path(name)}/drift?{urlencode({'version': version})}"
            drift = await self._connection.end(path, Drift, lambda drift: not drift.measuring)
        return drift

    async def set_webhook(self, name: str, url: str, secret: str = "") -> Drift:
        """Have a URL called back when a finished day of the model has drifted."""
        body = {"url": url, "secret": secret}
        return read(Drift, await self._connection.request("PUT", f"{_path(name)}/webhook", json=body))

    async def remove_webhook(self, name: str) -> None:
        """Have nobody called back about the drift of the model."""
        await self._connection.request("DELETE", f"{_path(name)}/webhook")

    # last, because after it `list` in an annotation of this class is this method

    async def list(self) -> list[Model]:
        """Return every model with its versions and default version."""
        return read(ModelList, await self._connection.get("/v1/models")).models


class Models(Blocking[AsyncModels], Suggesting):
    """The models that the key's tenant may use."""

    get = blocking(AsyncModels.get)
    add = blocking(AsyncModels.add)
    upload = blocking(AsyncModels.upload)
    remove = blocking(AsyncModels.remove)
    get_default = blocking(AsyncModels.get_default)
    choose_default = blocking(AsyncModels.choose_default)
    reset_default = blocking(AsyncModels.reset_default)
    list_aliases = blocking(AsyncModels.list_aliases)
    set_alias = blocking(AsyncModels.set_alias)
    remove_alias = blocking(AsyncModels.remove_alias)
    list_versions = blocking(AsyncModels.list_versions)
    get_version = blocking(AsyncModels.get_version)
    export = blocking(AsyncModels.export)
    compare = blocking(AsyncModels.compare)
    promote = blocking(AsyncModels.promote)
    rollback = blocking(AsyncModels.rollback)
    get_canary = blocking(AsyncModels.get_canary)
    set_canary = blocking(AsyncModels.set_canary)
    clear_canary = blocking(AsyncModels.clear_canary)
    reject = blocking(AsyncModels.reject)
    get_rejection = blocking(AsyncModels.get_rejection)
    remove_rejection = blocking(AsyncModels.remove_rejection)
    get_drift = blocking(AsyncModels.get_drift)
    measure_reference = blocking(AsyncModels.measure_reference)
    set_webhook = blocking(AsyncModels.set_webhook)
    remove_webhook = blocking(AsyncModels.remove_webhook)
    list = blocking(AsyncModels.list)


def _path(name: str) -> str:
    return f"/v1/models/{http.word(name)}"


def _version_path(name: str, version: str) -> str:
    return f"{_path(name)}/versions/{http.word(version)}"
