"""Tuning replaces the runtime of a busy model by a faster one, once that has proved to give the same answers.

    model is loaded ──> torch answers at once ──> 200 pictures later: converted, in a process of its own
         ──> same answers on the example set? ──> measured in turn with torch ──> the fastest one answers

What may differ is a matter of the precision. `exact`: OpenVINO in float32, within rounding. `fast`: bfloat16 too, and
JPEGs that are decoded to a smaller size, if the best labels stay and no score moves by more than 0.02; the second is
tried with the network that was chosen before. A model of which neither is true stays exact.

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
from functools import partial

import torch

from shared import errors
from shared.container import Container
from shared.domain import lock_names
from shared.domain.engines import EngineReport, converted_folder, converted_key, failure_key
from shared.domain.models import ModelVersion, ProblemType
from shared.services import engines, models, training_runs, trainings
from worker import conversions, engine_examples, openvino_network
from worker.cuda_trial import CudaTrial
from worker.engine import Loaded
from worker.openvino_conversion import CONVERTED
from worker.openvino_network import Examples, OpenVinoNetwork
from worker.training.pictures import read

log = logging.getLogger(__name__)

BUSY_PICTURES = 200
"""Pictures that a model must have run before it is converted: that costs seconds of a processor."""
_ROUNDS, _ROUND_SECONDS = 10, 0.05
"""How often, and for how long, each runtime is measured, in turn."""
_BETTER = 1.05
"""How many times faster than torch another runtime must be to be taken."""
_ENOUGH = 20
"""Test pictures of a training that suffice as an example set; with fewer it is made up."""
_NAME, _SCALED = "openvino", ", scaled decoding"


class Tuner:
    """The tuner of one worker process; it works on one model at a time, in a thread of its own."""

    def __init__(self, container: Container, make_room: Callable[[Loaded], None] = lambda model: None) -> None:
        """`make_room` is called after a model has grown by its second network."""
        self._container, self._make_room = container, make_room
        self._enabled = container.settings.engine == "auto" and openvino_network.is_available()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tuning")

    def consider(self, model: Loaded) -> None:
        """Tune a model when it is time; called after each batch."""
        if model.trial and model.tune_at == 0:
            model.tune_at = math.inf
            with suppress(RuntimeError):
                self._thread.submit(self._compile, model, model.trial)
        elif self._enabled and model.can_be_tuned and model.pictures >= model.tune_at:
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
            settings = self._container.settings
            report = choose_engine(model, stored, settings.torch_threads, settings.precision)
            if model.runtime != "torch":
                self._make_room(model)
            engines.store_report(self._container, version.id, report)
            log.info(
                "%s version %s runs with %s: %s pictures/s",
                version.name,
                version.version,
                report.chosen,
                dict(report.pictures_per_second),
            )
        except (errors.Unavailable, conversions.Interrupted) as error:
            model.tune_at = model.pictures + BUSY_PICTURES
            log.warning("tuning %s version %s: %s", version.name, version.version, error.message)
        except Exception as error:  # torch goes on answering
            if errors.is_disk_full(error):
                model.tune_at = model.pictures + BUSY_PICTURES
            log.exception("tuning %s version %s", version.name, version.version)

    def _compile(self, model: Loaded, trial: CudaTrial) -> None:
        """Let torch.compile try to make the network faster on its card, and store what was measured at load and now."""
        version, before = model.version, trial.network
        try:
            trial.compile()
            if trial.network and trial.network is not before:
                model.bytes += trial.network.bytes
                self._make_room(model)
            report = EngineReport(
                runtime=model.runtime,
                pictures_per_second=trial.rates,
                difference=trial.errors[trial.chosen].difference if trial.network else 0.0,
                processor=torch.cuda.get_device_name(model.device),
                threads=self._container.settings.torch_threads,
                library=f"torch {torch.__version__}",
                measured_at=time.time(),
                precision=self._container.settings.precision,
                chosen=trial.chosen,
                errors=trial.errors,
                pictures=trial.pictures,
                refused=trial.refused,
            )
            engines.store_report(self._container, version.id, report)
            log.info(
                "%s version %s: %s pictures/s, refused: %s", version.name, version.version, trial.rates, trial.refused
            )
        except Exception:  # the network that was there goes on answering
            log.exception("compiling %s version %s", version.name, version.version)

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
                pictures = example_pictures(container, version)
                converted = conversions.run(container, version, "worker.openvino_conversion", CONVERTED, pictures)
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


def example_pictures(container: Container, version: ModelVersion) -> list[bytes]:
    """Return test pictures of the training that made the version; none if there was no training, they are too few, or
    they were removed. The validation pictures may have been learned from."""
    if not version.training_id:
        return []
    try:
        training = trainings.get(container, version.tenant, version.training_id)
        splits = training_runs.get_splits(container, training)
        candidates = splits.test
        step = max(1, len(candidates) // engine_examples.COUNT)  # labels lie in order, so the first are of few of them
        found = [read(container.storage, each) for each in candidates[::step][: engine_examples.COUNT]]
    except errors.NotFound:
        return []
    return found if len(found) >= _ENOUGH else []


@torch.inference_mode()
def choose_engine(model: Loaded, stored: bytes, threads: int, precision: str) -> EngineReport:
    """Give the model the fastest network that keeps the contract of the precision, if one is faster than torch.

    `stored` is what a conversion stored. Returns what was measured.
    """
    candidates = {_NAME: OpenVinoNetwork(stored, threads)}
    if precision == "fast" and openvino_network.has_bfloat16():
        candidates[f"{_NAME} bfloat16"] = OpenVinoNetwork(stored, threads, "bfloat16")
    rates = measure(model, candidates)
    examples = Examples(stored, model.preprocessing)
    scores = torch.sigmoid if model.version.problem_type is ProblemType.MULTI_LABEL else partial(torch.softmax, dim=1)
    found = {name: candidate.errors(examples, scores) for name, candidate in candidates.items()}
    kept = [name for name, each in found.items() if each.are_exact or (name != _NAME and each.are_fast)]
    chosen = max(kept, key=rates.__getitem__, default="")
    serving = _NAME
    if chosen and is_worth_it(rates[chosen], rates["torch"]):
        serving, scaled = chosen, False
        if precision == "fast":
            found[chosen + _SCALED] = changed = candidates[chosen].errors(examples, scores, scaled=True)
            scaled = changed.are_fast
            serving += _SCALED if scaled else ""
        model.use(candidates[chosen], scaled=scaled)
    return EngineReport(
        runtime=model.runtime,
        pictures_per_second=rates,
        difference=found[serving].difference,
        processor=platform.processor() or platform.machine(),
        threads=threads,
        library=f"openvino {openvino_network.version()}",
        measured_at=time.time(),
        precision=precision,
        chosen=serving if model.runtime != "torch" else "torch",
        errors=found,
        pictures=len(examples),
    )


def is_worth_it(rate: float, torch_rate: float) -> bool:
    """Return True if another runtime is so much faster than torch that its memory is worth it."""
    return rate > _BETTER * torch_rate


@torch.inference_mode()
def measure(
    model: Loaded,
    candidates: Mapping[str, Callable[[torch.Tensor], object]],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return pictures per second of torch and the candidates, for batches as large as one piece of work, in turn.

    The best round of each counts: other load can only make a round slower. By the median of five rounds, a worker on a
    busy machine had stayed with torch for mobilenet_v2, which OpenVINO runs a fifth faster.
    """
    batch = model.trial_batch()
    runs: dict[str, Callable[[torch.Tensor], object]] = {"torch": model.run_with_torch, **candidates}
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
    return {name: round(max(found), 2) for name, found in rates.items()}
