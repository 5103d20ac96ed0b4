"""A map: any number of pictures, sent as several jobs, a few at a time, and answered in the order of their sources."""

from __future__ import annotations

import math
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Container,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
    Sized,
)
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from inferq.client.blocking import Blocking, iterating
from inferq.client.connection import LONGEST_PAUSE, OUTAGE, Connection, may_pass
from inferq.client.map_sources import BATCH_BYTES, File, Source, read, source_of
from inferq.client.pictures import Picture
from inferq.client.runtime import Task
from inferq.client.submission import submit
from inferq.errors import BadAnswer, Conflict, InferqError, InferqHTTPError, StillRunning, TooManyRequests, Unreachable
from shared.schemas.jobs import Job, PictureError, Prediction

T = TypeVar("T")

CONCURRENCY = 4
"""Jobs that run at the same time, by default."""
AHEAD = 2
"""Jobs that are sent or ended while the first of them is waited for, for each that may run at the same time."""
_MOST_BYTES = 4 * BATCH_BYTES
"""Bytes of pictures that are held at once, unless one file alone has more."""
_PAUSE = 2.0
"""Seconds after which a server that is away is asked again, if it does not say when."""
PICTURE_CODES = frozenset({
    "bad_picture", "not_a_picture", "broken_picture", "wrong_format", "picture_too_large", "bad_archive",
    "archive_not_flat", "archive_with_files", "too_many_files", "bad_url", "no_input", "too_large",
})  # fmt: skip
"""Codes of refusals for which single pictures are the reason: the others of the batch are sent again without them."""


class Jobs(Protocol):
    """What a map needs of `client.jobs`."""

    def stream(self, job: str) -> AsyncIterator[Job]: ...
    def predictions(self, job: Job) -> AsyncIterator[Prediction]: ...


@dataclass(frozen=True)
class Answered:
    """The answer for one picture; of an archive, for each of its pictures."""

    source: Source
    digest: str
    """SHA-256 of the file in hexadecimal; empty for a URL and for a file that cannot be read."""
    index: int
    """Which of the sources; 0 is the first."""
    job: Job | None
    """None if the picture was refused before a job was made of it."""
    position: int
    """Which picture of the job; 0 is the first."""
    prediction: Prediction
    """It has an `error` if the picture has no answer, for whatever reason."""
    is_member: bool = False
    """True for a picture of an archive."""


@dataclass(frozen=True)
class MapProgress:
    """How far a map is."""

    total: int
    """All pictures; of a generator, those that were read so far. Those of an archive count as one until it was sent."""
    ended: int
    """Pictures with an answer or an error, and those that were skipped."""
    failed: int
    skipped: int
    waits_for: str
    """Why nothing can be sent at this moment, such as a queue that is full; empty if it can."""
    unfinished: tuple[str, ...]
    """Ids of the jobs that were sent and have not ended."""


@dataclass(frozen=True)
class MapSettings:
    """The settings of a map; `map` of `client.jobs` describes them."""

    concurrency: int
    progress: Callable[[MapProgress], object] | None
    timeout: float
    skip: Container[tuple[str, str]]
    when_not_ready: Callable[[], object] | None


@dataclass(frozen=True)
class _Sent:
    """Files that were accepted as a job, or one that was refused."""

    files: Sequence[File]
    job: Job | None = None
    error: PictureError | None = None


