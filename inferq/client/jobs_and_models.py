"""The Python client: submit pictures, wait for their job, train on them, manage models and keys.

client = Client("http://127.0.0.1:8000", key="...")    # or INFERQ_URL and INFERQ_KEY, and Client()
job = client.classify("duck.jpg")
print(job.predictions[0].results[0].label)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inferq.client import http
from inferq.client.connection import DEFAULT_URL, UPLOAD
from inferq.client.datasets_and_trainings import DatasetsAndTrainings
from inferq.client.http import Picture
from inferq.client.responses import Job
from inferq.errors import InferqError, StillRunning

_LONGEST_POLL = 20.0
"""Seconds of one long poll; proxies cut connections that are silent for 30 or 60."""


class Client(DatasetsAndTrainings):
    """A client of the native API of a server. Thread-safe; close it, or use it in a `with`.

    Every method raises InferqHTTPError if the server refuses, and Unreachable if it does not answer; the constructor
    raises Unreachable if the URL is invalid. Datasets, trainings and versions are in
    inferq/client/datasets_and_trainings.py.
    """

    # jobs

    def submit(self, *pictures: Picture, idempotency_key: str = "", **options: Any) -> Job:
        """Send pictures (or one archive) as a job and return at once.

        Options are those of `POST /v1/jobs`: model, version, top_k, function_to_apply, task, priority, deadline,
        exif, metadata, webhook. Raises OSError when a file cannot be read.
        """
        headers = {"Prefer": "respond-async"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        return self._send("/v1/jobs", pictures, options, headers, 0.0)

    def classify(self, *pictures: Picture, timeout: float = 60.0, **options: Any) -> Job:
        """Send pictures and return the ended job; raises StillRunning after `timeout` seconds. Options as in submit."""
        began = time.monotonic()
        wait = min(timeout, _LONGEST_POLL)
        job = self._send("/v1/classify", pictures, options, http.prefer(wait), wait)
        return job if job.terminal else self._wait(job.id, timeout, began)

    def job(self, job_id: str, *, wait: float = 0.0) -> Job:
        """Return the job in its current state, after waiting up to `wait` seconds for its end."""
        return Job.read(self._poll(_at(job_id), wait).json())

    def wait(self, job: Job | str, *, timeout: float = 60.0) -> Job:
        """Long-poll until the job has ended; raises StillRunning after `timeout` seconds."""
        return self._wait(job if isinstance(job, str) else job.id, timeout, time.monotonic())

    def _wait(self, job_id: str, timeout: float, began: float) -> Job:
        end = began + timeout
        while True:
            asked = time.monotonic()
            answer = self._poll(_at(job_id), min(_LONGEST_POLL, max(0.0, end - asked)))
            found = Job.read(answer.json())
            if found.terminal:
                return found
            if time.monotonic() >= end:
                state = f"job {job_id} is {found.status} after {timeout:g} s"
                raise StillRunning(f"{state}; wait for it with: inferq jobs wait {job_id}")
            if time.monotonic() - asked < 0.1:  # the server refused to wait, because too many requests wait
                time.sleep(min(http.retry_after(answer, 0.5), max(0.0, end - time.monotonic())))

    def jobs(self, *, status: str = "", model: str = "", limit: int = 50) -> list[Job]:
        """Return the newest jobs, at most `limit`, from as many pages as needed."""
        query = {"status": status, "model": model}
        return [Job.read(data) for data in self._pages("/v1/jobs", "jobs", query, limit)]

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job that has not ended; returns the job if the server sends it back."""
        answer = self._request("DELETE", _at(job_id))
        return Job.read(answer.json()) if answer.content else None

    def results(self, job_id: str, *, format: str = "ndjson") -> Iterator[str]:
        """Yield the lines of a job's results as they arrive, `ndjson` or `csv`; suited to archives of thousands."""
        with (
            http.reaching(self.url),
            self._http.stream("GET", f"{_at(job_id)}/results", params={"format": format}) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise http.problem(answer)
            yield from answer.iter_lines()

    # models

    def models(self) -> list[dict[str, Any]]:
        """Return every model with its versions and default version."""
        return list(self._get("/v1/models").json()["models"])

    def model(self, name: str) -> dict[str, Any]:
        """Return a model with its versions."""
        return dict(self._get(f"/v1/models/{http.word(name)}").json())

    def add_model(self, name: str, *, architecture: str = "") -> dict[str, Any]:
        """Add an architecture with its published weights, which a worker fetches; poll `model(name)`."""
        fields = {"name": name, "architecture": architecture}
        return self._form("/v1/models", [(key, (None, value)) for key, value in fields.items() if value])

    def import_model(
        self,
        name: str,
        *,
        architecture: str,
        weights: Path,
        labels: str | Path,
        version: str = "",
        preprocessing: str | Mapping[str, Any] = "",
    ) -> dict[str, Any]:
        """Upload weights (.safetensors or .pth); `labels` is `imagenet` or a file with one label per line.

        `preprocessing` is the name of a preset, or values: preset, resize and crop (pixels), mean, std, interpolation.
        A worker checks the weights: poll `model(name)`. Raises OSError if a file cannot be read.
        """
        whole = preprocessing if isinstance(preprocessing, str) else json.dumps(dict(preprocessing))
        fields = {"name": name, "architecture": architecture, "version": version, "preprocessing": whole}
        parts: list[tuple[str, Any]] = [(key, (None, value)) for key, value in fields.items() if value]
        named = isinstance(labels, str)
        parts.append(("labels", (None, labels) if named else (Path(labels).name, Path(labels).read_bytes())))
        with weights.open("rb") as file:  # streamed, so that hundreds of megabytes are not held in memory
            return self._form("/v1/models", [*parts, ("weights", (weights.name, file))], timeout=UPLOAD)

    def remove_model(self, name: str, version: str = "") -> None:
        """Remove one version of a model, or all of it."""
        only = f"/versions/{http.word(version)}" if version else ""
        self._request("DELETE", f"/v1/models/{http.word(name)}{only}")

    def default_model(self) -> dict[str, Any]:
        """Return the default model, and who has chosen it: `origin`."""
        return dict(self._get("/v1/default-model").json())

    def choose_default_model(self, name: str) -> dict[str, Any]:
        """Make a model the default for requests of the key's tenant that name no model."""
        return dict(self._request("PUT", "/v1/default-model", json={"model": name}).json())

    def reset_default_model(self) -> dict[str, Any]:
        """Remove the tenant's choice; returns the default that then applies."""
        return dict(self._request("DELETE", "/v1/default-model").json())

    def aliases(self) -> list[dict[str, Any]]:
        """Return the aliases of models, and the model that each stands for."""
        return list(self._get("/v1/aliases").json()["aliases"])

    def alias(self, alias: str, model: str) -> dict[str, Any]:
        """Make `alias` stand for the model, whatever it stood for before."""
        return dict(self._request("PUT", f"/v1/aliases/{http.words(alias)}", json={"model": model}).json())

    def unalias(self, alias: str) -> None:
        """Remove the alias; the model stays."""
        self._request("DELETE", f"/v1/aliases/{http.words(alias)}")

    # keys, and the state of the service

    def create_key(
        self, name: str = "", *, tenant: str = "", scopes: Sequence[str] = (), stage: str = ""
    ) -> dict[str, Any]:
        """Create an API key for the stage `live` or `test`; only this response contains the key's text."""
        return self._create({"name": name, "tenant": tenant, "scopes": list(scopes), "stage": stage})

    def register_key(
        self, account: str, public_key: str, *, name: str = "", tenant: str = "", scopes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Register the public key of an account, or its certificate, in PEM; assertions are signed with its private
        key.

        Raises InferqError without sending anything if the text is not a public key.
        """
        known = {"account": account, "public_key": _public(public_key)}
        return self._create(known | {"name": name, "tenant": tenant, "scopes": list(scopes)})

    def keys(self) -> list[dict[str, Any]]:
        """Return the keys: tenant, name, creation and scopes, never their text."""
        return list(self._get("/v1/keys").json()["keys"])

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key."""
        self._request("DELETE", f"/v1/keys/{http.word(key_id)}")

    def queue(self) -> dict[str, Any]:
        """Return the waiting pictures, by model and priority."""
        return dict(self._get("/v1/queue").json())

    def workers(self) -> dict[str, Any]:
        """Return the running workers, and the pictures that they hold."""
        return dict(self._get("/v1/workers").json())

    # internal

    def _create(self, key: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: value for name, value in key.items() if value}
        return dict(self._request("POST", "/v1/keys", json=said).json())

    def _send(
        self, path: str, pictures: Sequence[Picture], options: Mapping[str, Any], headers: dict[str, str], wait: float
    ) -> Job:
        parts = [("files", http.part(number, picture)) for number, picture in enumerate(pictures, 1)]
        fields = [(name, (None, http.text(value))) for name, value in options.items() if value is not None]
        answer = self._request("POST", path, files=[*fields, *parts], headers=headers, timeout=self._timeout + wait)
        return Job.read(answer.json())


def _at(job_id: str) -> str:
    return f"/v1/jobs/{http.word(job_id)}"


def _public(pem: str) -> str:
    """Return the text if it is a single public key or certificate in PEM; raises InferqError otherwise."""
    kind = "(?:RSA )?PUBLIC KEY|CERTIFICATE"
    if re.fullmatch(rf"-----BEGIN ({kind})-----[\w+/=\s]+-----END \1-----", pem.strip(), re.ASCII):
        return pem
    if "PRIVATE" in pem.upper():  # a private key must not leave this machine
        raise InferqError("This is a private key, keep it; for its public one: openssl pkey -in FILE -pubout")
    raise InferqError("This is no public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")


__all__ = ["DEFAULT_URL", "Client", "Picture"]
