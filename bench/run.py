"""One run in its order: limit, idle latency, loads with the limit in between, memory, training.

Machines are shared and noisy. A limit of another hour cannot be compared, so it is measured before, between and after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import measure
from bench.result import AGAIN, ALONE, BESIDE, FIRST, Limit, Percentiles, Result, Row
from bench.service import Service
from bench.subprocess_rpc import Helper
from bench.training_load import NoTrainer, TrainingLoad
from bench.ways import wires
from inferq.client import Client
from shared.adapters.queue.pushes import Pushed
from shared.adapters.queue.queue import Queue
from shared.adapters.storage import Storage
from shared.domain.stream_entry import StreamEntry
from shared.settings import Settings

BATCHES = (1, 2, 4, 8, 16)
QUEUED = 100_000
WIRES_AT = 16
"""Callers at once on each of the other wires, and beside a training."""
SPACING = 1.5
"""Seconds between pictures, so that no worker polls any more; a worker polls for one second after its last batch."""
HEARTBEAT = 1.6
"""Seconds after which every worker has reported its counts again."""


@dataclass(frozen=True)
class Effort:
    """How long each measurement takes, and what it includes."""

    concurrencies: Sequence[int] = (1, 4, 16, 32, 64)
    seconds: float = 6.0
    warmup: float = 1.5
    limit_seconds: float = 2.0
    bells: int = 15
    archive: int = 1000
    trainings: bool = True
    """True to measure a second training as well, and the load without and with a training beside it."""


QUICK = Effort(concurrencies=(1, 16), seconds=3.0, warmup=1.0, limit_seconds=1.0, bells=4, archive=200, trainings=False)


class Run:
    """One run against one service; `say` is called with a line for each step."""

    def __init__(
        self,
        service: Service,
        model: str,
        effort: Effort,
        folder: Path,
        limits: Sequence[Helper],
        say: Callable[[str], None],
    ) -> None:
        """`model` is its name in the service."""
        self._service = service
        self._model = model
        self._effort = effort
        self._limits = limits
        self._say = say
        self._load = Helper("bench.load", service.url, model, str(folder), env={"INFERQ_KEY": service.key})
        self._archive_path = folder / "pictures.tar"
        self._own = {"client": [self._load.process.pid]}
        self._client = Client(service.url, service.key)
        self._training_load = TrainingLoad(self._client, model, {**service.pids, **self._own}, folder / "labelled.tar")

    def close(self) -> None:
        """Kill every helper process."""
        for helper in (self._load, *self._limits):
            helper.close()
        self._client.close()

    def all(self, result: Result) -> Result:
        """Run every measurement, fill the result in, and return it."""
        self._ask("synchronous", concurrency=32, warmup=0.0, seconds=2.0)  # every worker loads the model
        if self._limits:
            result.limit = self._first_limit()
        self._say("one picture at a time")
        result.idle = self._idle()
        for way in ("synchronous", "submit, poll"):
            result.rows += [self._saturated(way, concurrency) for concurrency in self._effort.concurrencies]
            self._limit_again(result)
        result.rows += [self._saturated(way, WIRES_AT) for way in wires(self._model)]
        self._limit_again(result)
        result.rows.append(self._archive())
        self._limit_again(result)
        result.api = measure.memory(self._service.pids.get("api", ()))
        if self._service.redis_url:
            self._say(f"{QUEUED:,} pictures on the queue")
            result.queued = queued(self._service.redis_url)
        self._train(result)
        return result

    # the limit

    def _first_limit(self) -> Limit:
        self._say("the limit: the same engine without queue and HTTP")
        one_picture = Percentiles.of(self._limits[0].ask(do="latencies", seconds=2 * self._effort.limit_seconds))
        by_batch = {batch: self._limit_run(batch)[0] for batch in BATCHES}
        best = max(by_batch, key=lambda batch: by_batch[batch])
        rate, cpu_ms, others = self._limit_run(best)
        return Limit(by_batch, best, [rate], one_picture, cpu_ms, [others])

    def _limit_again(self, result: Result) -> None:
        if limit := result.limit:
            again = self._limits[0].ask(do="latencies", seconds=self._effort.limit_seconds)
            # Of two medians the smaller was disturbed less by other processes; it makes `added` larger.
            one_picture = min(limit.one_picture, Percentiles.of(again), key=lambda percentiles: percentiles.p50)
            rate, cpu_ms, others = self._limit_run(limit.best_batch)
            runs, noise = [*limit.runs, rate], [*limit.others, others]
            result.limit = replace(limit, runs=runs, one_picture=one_picture, cpu_ms=cpu_ms, others=noise)

    def _limit_run(self, batch: int) -> tuple[float, float, float]:
        """Return (pictures/s of all processes at once, milliseconds of CPU per picture, cores used by others)."""
        began, machine = time.perf_counter(), measure.machine_seconds()
        for helper in self._limits:
            helper.begin(do="throughput", batch=batch, seconds=self._effort.limit_seconds)
        runs = [helper.answer() for helper in self._limits]
        pictures = sum(done for done, _, _ in runs)
        used = sum(cpu for _, _, cpu in runs)
        others = max(0.0, measure.machine_seconds() - machine - used) / (time.perf_counter() - began)
        return sum(done / passed for done, passed, _ in runs), 1000 * used / pictures, others

    # the service

    def _ask(self, way: str, **question: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._load.ask(way=way, pids={**self._service.pids, **self._own}, **question)
        if answer["first_errors"]:
            self._say(f"{answer['errors']} errors: {answer['first_errors'][0]}")
        return answer

    def _idle(self) -> dict[str, Percentiles]:
        seconds = self._effort.seconds
        warm = self._ask("synchronous", concurrency=1, warmup=1.0, seconds=seconds)
        bell = self._ask(
            "synchronous", concurrency=1, warmup=SPACING, seconds=self._effort.bells * SPACING, pause=SPACING
        )
        return {"warm": Percentiles.of(warm["latencies"]), "bell": Percentiles.of(bell["latencies"])}

    def _saturated(self, way: str, concurrency: int) -> Row:
        before = self._counts()
        effort = self._effort
        answer = self._ask(way, concurrency=concurrency, warmup=effort.warmup, seconds=effort.seconds)
        row = self._row(way, concurrency, len(answer["latencies"]), answer, before)
        row = replace(row, latency=Percentiles.of(answer["latencies"]) if answer["latencies"] else None)
        self._say(f"{way}, {concurrency} at once: {row.rate:.0f} pictures/s")
        return row

    def _archive(self) -> Row:
        before = self._counts()
        answer = self._ask("archive", archive=str(self._archive_path))
        row = self._row("one archive", 1, self._effort.archive, answer, before)
        self._say(f"one archive of {self._effort.archive}: {row.rate:.0f} pictures/s")
        return row

    # training

    def _train(self, result: Result) -> None:
        """Measure trainings; they come last, since a trainer keeps in memory what it has loaded."""
        with self._training_load as training_load:
            self._say("training the model on new labels")
            try:
                result.teaching.append(training_load.load())
            except NoTrainer as error:
                self._say(str(error))
                return
            for name in (FIRST, AGAIN) if self._effort.trainings else (FIRST,):
                result.teaching.append(step := training_load.train(name))
                self._say(f"{name}: {step.seconds:.1f} s")
            if self._effort.trainings:
                result.rows += self._beside(training_load)

    def _beside(self, training_load: TrainingLoad) -> list[Row]:
        alone = self._saturated("synchronous", WIRES_AT)
        with training_load.training() as running:
            beside = self._saturated("synchronous", WIRES_AT)
            if not running():
                self._say("the training ended too soon: its effect on other requests is not measured")
                return []
        return [replace(alone, way=ALONE), replace(beside, way=BESIDE)]

    def _row(self, way: str, concurrency: int, done: int, answer: dict[str, Any], before: tuple[int, int]) -> Row:
        seconds, cpu = answer["seconds"], answer["cpu"]
        return Row(
            way=way,
            concurrency=concurrency,
            rate=done / seconds,
            latency=None,
            batch=self._mean_batch(before),
            cpu_ms={part: 1000 * used / max(1, done) for part, used in cpu.items()},
            cpu_share={part: used / seconds for part, used in cpu.items()},
            others=answer["others"],
            errors=answer["errors"],
        )

    def _mean_batch(self, before: tuple[int, int]) -> float | None:
        time.sleep(HEARTBEAT)
        (pictures, batches), (pictures_before, batches_before) = self._counts(), before
        if batches == batches_before:
            return None
        return (pictures - pictures_before) / (batches - batches_before)

    def _counts(self) -> tuple[int, int]:
        """Return (pictures, batches) that the workers have run."""
        workers = self._client.workers.list().workers
        return sum(worker.pictures for worker in workers), sum(worker.batches for worker in workers)


def queued(redis_url: str) -> dict[str, float]:
    """Measure the Redis memory of QUEUED jobs of one picture, pushed by the queue's code to an unused database."""
    scratch = redis_url.rpartition("/")[0] + "/2"  # 0 has the streams, 1 the notifications of trainings
    queue = Queue(Settings(redis_url=scratch, prefix="bench:"))
    entries = [_entry(number) for number in range(QUEUED)]
    before, began = measure.redis_memory(scratch), time.perf_counter()
    try:
        queue.streams.push([Pushed(_id(0), "normal", "default", entries)])
        seconds = time.perf_counter() - began
        used = measure.redis_memory(scratch) - before
    finally:
        measure.redis(scratch, "FLUSHDB")
        queue.close()
    return {"pictures": QUEUED, "bytes": used, "seconds": seconds}


def _entry(number: int) -> StreamEntry:
    """Return an entry as long as a real one; each is of another job."""
    key = Storage.dated("jobs", _id(number), time.time())
    return StreamEntry(_id(number), 0, key, 0, 65_000, "classify", 5, "softmax", True)


def _id(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012x}"