class AsyncMap:
    """The answers of a map, as an iterable that sends and waits while it is iterated over, once.

    Requests are repeated while the server is away for up to five minutes, and as long as it asks for patience, with an
    idempotency key, so that no job is made twice. Jobs that were sent continue if the iteration ends early.
    """

    def __init__(
        self, connection: Connection, jobs: Jobs, sources: Iterable[Picture | Source], options: Mapping[str, Any],
        settings: MapSettings,
    ) -> None:  # fmt: skip
        """Send nothing yet; raises InferqError for a concurrency below 1, and for one picture in place of several."""
        if isinstance(sources, str | bytes | os.PathLike):  # whose letters would be taken for paths
            raise InferqError("a map takes several pictures, such as a list; for a single one, use classify")
        if settings.concurrency < 1:
            raise InferqError(f"concurrency is {settings.concurrency}; at least one job must run")
        self._connection = connection
        self._jobs = jobs
        self._sources = sources
        self._options = dict(options)
        self._settings = settings
        self._lock = threading.Lock()
        self._is_counted = isinstance(sources, Sized)
        self._total = len(sources) if isinstance(sources, Sized) else 0
        self._ended = self._failed = self._skipped = 0
        self._running: dict[str, int] = {}
        self._waits_for = ""
        self._answered_at = time.monotonic()
        self._is_reached = False
        self._tasks = connection.runtime.tasks(settings.concurrency)

    @property
    def progress(self) -> MapProgress:
        """How far it is now; may be read from any thread."""
        with self._lock:
            ended = self._ended + sum(self._running.values())
            jobs = tuple(self._running)
            return MapProgress(self._total, ended, self._failed, self._skipped, self._waits_for, jobs)

    async def __aiter__(self) -> AsyncIterator[Answered]:
        """Yield the answers in the order of the sources."""
        batches = self.batches()
        try:
            async for batch in batches:
                for answered in batch:
                    yield answered
        finally:
            await batches.aclose()

    async def send(self) -> AsyncIterator[Job | Answered]:
        """Send everything without waiting for answers: yields the accepted jobs, and the pictures that were refused."""
        async for batch in self._read_batches():
            for sent in await self._submit(batch):
                if sent.job:
                    yield sent.job
                else:
                    for answered in self._refused(sent):
                        yield answered

    async def batches(self) -> AsyncGenerator[list[Answered], None]:
        """Yield the answers as the iteration does, those together that were sent together; an archive is never
        divided."""
        end = time.monotonic() + self._settings.timeout
        most = AHEAD * self._settings.concurrency
        waiting: deque[tuple[Task[list[Answered]], int]] = deque()
        try:
            async for batch in self._read_batches():
                size = sum(len(file.data) for file in batch)
                while waiting and (len(waiting) >= most or _held(waiting) + size > _MOST_BYTES):
                    yield await self._first(waiting, end)
                waiting.append((self._tasks.start(partial(self._run, batch)), size))
            while waiting:
                yield await self._first(waiting, end)
        finally:
            await self._tasks.stop()

    async def _first(self, waiting: deque[tuple[Task[list[Answered]], int]], end: float) -> list[Answered]:
        """Return the answers of the first job that waits, as soon as they are there."""
        task, _ = waiting.popleft()
        try:
            answers = await task.result(None if math.isinf(end) else max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise self._still_running() from None
        if self._settings.progress:
            self._settings.progress(self.progress)
        return answers

    def _still_running(self) -> StillRunning:
        progress, timeout = self.progress, self._settings.timeout
        if len(progress.unfinished) == 1:
            (job,) = progress.unfinished
            return StillRunning(f"job {job} is not done after {timeout:g} s; wait for it with: inferq jobs wait {job}")
        return StillRunning(f"after {timeout:g} s, {progress.ended:,} of {progress.total:,} are done")

    async def _read_batches(self) -> AsyncIterator[list[File]]:
        """Yield the files to be sent, each batch as one job if the server takes it."""
        batch: list[File] = []
        for index, given in enumerate(self._sources):
            if not self._is_counted:
                with self._lock:
                    self._total += 1
            file = await self._connection.runtime.call(partial(read, source_of(given, index), index))
            if (file.source.file, file.digest) in self._settings.skip:
                self._count(skipped=1)
                continue
            if not file.fits(batch):
                yield batch
                batch = []
            batch.append(file)
        if batch:
            yield batch

    async def _run(self, batch: Sequence[File]) -> list[Answered]:
        """Send a batch and wait for its answers; a task."""
        return [answered for sent in await self._submit(batch) for answered in await self._wait(sent)]

    async def _submit(self, files: Sequence[File]) -> list[_Sent]:
        """Send files as one job; if the server refuses some of them, as several, with those by themselves."""
        if files[0].error:
            return [_Sent([file], error=file.error) for file in files]
        try:
            job = await self._submit_job(files)
        except InferqHTTPError as error:
            if error.code not in PICTURE_CODES and error.status != 413:
                raise
            if len(files) == 1:
                return [_Sent(files, error=PictureError(code=error.code, message=str(error)))]
            middle = len(files) // 2
            return [*await self._submit(files[:middle]), *await self._submit(files[middle:])]
        with self._lock:
            self._running[job.id] = 0
            self._total += job.progress.total - len(files) if files[0].kind == "archive" else 0
        return [_Sent(files, job)]

    async def _submit_job(self, files: Sequence[File]) -> Job:
        """Send files as one job, with the same idempotency key however often the request is repeated."""
        pictures = [file.picture for file in files]

        async def send() -> Job:
            key = uuid.uuid4().hex
            # Repeated here and not by the connection: `progress` tells what is waited for, and nothing is given up.
            once = partial(submit, self._connection, "/v1/jobs", pictures, self._options, key=key, is_repeated=False)
            return await self._patiently(once)

        try:
            return await send()
        except Conflict as error:
            if error.code != "conflict" or files[0].kind != "url":
                raise
            return await send()  # a URL had other bytes when the request was repeated: to the server that is another

    async def _wait(self, sent: _Sent) -> list[Answered]:
        if sent.job is None:
            return self._refused(sent)
        job = await self._patiently(partial(self._ended_job, sent.job.id))
        predictions = await self._patiently(partial(self._predictions, job))
        if not predictions:  # of a job that has failed as a whole
            predictions = [Prediction(name=file.name, status=job.status) for file in sent.files]
        first, is_archive = sent.files[0], sent.files[0].kind == "archive"
        files = [first] * len(predictions) if is_archive else sent.files
        if len(files) != len(predictions):
            raise BadAnswer(f"job {job.id} has {len(predictions)} answers for {len(files)} pictures")
        answers = [
            Answered(file.source, file.digest, file.index, job, position, _with_error(prediction, job), is_archive)
            for position, (file, prediction) in enumerate(zip(files, predictions, strict=False))
        ]
        with self._lock:
            del self._running[job.id]
        self._count(answers)
        return answers

    async def _ended_job(self, job_id: str) -> Job:
        async for job in self._jobs.stream(job_id):
            with self._lock:
                self._running[job_id] = job.progress.done + job.progress.failed
            if not job.terminal:
                self._tasks.check()
        return job

    async def _predictions(self, job: Job) -> list[Prediction]:
        return [prediction async for prediction in self._jobs.predictions(job)]

    def _refused(self, sent: _Sent) -> list[Answered]:
        answers = [
            Answered(file.source, file.digest, file.index, None, 0, Prediction(name=file.name, error=sent.error))
            for file in sent.files
        ]
        self._count(answers)
        return answers

    def _count(self, answers: Sequence[Answered] = (), skipped: int = 0) -> None:
        with self._lock:
            self._ended += len(answers) + skipped
            self._failed += sum(answered.prediction.error is not None for answered in answers)
            self._skipped += skipped

    async def _patiently(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the call returns, repeated while the server is away or asks for patience."""
        while True:
            try:
                answer = await call()
            except (Unreachable, InferqHTTPError) as error:
                not_ready = self._settings.when_not_ready
                if isinstance(error, InferqHTTPError) and error.code == "model_not_ready" and not_ready:
                    self._waits_for = str(error)
                    await self._connection.runtime.call(not_ready)
                    continue
                if (pause := self._pause(error)) is None:
                    raise
                self._waits_for = str(error)
                await self._tasks.pause(pause)
            else:
                self._answered_at, self._is_reached, self._waits_for = time.monotonic(), True, ""
                return answer

    def _pause(self, error: Unreachable | InferqHTTPError) -> float | None:
        """Return the seconds after which a request is repeated; None if it is not."""
        asked = error.retry_after if isinstance(error, InferqHTTPError) else None
        asked = None if asked is None else min(asked, LONGEST_PAUSE)
        if isinstance(error, TooManyRequests):  # the queue is full, or a limit a minute is met
            return asked
        if not may_pass(error) or time.monotonic() - self._answered_at > OUTAGE:
            return None
        if isinstance(error, InferqHTTPError) and error.status == 503:
            return asked
        return _PAUSE if self._is_reached else None


class Map(Blocking[AsyncMap]):
    """The answers of a map, as AsyncMap has them; the jobs are sent by threads."""

    @property
    def progress(self) -> MapProgress:
        """How far it is now; may be read from any thread."""
        return self._calls.progress

    __iter__ = iterating(AsyncMap.__aiter__)
    send = iterating(AsyncMap.send)
    batches = iterating(AsyncMap.batches)


def _held(waiting: Iterable[tuple[Task[list[Answered]], int]]) -> int:
    return sum(size for task, size in waiting if not task.done())


def _with_error(prediction: Prediction, job: Job) -> Prediction:
    """Return a prediction that has an error if it has no answer, as those of a job that was cancelled or expired."""
    if prediction.error or not prediction.status:
        return prediction
    message = job.error_description or f"The job was {job.status} before this picture ran."
    return Prediction(name=prediction.name, error=PictureError(code=job.error or job.status.lower(), message=message))
