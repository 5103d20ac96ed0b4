"""Tuning replaces the runtime of a busy model by a faster one, once that has proved to give the same answers.

    model is loaded ──> torch answers at once ──> 200 pictures later: converted, in a process of its own
         ──> same answers as the plain network? ──> measured in turn with torch ──> the faster one answers

A model that another worker or an earlier run has converted is taken without the wait. What was measured is stored with
the version, and shown. A worker answers with torch whatever fails here.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median

import torch

from shared import errors
from shared.container import Container
from shared.domain import lock_names
from shared.domain.engines import EngineReport, converted_folder, converted_key, failure_key
from shared.services import engines, models
from worker import conversions, openvino_network
from worker.engine import Loaded
from worker.openvino_conversion import CONVERTED
from worker.openvino_network import OpenVinoNetwork, keeps_contract

log = logging.getLogger(__name__)

BUSY_PICTURES = 200
"""Pictures that a model must have run before it is converted: that costs seconds of a processor."""
_ROUNDS, _ROUND_SECONDS = 5, 0.08
"""How often, and for how long, each runtime is measured, in turn."""
_BETTER = 1.05
"""How many times faster than torch another runtime must be to be taken."""


class Tuner:
    """The tuner of one worker process; it works on one model at a time, in a thread of its own."""

    def __init__(self, container: Container, make_room: Callable[[Loaded], None] = lambda model: None) -> None:
        """`make_room` is called after a model has grown by its second network."""
        self._container, self._make_room = container, make_room
        self._enabled = container.settings.engine == "auto" and openvino_network.is_available()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tuning")

    def consider(self, model: Loaded) -> None:
        """Tune a model when it is time; called after each batch."""
        if self._enabled and model.can_be_tuned and model.pictures >= model.tune_at:
            model.tune_at = math.inf
            with suppress(RuntimeError):  # it is closed, because the worker stops
                self._thread.submit(self._tune, model)

    def close(self) -> None:
        """Begin nothing more; what is being done goes on until the process ends."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _tune(self, model: Loaded) -> None:
        version = model.version
        try:
            stored = self._converted(model)
            if stored is None:
                return
            candidate = OpenVinoNetwork(stored, self._container.settings.torch_threads)
            difference = candidate.difference()
            rates = measure(model, candidate)
            if keeps_contract(difference) and is_worth_it(rates):
                model.use(candidate)
                self._make_room(model)
            report = EngineReport(
                runtime=model.runtime,
                pictures_per_second=rates,
                difference=difference if math.isfinite(difference) else 1.0,
                processor=platform.processor() or platform.machine(),
                threads=self._container.settings.torch_threads,
                library=f"openvino {openvino_network.version()}",
                measured_at=time.time(),
            )
            engines.store_report(self._container, version.id, report)
            log.info("%s version %s runs with %s: %s pictures/s", version.name, version.version, report.runtime, rates)
        except (errors.Unavailable, conversions.Interrupted) as error:
            model.tune_at = model.pictures + BUSY_PICTURES
            log.warning("tuning %s version %s: %s", version.name, version.version, error.message)
        except Exception:  # torch goes on answering
            log.exception("tuning %s version %s", version.name, version.version)

    def _converted(self, model: Loaded) -> bytes | None:
        """Return the converted network; None if it cannot be converted, is not worth it yet, or is being converted."""
        container, version = self._container, model.version
        key = converted_key(version.id, openvino_network.version())
        failed = failure_key(version.id, openvino_network.version())
        found = container.storage.list(converted_folder(version.id))
        if key in found:
            return container.storage.read(key)
        if failed in found:
            return None
        if model.pictures < BUSY_PICTURES:
            model.tune_at = BUSY_PICTURES
            return None
        with container.queue.locks.renewed(lock_names.conversion(version.id)) as held:
            if not held:  # another worker converts it; after as many pictures it is looked for
                model.tune_at = model.pictures + BUSY_PICTURES
                return None
            try:
                converted = conversions.run(container, version, "worker.openvino_conversion", CONVERTED)
            except conversions.Interrupted:
                raise
            except errors.Conflict as error:
                self._store(version.id, failed, error.message.encode())
                return None
            self._store(version.id, key, converted)
            return converted

    def _store(self, version_id: str, key: str, data: bytes) -> None:
        """Store a result, unless the version was removed meanwhile: nothing else would ever delete it."""
        self._container.storage.write(key, data)
        if models.find_version_by_id(self._container, version_id) is None:
            self._container.storage.delete(key)


def is_worth_it(rates: Mapping[str, float]) -> bool:
    """Return True if OpenVINO is so much faster that its memory is worth it."""
    return rates["openvino"] > _BETTER * rates["torch"]


@torch.inference_mode()
def measure(
    model: Loaded, candidate: OpenVinoNetwork, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return pictures per second of both runtimes, for batches as large as one piece of work, in turn."""
    batch = model.trial_batch()
    runs: dict[str, Callable[[torch.Tensor], object]] = {"torch": model.run_with_torch, "openvino": candidate}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(batch)
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            began, done = clock(), 0
            while not done or clock() - began < _ROUND_SECONDS:
                run(batch)
                done += len(batch)
            rates[name].append(done / (clock() - began))
    return {name: round(median(found), 2) for name, found in rates.items()}
