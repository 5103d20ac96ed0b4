"""Jobs: submit pictures, wait for their answers, list, cancel, delete, retry and correct."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Unpack

from inferq.client import http
from inferq.client.blocking import Blocking, blocking, iterating, making
from inferq.client.connection import LONGEST_PAUSE, Connection, read, read_text
from inferq.client.map_sources import Source
from inferq.client.mapping import CONCURRENCY, AsyncMap, Map, MapProgress, MapSettings
from inferq.client.pictures import Picture
from inferq.client.submission import Options, submit
from inferq.errors import BadAnswer, StillRunning, Unreachable
from shared.schemas.datasets import Example
from shared.schemas.job_pictures import JobPicturePage
from shared.schemas.jobs import (
    INCOMPLETE,
    CutResults,
    Job,
    JobPage,
    JobSummary,
    ListedJob,
    Prediction,
    StreamedPrediction,
)

_CANCELLED = 200
"""The status of the answer when a job was cancelled instead of erased."""
_LONGEST_POLL = 20.0
"""Seconds of one long poll; proxies cut connections that are silent for 30 or 60."""


class AsyncJobs:
    """The jobs of the key's tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def submit(self, *pictures: Picture, idempotency_key: str = "", **options: Unpack[Options]) -> Job:
        """Send pictures (or one archive) as a job and return at once.

        The server fetches those that are URLs. The options are those of `Options`. Without an `idempotency_key` the
        request has one of its own, so that it can be repeated. Raises OSError when a file cannot be read, InferqError
        for what is no picture.
        """
        return await submit(self._connection, "/v1/jobs", pictures, options, key=idempotency_key)

    async def classify(self, *pictures: Picture, timeout: float = 60.0, **options: Unpack[Options]) -> Job:
        """Send pictures and return the ended job; raises StillRunning after `timeout` seconds. Options as in submit."""
        return await self._classify("/v1/classify", pictures, options, timeout)

    async def search(
        self, picture: Picture, *, dataset: int | str | None = None, images: bool = False, limit: int = 10,
        model: str | None = None, version: str | None = None, timeout: float = 60.0,
    ) -> Job:  # fmt: skip
        """Send a picture and return the ended job, whose prediction has the most similar pictures in `similar`.

        Searched are the examples of `dataset`, the stored images if `images` is true, and without both all pictures.
        `similar.searched` is less than `similar.of` while features are still being computed: search again then. Raises
        StillRunning after `timeout` seconds.
        """
        fields = {"dataset": dataset, "images": images, "limit": limit, "model": model, "version": version}
        return await self._classify("/v1/images/search", [picture], fields, timeout)

    async def get(self, job_id: str, *, wait: float = 0.0) -> Job:
        """Return the job in its current state, after waiting up to `wait` seconds for its end."""
        return read(Job, await self._connection.poll(_path(job_id), wait))

    async def wait(self, job: JobSummary | str, *, timeout: float = 60.0) -> Job:
        """Long-poll until the job has ended; raises StillRunning after `timeout` seconds."""
        return await self._wait(job if isinstance(job, str) else job.id, timeout, time.monotonic())

    async def stream(self, job: JobSummary | str) -> AsyncIterator[Job]:
        """Yield the job now and each time it has changed, until it has ended.

        Outages of the server of up to five minutes are tolerated.
        """
        job_id = job if isinstance(job, str) else job.id
        async for change in self._connection.changes(_path(job_id), Job, lambda job: job.terminal):
            yield change

    def map(
        self, pictures: Iterable[Picture | Source], *, concurrency: int = CONCURRENCY,
        progress: Callable[[MapProgress], object] | None = None, timeout: float = math.inf,
        skip: Container[tuple[str, str]] = (), when_not_ready: Callable[[], object] | None = None,
        **options: Unpack[Options],
    ) -> AsyncMap:  # fmt: skip
        """Classify any number of pictures, sent as several jobs, `concurrency` at the same time.

        Iterated over, it sends them and yields their answers, in the order of the pictures. A generator is read only as
        far ahead as jobs are sent: the memory needed does not grow with the number of pictures. A picture that cannot
        be used has an error in its answer, and does not end the others.

        `progress` is called with a MapProgress before the answers of each job are yielded. Pictures whose (name,
        SHA-256) is in `skip` are left out. `when_not_ready` is called if the model is not ready, and returns when it
        is; without it, that refusal is raised. Options as in submit. Raises StillRunning after `timeout` seconds, and
        what concerns all pictures, such as NotFound for the model.
        """
        settings = MapSettings(concurrency, progress, timeout, skip, when_not_ready)
        return AsyncMap(self._connection, self, pictures, options, settings)

    async def list(
        self, *, status: str = "", model: str = "", wire: str = "", text: str = "", since: str | float = "",
        until: str | float = "", limit: int = 50,
    ) -> list[ListedJob]:  # fmt: skip
        """Return the newest jobs, at most `limit`, from as many pages as needed.

        `text` is part of the name of the first picture, or of the id. `since` and `until` bound when they were created,
        in RFC 3339 or Unix seconds; the end is not included.
        """
        query = {"status": status, "model": model, "wire": wire, "text": text, "since": str(since), "until": str(until)}
        return await self._connection.entries("/v1/jobs", JobPage, lambda page: page.jobs, query, limit)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        return read(Job, await self._connection.request("POST", f"{_path(job_id)}/cancel"))

    async def delete(self, job_id: str) -> None:
        """Erase a job with its pictures and answers; one that has not ended is cancelled first."""
        if (await self._connection.request("DELETE", _path(job_id))).status_code == _CANCELLED:
            await self._connection.request("DELETE", _path(job_id))

    async def retry(self, job_id: str) -> Job:
        """Run the pictures of an ended job again that have failed; all of them if it expired before it ran."""
        return read(Job, await self._connection.request("POST", f"{_path(job_id)}/retry"))

    async def results(self, job_id: str, *, format: str = "ndjson") -> AsyncIterator[str]:
        """Yield the lines of a job's results as they arrive, `ndjson` or `csv`; suited to archives of thousands."""
        path = f"{_path(job_id)}/results"
        async with self._connection.stream(path, params={"format": format}) as response:
            async for line in self._connection.runtime.lines(response):
                yield line

    async def predictions(self, job: Job) -> AsyncIterator[Prediction]:
        """Yield all predictions of an ended job; raises Unreachable if the server cannot read all of them now."""
        if job.progress.total <= len(job.predictions):
            for prediction in job.predictions:
                yield prediction
            return
        async for line in self.results(job.id):
            yield _prediction(line)

    async def pictures(self, job_id: str, *, failed: bool = False, limit: int = 1000) -> Sequence[StreamedPrediction]:
        """Return the pictures of a job with their outcomes so far, at most `limit`, or only those that have failed."""
        query = {"failed": "true"} if failed else {}
        path = f"{_path(job_id)}/pictures"
        return await self._connection.entries(path, JobPicturePage, lambda page: page.pictures, query, limit)

    async def picture(self, job_id: str, position: int = 0) -> bytes:
        """Return the bytes of picture `position` of a job (0 is the first), as they were sent."""
        return (await self._connection.get(f"{_path(job_id)}/pictures/{position}")).content

    async def thumbnail(self, job_id: str, position: int = 0, *, side: int = 320) -> bytes:
        """Return picture `position` of a job (0 is the first) as a JPEG whose longer side has `side` pixels at most;
        empty if it is damaged or too large to be made small."""
        path = f"{_path(job_id)}/pictures/{position}/thumbnail?side={side}"
        return (await self._connection.get(path)).content

    async def explanation(self, job_id: str, position: int = 0) -> bytes:
        """Return the PNG of picture `position` of a job with `explain` (0 is the first): the picture under a heat map
        of the evidence for its label."""
        return (await self._connection.get(f"{_path(job_id)}/explanations/{position}")).content

    async def correct(
        self, job_id: str, label: str | Sequence[str], position: int = 0, *, dataset: int | str | None = None
    ) -> Example:
        """Send the right label of picture `position` of a job (0 is the first); the next training learns from it.

        For a multi-label dataset `label` is a list of all labels that the picture shows, empty for none. Returns the
        example that it becomes, in `dataset`, or by default in the dataset that the job's model was trained on.
        """
        right = {"label": label} if isinstance(label, str) else {"labels": list(label)}
        correction = right | {"position": position} | ({} if dataset is None else {"dataset": dataset})
        return read(Example, await self._connection.request("POST", f"{_path(job_id)}/feedback", json=correction))

    async def _wait(self, job_id: str, timeout: float, began: float) -> Job:
        end = began + timeout
        while True:
            asked = time.monotonic()
            response = await self._connection.poll(_path(job_id), min(_LONGEST_POLL, max(0.0, end - asked)))
            job = read(Job, response)
            if job.terminal:
                return job
            if time.monotonic() >= end:
                state = f"job {job_id} is {job.status} after {timeout:g} s"
                raise StillRunning(f"{state}; wait for it with: inferq jobs wait {job_id}")
            if time.monotonic() - asked < 0.1:  # the server refused to wait, because too many requests wait
                pause = http.retry_after(response)
                left = max(0.0, end - time.monotonic())
                await self._connection.runtime.sleep(min(0.5 if pause is None else pause, LONGEST_PAUSE, left))

    async def _classify(
        self, path: str, pictures: Sequence[Picture], options: Mapping[str, Any], timeout: float
    ) -> Job:
        began = time.monotonic()
        wait = min(timeout, _LONGEST_POLL)
        job = await submit(self._connection, path, pictures, options, headers=http.prefer(wait), wait=wait)
        return job if job.terminal else await self._wait(job.id, timeout, began)


