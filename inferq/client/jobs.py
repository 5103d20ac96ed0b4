"""Jobs: submit pictures, wait for their answers, list, cancel, delete, retry and correct."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from inferq.client import http
from inferq.client.connection import Connection, read
from inferq.client.http import Picture
from inferq.errors import StillRunning
from shared.schemas.datasets import Example
from shared.schemas.jobs import Job, JobPage, JobSummary

_CANCELLED = 200
"""The status of the answer when a job was cancelled instead of erased."""
_LONGEST_POLL = 20.0
"""Seconds of one long poll; proxies cut connections that are silent for 30 or 60."""


class Options(TypedDict, total=False):
    """The options of `POST /v1/jobs`: the fields of `JobOptions` in shared/schemas/jobs.py, which describes them."""

    model: str | None
    version: str | None
    task: Literal["classify", "features"]
    top_k: int | None
    function_to_apply: Literal["softmax", "sigmoid", "none"]
    exif: bool
    explain: bool | None
    explain_label: str | None
    priority: Literal["high", "normal", "low"]
    deadline: str | float
    webhook: str | Mapping[str, str]
    metadata: Mapping[str, Any]


class Jobs:
    """The jobs of the key's tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, *pictures: Picture, idempotency_key: str = "", **options: Unpack[Options]) -> Job:
        """Send pictures (or one archive) as a job and return at once.

        The options are those of `Options`. Raises OSError when a file cannot be read.
        """
        headers = {"Prefer": "respond-async"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        return self._send("/v1/jobs", pictures, options, headers, 0.0)

    def classify(self, *pictures: Picture, timeout: float = 60.0, **options: Unpack[Options]) -> Job:
        """Send pictures and return the ended job; raises StillRunning after `timeout` seconds. Options as in submit."""
        began = time.monotonic()
        wait = min(timeout, _LONGEST_POLL)
        job = self._send("/v1/classify", pictures, options, http.prefer(wait), wait)
        return job if job.terminal else self._wait(job.id, timeout, began)

    def search(
        self, picture: Picture, *, dataset: int | str | None = None, images: bool = False, limit: int = 10,
        model: str | None = None, version: str | None = None, timeout: float = 60.0,
    ) -> Job:  # fmt: skip
        """Send a picture and return the ended job, whose prediction has the most similar pictures in `similar`.

        Searched are the examples of `dataset`, the stored images if `images` is true, and without both all pictures.
        `similar.searched` is less than `similar.of` while features are still being computed: search again then. Raises
        StillRunning after `timeout` seconds.
        """
        began = time.monotonic()
        wait = min(timeout, _LONGEST_POLL)
        fields = {"dataset": dataset, "images": images, "limit": limit, "model": model, "version": version}
        job = self._send("/v1/images/search", [picture], fields, http.prefer(wait), wait)
        return job if job.terminal else self._wait(job.id, timeout, began)

    def get(self, job_id: str, *, wait: float = 0.0) -> Job:
        """Return the job in its current state, after waiting up to `wait` seconds for its end."""
        return read(Job, self._connection.poll(_path(job_id), wait))

    def wait(self, job: JobSummary | str, *, timeout: float = 60.0) -> Job:
        """Long-poll until the job has ended; raises StillRunning after `timeout` seconds."""
        return self._wait(job if isinstance(job, str) else job.id, timeout, time.monotonic())

    def list(self, *, status: str = "", model: str = "", limit: int = 50) -> list[JobSummary]:
        """Return the newest jobs, at most `limit`, from as many pages as needed."""
        query = {"status": status, "model": model}
        return self._connection.entries("/v1/jobs", JobPage, lambda page: page.jobs, query, limit)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        return read(Job, self._connection.request("POST", f"{_path(job_id)}/cancel"))

    def delete(self, job_id: str) -> None:
        """Erase a job with its pictures and answers; one that has not ended is cancelled first."""
        if self._connection.request("DELETE", _path(job_id)).status_code == _CANCELLED:
            self._connection.request("DELETE", _path(job_id))

    def retry(self, job_id: str) -> Job:
        """Run the pictures of an ended job again that have failed; all of them if it expired before it ran."""
        return read(Job, self._connection.request("POST", f"{_path(job_id)}/retry"))

    def results(self, job_id: str, *, format: str = "ndjson") -> Iterator[str]:
        """Yield the lines of a job's results as they arrive, `ndjson` or `csv`; suited to archives of thousands."""
        with self._connection.stream(f"{_path(job_id)}/results", params={"format": format}) as response:
            yield from response.iter_lines()

    def explanation(self, job_id: str, position: int = 0) -> bytes:
        """Return the PNG of picture `position` of a job with `explain` (0 is the first): the picture under a heat map
        of the evidence for its label."""
        return self._connection.get(f"{_path(job_id)}/explanations/{position}").content

    def correct(self, job_id: str, label: str, position: int = 0, *, dataset: int | str | None = None) -> Example:
        """Send the right label of picture `position` of a job (0 is the first); the next training learns from it.

        Returns the example that it becomes, in `dataset`, or by default in the dataset that the job's model was trained
        on.
        """
        correction = {"label": label, "position": position} | ({} if dataset is None else {"dataset": dataset})
        return read(Example, self._connection.request("POST", f"{_path(job_id)}/feedback", json=correction))

    def _wait(self, job_id: str, timeout: float, began: float) -> Job:
        end = began + timeout
        while True:
            asked = time.monotonic()
            response = self._connection.poll(_path(job_id), min(_LONGEST_POLL, max(0.0, end - asked)))
            job = read(Job, response)
            if job.terminal:
                return job
            if time.monotonic() >= end:
                state = f"job {job_id} is {job.status} after {timeout:g} s"
                raise StillRunning(f"{state}; wait for it with: inferq jobs wait {job_id}")
            if time.monotonic() - asked < 0.1:  # the server refused to wait, because too many requests wait
                time.sleep(min(http.retry_after(response, 0.5), max(0.0, end - time.monotonic())))

    def _send(
        self, path: str, pictures: Sequence[Picture], options: Mapping[str, Any], headers: dict[str, str], wait: float
    ) -> Job:
        parts = [("files", http.part(number, picture)) for number, picture in enumerate(pictures, 1)]
        fields = [(name, (None, http.text(value))) for name, value in options.items() if value is not None]
        timeout = self._connection.timeout + wait
        return read(
            Job,
            self._connection.request("POST", path, files=[*fields, *parts], headers=headers, timeout=timeout),
        )


def _path(job_id: str) -> str:
    return f"/v1/jobs/{http.word(job_id)}"
