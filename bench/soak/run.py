"""One soak in its order: what the service bears, then a third of it for the whole time, with samples beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench import material
from bench.models import wait_for_workers
from bench.service import Service, measure_own
from bench.soak.load import MODEL
from bench.soak.result import Kind, Soak
from bench.soak.sampling import Sampler
from bench.subprocess_rpc import Helper
from inferq.client import Client
from inferq.stack import stack

SHARE = 1 / 3
"""The part of the capacity that is used: the service is never behind, so that growth is a leak and no queue."""
EVERY = 10.0
"""Seconds between samples; less in a soak that would be over after a few of them."""
SAMPLES = 20


def soak(result: Soak, scratch: Path, say: Callable[[str], None]) -> Soak:
    """Start a stack in the folder, load it for the minutes of the result, fill the result in, and return it.

    Raises InferqError and KeyboardInterrupt.
    """
    folder = scratch / "material"
    material.pictures(folder, count=6)
    for digit in sorted(material.DIGITS.glob("*.png")):
        (folder / digit.name).write_bytes(digit.read_bytes())
    data = scratch / "data"
    options = stack.StackOptions(data, port=0, workers=result.workers, default_model=MODEL)
    say("starting the service")
    helpers: list[Helper] = []

    def measured(service: Service) -> Soak:
        with Client(service.url, service.key) as client:
            wait_for_workers(client, result.workers)
            # Before the first key exists, any key is as good as none, so that a wrong one would not be refused.
            key = client.keys.create("soak").key
        helper = Helper("bench.soak.load", service.url, str(folder), env={"INFERQ_KEY": key})
        helpers.append(helper)
        return _measure(result, service, helper, data / "inferq.db", say)

    def close() -> None:
        for helper in helpers:
            helper.close()

    try:
        return measure_own(options, measured, environment={"INFERQ_WEBHOOK_PRIVATE": "true"}, stopping=close)
    finally:
        close()


def _measure(result: Soak, service: Service, helper: Helper, database: Path, say: Callable[[str], None]) -> Soak:
    seconds = result.duration
    result.capacity = helper.ask(rate=0, seconds=min(20.0, max(2.0, seconds / 10)))["rate"]
    say(f"the service bears {result.capacity:.0f} mixed requests/s; a third of it for {result.minutes:g} minutes")
    sampler = Sampler(result, service.pids, service.redis_url, database)
    helper.begin(rate=result.capacity * SHARE, seconds=seconds)
    began, every = time.monotonic(), min(EVERY, seconds / SAMPLES)
    number = 0
    while (passed := time.monotonic() - began) < seconds:
        sampler.take(passed)
        number += 1
        time.sleep(max(0.0, began + number * every - time.monotonic()))
    answer = helper.answer()
    result.rate, result.callbacks = answer["rate"], answer["callbacks"]
    result.kinds = {name: Kind(**kind) for name, kind in answer["kinds"].items()}
    return result