class Jobs(Blocking[AsyncJobs]):
    """The jobs of the key's tenant."""

    submit = blocking(AsyncJobs.submit)
    classify = blocking(AsyncJobs.classify)
    search = blocking(AsyncJobs.search)
    get = blocking(AsyncJobs.get)
    wait = blocking(AsyncJobs.wait)
    stream = iterating(AsyncJobs.stream)
    map = making(AsyncJobs.map, Map)
    list = blocking(AsyncJobs.list)
    cancel = blocking(AsyncJobs.cancel)
    delete = blocking(AsyncJobs.delete)
    retry = blocking(AsyncJobs.retry)
    results = iterating(AsyncJobs.results)
    predictions = iterating(AsyncJobs.predictions)
    pictures = blocking(AsyncJobs.pictures)
    picture = blocking(AsyncJobs.picture)
    thumbnail = blocking(AsyncJobs.thumbnail)
    explanation = blocking(AsyncJobs.explanation)
    correct = blocking(AsyncJobs.correct)


def _prediction(line: str) -> StreamedPrediction:
    """Return the prediction in a line of results; raises Unreachable for the line that ends them early, BadAnswer."""
    try:
        return read_text(StreamedPrediction, line)
    except BadAnswer:
        with contextlib.suppress(BadAnswer):
            cut = read_text(CutResults, line).error
            if cut.code == INCOMPLETE:
                raise Unreachable(cut.message) from None
        raise


def _path(job_id: str) -> str:
    return f"/v1/jobs/{http.word(job_id)}"
