"""The loads that only inferq is put to: more than it can answer, clients that all wait, and simulated devices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy

from bench import measure
from bench.comparison.contestants import Running, loader
from bench.comparison.result import DEVICES, INFERQ, Comparison, Overload, Waiting
from bench.comparison.rounds import Effort, order, sample
from bench.devices import CHANNELS, CLASSES, RATE
from bench.material import DIGITS
from bench.models import Model, register, wait_for_workers, warm_up
from bench.result import Percentiles
from bench.service import Service, measure_own
from inferq.client import Client
from inferq.stack import stack

T = TypeVar("T")
FACTOR = 3.0
"""Arrivals in an overload, as a multiple of the peak rate."""
PEAK_CALLERS = 64
CLIENTS = 1000
SLOW_RATE, DEVICE_RATE = 25.0, 100.0
"""Pictures/s of a simulated device that clients wait for, and of those whose number is varied."""
NUMBERS = (1, 2, 4, 8)
"""How many devices there are."""
_PER_DEVICE = 32
"""Callers for each device: two batches."""
_LOOK = 0.2
"""Seconds between two looks at the memory of the API."""


class Loads:
    """Starts inferq for each load; `say` is called with a line for each."""

    def __init__(self, scratch: Path, workers: int, effort: Effort, say: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._workers = workers
        self._effort = effort
        self._say = say

    def overload(self, model: Model) -> Overload:
        """Measure the peak in a closed loop, then let three times as many pictures arrive."""
        self._say(f"overload: {FACTOR:g} times the peak rate")

        def measured(service: Service, helpers: ExitStack) -> Overload:
            with Client(service.url, service.key, timeout=120.0) as client:
                wait_for_workers(client, self._workers)
                name = register(client, model)
                warm_up(client, name, model.pictures)
            load = helpers.enter_context(loader(service.url, name, model.pictures, service.key))
            running = Running(load, {"way": "synchronous"}, service.pids)
            seconds, warmup = self._effort.seconds, self._effort.warmup
            closed = running.ask(concurrency=PEAK_CALLERS, seconds=seconds, warmup=warmup)
            peak = len(closed["latencies"]) / seconds
            budget = 2 * Percentiles.of(closed["latencies"]).p99
            # The open loop is measured once its queues have filled, which takes as long as the budget.
            warmup += budget / 1000
            arrived = running.ask(
                way="arrive", rate=FACTOR * peak, patience=budget / 1000, seconds=2 * seconds, warmup=warmup
            )
            return overloaded(peak, budget, arrived)

        found = self._measure("inferq", self._workers, measured)
        self._say(f"  {found.good:.0f}/s in time of {found.peak:.0f}/s: {found.share:.2f}")
        return found

    def waiting(self) -> Waiting:
        """Let a thousand clients send a picture at once to a slow model, and wait for all answers."""
        self._say(f"{CLIENTS:,} waiting clients")

        def measured(service: Service, helpers: ExitStack) -> Waiting:
            running = self._running_card(service, helpers)
            api = service.pids.get("api", ())
            idle = _resident(api)
            with ThreadPoolExecutor(1) as beside:
                answer = beside.submit(running.ask, way="burst", concurrency=CLIENTS)
                most = idle
                while not answer.done():
                    most = max(most, _resident(api))
                    time.sleep(_LOOK)
            burst = answer.result()
            first = next(iter(burst["first_errors"]), "")
            return Waiting(CLIENTS, burst["seconds"], burst["errors"], first, most, idle)

        found = self._measure_cards(self._workers, SLOW_RATE, measured)
        self._say(f"  {found.errors} errors, API {found.api_bytes / 1e6:.0f} MB")
        return found

    def devices(self, result: Comparison) -> None:
        """Measure 1, 2, 4 and 8 simulated devices in rounds, and add them to the result."""
        result.device_rate = DEVICE_RATE
        for number in range(self._effort.rounds):
            for devices in order(NUMBERS, number):
                callers = _PER_DEVICE * devices

                def measured(service: Service, helpers: ExitStack, callers: int = callers) -> Any:
                    running = self._running_card(service, helpers)
                    effort = self._effort
                    return sample(
                        running.ask(concurrency=callers, seconds=effort.seconds, warmup=effort.warmup), running
                    )

                found = self._measure_cards(devices, DEVICE_RATE, measured)
                result.add(DEVICES, INFERQ, str(devices), callers, found)
                self._say(f"{devices} simulated devices: {found.rate:.0f}/s")

    def _running_card(self, service: Service, helpers: ExitStack) -> Running:
        """Register the simulated device's network, wait until every worker has loaded it, and return the service."""
        weights, labels = self._scratch / "card.safetensors", self._scratch / "card.txt"
        state = {"3.weight": np.zeros((CLASSES, CHANNELS), np.float32), "3.bias": np.zeros(CLASSES, np.float32)}
        safetensors.numpy.save_file(state, weights)
        labels.write_text("".join(f"class {number}\n" for number in range(CLASSES)))
        with Client(service.url, service.key, timeout=120.0) as client:
            wait_for_workers(client, len(service.pids["worker"]))
            name = register(client, Model("card", weights, labels, DIGITS))
        load = helpers.enter_context(loader(service.url, name, DIGITS, service.key))
        running = Running(load, {"way": "synchronous"}, service.pids)
        running.ask(concurrency=_PER_DEVICE * len(service.pids["worker"]), seconds=2.0, warmup=0.0)  # all load it
        return running

    def _measure_cards(self, workers: int, rate: float, measured: Callable[[Service, ExitStack], T]) -> T:
        # Another runtime would leave the sleep out: it keeps what a network computes.
        environment = {RATE: str(rate), "INFERQ_ENGINE": "torch"}
        return self._measure(f"cards-{workers}-{rate:g}", workers, measured, environment, "bench.devices")

    def _measure(
        self,
        folder: str,
        workers: int,
        measured: Callable[[Service, ExitStack], T],
        environment: Mapping[str, str] | None = None,
        worker: str = "worker",
    ) -> T:
        options = stack.StackOptions(
            self._scratch / folder, port=0, workers=workers, trainer=False, default_model="digits"
        )
        with ExitStack() as helpers:
            return measure_own(
                options, lambda service: measured(service, helpers), environment=environment, worker=worker,
                stopping=helpers.close,
            )  # fmt: skip


def overloaded(peak: float, budget: float, arrived: Mapping[str, Any]) -> Overload:
    """Return what an open loop has measured beside the peak (pictures/s) and the budget (milliseconds)."""
    answers: list[tuple[float, int, bool]] = [tuple(answer) for answer in arrived["answers"]]
    seconds = arrived["seconds"]
    latencies = [milliseconds for milliseconds, status, _ in answers if status == 200]
    refused = [guided for _, status, guided in answers if status not in (200, 202)]
    return Overload(
        factor=FACTOR,
        peak=peak,
        budget_ms=budget,
        offered=arrived["arrived"] / seconds,
        answered=len(latencies) / seconds,
        good=sum(milliseconds <= budget for milliseconds in latencies) / seconds,
        p99_ms=Percentiles.of(latencies).p99 if latencies else None,
        statuses={str(status): count for status, count in sorted(Counter(status for _, status, _ in answers).items())},
        guided=sum(refused) / len(refused) if refused else None,
        waiting=arrived["waiting"],
    )


def _resident(pids: Sequence[int]) -> int:
    return sum(int(str(row["rss"])) for row in measure.memory(pids))
