"""The load: drivers over raw keep-alive connections, as a helper process (`python -m bench.load`).

drive     closed loop: callers that send the next picture once the last is answered
arrive    open loop: pictures that arrive at a rate, whatever the service answers
burst     every caller sends one picture, all at once
one_job   one archive
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import material, measure, subprocess_rpc
from bench.connection import PATIENCE, Connection
from bench.ways import Refused, Way, peer, submit_then_poll, synchronous, unfollowed, wires

_ERRORS = (Refused, OSError, EOFError, TimeoutError, ValueError)
Question = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """The service that is loaded."""

    url: str
    key: str
    send: Way
    pictures: list[bytes]

    def connection(self) -> Connection:
        """Return a new connection."""
        return Connection(self.url, self.key)


@dataclass
class Tally:
    """The answered requests and the errors of one run."""

    ended: list[tuple[float, float]] = field(default_factory=list)
    """(when, milliseconds) of each request that was answered."""
    jobs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def send(self, target: Target, connection: Connection, picture: bytes) -> bool:
        """Send a picture and count it; returns False after an error, with the connection closed."""
        began = time.perf_counter()
        try:
            self.jobs.append(await target.send(connection, picture))
        except _ERRORS as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            connection.close()
            return False
        ended = time.perf_counter()
        self.ended.append((ended, (ended - began) * 1000))
        return True

    def report(self, question: Question) -> dict[str, Any]:
        """Return errors, and the ids of the answered jobs if the question asks for them."""
        more = {"jobs": self.jobs} if question.get("ids") else {}
        return {"errors": len(self.errors), "first_errors": self.errors[:3], **more}


async def drive(target: Target, question: Question) -> dict[str, Any]:
    """Run `concurrency` callers in a closed loop for `warmup` plus `seconds`, with `pause` between their requests.

    Only requests that end after the warm-up are counted, and CPU is measured over the same period.
    """
    tally, turns = Tally(), itertools.cycle(target.pictures)
    start = time.perf_counter() + question["warmup"]
    until = start + question["seconds"]

    async def caller() -> None:
        connection = target.connection()
        while time.perf_counter() < until:
            if not await tally.send(target, connection, next(turns)):
                await asyncio.sleep(0.2)
            if pause := question.get("pause"):
                await asyncio.sleep(pause)
        connection.close()

    callers = asyncio.gather(*(caller() for _ in range(question["concurrency"])))
    await asyncio.sleep(question["warmup"])
    meter = Meter(question)
    await asyncio.sleep(until - time.perf_counter())
    used = meter.read(question["seconds"])
    await callers
    counted = [latency for when, latency in tally.ended if start <= when <= until]
    return {"latencies": counted} | used | tally.report(question)


async def arrive(target: Target, question: Question) -> dict[str, Any]:
    """Send pictures that arrive at random, `rate` a second on average, for `warmup` plus `seconds`.

    Requests that were answered after the warm-up are counted, by status. Those that wait at the end are given up.
    """
    turns = itertools.cycle(target.pictures)
    idle: list[Connection] = []
    answers: list[tuple[float, float, int, bool]] = []
    tasks: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    start, until = began + question["warmup"], began + question["warmup"] + question["seconds"]

    async def one(arrived: float) -> None:
        connection = idle.pop() if idle else target.connection()
        status = 200
        try:
            await target.send(connection, next(turns))
        except Refused as refused:
            status = refused.status
        except _ERRORS:
            connection.close()
            status = 0
        ended = time.perf_counter()
        answers.append((ended, (ended - arrived) * 1000, status, b"\r\nretry-after:" in connection.head))
        idle.append(connection)

    meter, arrived = Meter(question), 0
    for arrival in arrivals(question["rate"], began, until):
        if (early := arrival - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        if arrival >= start:
            meter, arrived = (meter, arrived + 1) if arrived else (Meter(question), 1)
        tasks.add(task := asyncio.create_task(one(arrival)))
        task.add_done_callback(tasks.discard)
    used = meter.read(question["seconds"])
    waiting = len(tasks)
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in idle:
        connection.close()
    counted = [answer[1:] for answer in answers if start <= answer[0] <= until]
    return {"answers": counted, "arrived": arrived, "waiting": waiting, "errors": 0, "first_errors": []} | used


def arrivals(rate: float, began: float, until: float) -> Iterator[float]:
    """Yield the times of arrival of a Poisson process, the same at every run."""
    clock = random.Random(material.SEED)
    when = began + clock.expovariate(rate)
    while when < until:
        yield when
        when += clock.expovariate(rate)


async def burst(target: Target, question: Question) -> dict[str, Any]:
    """Let `concurrency` callers send one picture each, all at once, and wait for every answer."""
    tally, turns, meter = Tally(), itertools.cycle(target.pictures), Meter(question)
    connections = [target.connection() for _ in range(question["concurrency"])]
    began = time.perf_counter()
    await asyncio.gather(*(tally.send(target, connection, next(turns)) for connection in connections))
    seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    latencies = [latency for _, latency in tally.ended]
    return {"latencies": latencies} | meter.read(seconds) | tally.report(question)


async def one_job(target: Target, question: Question) -> dict[str, Any]:
    """Measure one archive, from the first byte sent to the last picture answered."""
    tally, meter, connection = Tally(), Meter(question), target.connection()
    began = time.perf_counter()
    await tally.send(target, connection, Path(question["archive"]).read_bytes())
    seconds = time.perf_counter() - began
    connection.close()
    return {"latencies": [seconds * 1000]} | meter.read(seconds) | tally.report(question)


Driver = Callable[[Target, Question], Coroutine[Any, Any, dict[str, Any]]]


class Meter:
    """CPU of the parts and of the machine since its creation."""

    def __init__(self, question: Question) -> None:
        self._pids = question["pids"]
        self._before, self._machine = measure.cpu_seconds(self._pids), measure.machine_seconds()

    def read(self, seconds: float) -> dict[str, Any]:
        """Return `seconds`, the CPU seconds of each part, and the cores that others used."""
        after = measure.cpu_seconds(self._pids)
        cpu = {part: after[part] - self._before[part] for part in after}
        others = max(0.0, measure.machine_seconds() - self._machine - sum(cpu.values()))
        return {"seconds": seconds, "cpu": cpu, "others": others / seconds}


@lru_cache(maxsize=4)
def _pictures(folder: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.suffix in (".jpg", ".png")]


def main(url: str, model: str, folder: str) -> None:
    """Serve questions from the benchmark; each names a `way` of sending."""
    key = os.environ.get("INFERQ_KEY", "")  # not an argument, which `ps` would show

    def answer(question: dict[str, Any]) -> Any:
        name = question["way"]
        ways: dict[str, tuple[Driver, Way]] = {
            "synchronous": (drive, synchronous(model)),
            "submit, poll": (drive, submit_then_poll(model)),
            "arrive": (arrive, unfollowed(model, question.get("patience", PATIENCE))),
            "burst": (burst, synchronous(model)),
            "archive": (one_job, submit_then_poll(model, "")),
        }
        if name == "peer":
            ways[name] = (drive, peer(question["path"], question["body"]))
        driver, send = ways[name] if name in ways else (drive, wires(model)[name])
        target = Target(url, key, send, _pictures(question.get("folder", folder)))
        return asyncio.run(driver(target, question))

    subprocess_rpc.serve(answer)


if __name__ == "__main__":
    main(*sys.argv[1:4])
