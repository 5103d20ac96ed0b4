"""The pipeline takes a dataset version to a model version: features, head, fine-tuning, calibration, check, test,
commit.

    pictures ──> frozen base ──> features, stored ──> linear head ──> fine-tuned, if it helps ──┐
    pictures ──> a small network, if there is no base ──────────────────────────────────────────┴──> temperature
         ──> weights, checked ──> test pictures ──> evidence, plots, comparison with the default ──> one commit

Another trainer can resume at each stage. The test uses the network as it will be served, loaded as a worker loads it.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared import errors
from shared.domain.datasets import DatasetExample
from shared.domain.models import ModelState, ModelVersion
from shared.domain.splits import Splits
from shared.domain.trainings import plot_key
from shared.services import comparisons, datasets, models, training_runs
from worker import families, optimise, weights
from worker.engine import Engine, Loaded
from worker.model_check import prove
from worker.training import calibration, plots
from worker.training.compare import compare
from worker.training.evidence import evidence, machine
from worker.training.pictures import read
from worker.training.stages import TrainedNetwork, batches, from_base, from_scratch, labels_of
from worker.training.work import Work

log = logging.getLogger(__name__)


def train(work: Work, engine: Engine) -> None:
    """Run a training, and end it as DONE with a new version.

    Raises TrainingEnded if it was cancelled, Stopped if this trainer must stop, FileNotFoundError, kinds of
    InferqError.
    """
    container, training = work.container, work.training
    work.tell(0.0, "reading the dataset")
    dealt = training_runs.dealt(container, training)
    labels = {one.label_id: one.label for one in sorted((*dealt.training, *dealt.test), key=lambda one: one.label_id)}
    numbers = {label_id: number for number, label_id in enumerate(labels)}
    base = _base(work, engine)
    made = from_base(work, base, dealt, numbers) if base else from_scratch(work, dealt, numbers, engine.device)
    temperature = _calibrate(work, made, dealt.validation, numbers)
    with tempfile.TemporaryDirectory(prefix="inferq-train-") as folder:
        version = _proven(work, made, tuple(labels.values()), base.version if base else None, Path(folder))
    try:
        model = engine.load(version)
        tested = time.monotonic()
        logits = _answers(work, model, dealt.test)
        work.timed("testing", tested)
        found = evidence(logits * temperature, labels_of(dealt.test, numbers), version.labels, dealt.test, temperature)
        found |= _facts(work, made, dealt, engine)
        report = _compared(work, engine, model)
        found["seconds"] = work.seconds | {"total": round(container.now() - (training.started_at or 0.0), 3)}
        for name, data in plots.render(found).items():
            container.storage.write(plot_key(training.id, name), data)
        work.tell(0.99, "registering the version")
        training_runs.finish(container, training, version, found, report)
    except BaseException:
        training_runs.abandon(container, training.id)
        raise
    finally:
        engine.forget(version.id)  # it was loaded without its version number, which the commit assigns


def _base(work: Work, engine: Engine) -> Loaded | None:
    if not work.training.base_id:
        return None
    base = models.find_version_by_id(work.container, work.training.base_id)
    if base is None:
        raise errors.NotFound(f"The base {work.training.base} has been removed; choose another one.")
    try:
        return engine.load(base)
    except FileNotFoundError:
        raise errors.NotFound(f"The weights of the base {work.training.base} are gone; choose another one.") from None


def _calibrate(
    work: Work, made: TrainedNetwork, validation: Sequence[DatasetExample], numbers: dict[int, int]
) -> float:
    """Fit the temperature on the validation pictures, divide the head by it, and return it."""
    if not validation:
        return 1.0
    logits = made.logits
    if logits is None:
        rows = []
        for batch in batches(work, validation, made.preprocessing):
            with optimise.ALONE, torch.inference_mode():
                rows.append(made.network(batch))
            work.tell(0.9, "calibrating")
        logits = torch.cat(rows)
    found = calibration.temperature(logits, labels_of(validation, numbers))
    _cool(made.network, found)
    return found


def _proven(
    work: Work, made: TrainedNetwork, labels: tuple[str, ...], base: ModelVersion | None, folder: Path
) -> ModelVersion:
    """Store the weights and return the version, not registered yet.

    Its id is that of the training, so that a repeated attempt gives the same id.
    """
    training = work.training
    path = folder / "trained.safetensors"
    weights.write(made.network.state_dict(), path)
    version = ModelVersion(
        id=training.id,
        tenant=training.tenant,
        name=training.name,
        version="",
        family="",
        architecture=made.architecture,
        state=ModelState.CHECKING,
        created_at=work.container.now(),
        labels=labels,
        preprocessing=made.preprocessing,
        source="",
        max_batch=base.max_batch if base else 0,
        training_id=training.id,
    )
    return prove(work.container.storage, version, path, folder)


def _answers(work: Work, model: Loaded, test: Sequence[DatasetExample]) -> torch.Tensor:
    """Return the logits (N, C) of the test pictures, from the network as it will be served."""
    rows = []
    for start in range(0, len(test), model.max_batch):
        some = test[start : start + model.max_batch]
        storage = work.container.storage
        rows.append(model.forward([model.prepare(read(storage, one)) for one in some]))
        work.tell(0.92, f"testing: {start + len(some)} of {len(test)} pictures")
    return torch.cat(rows)


def _facts(work: Work, made: TrainedNetwork, dealt: Splits, engine: Engine) -> dict[str, Any]:
    """Return the part of the evidence that is not measured on the test pictures."""
    training = work.training
    dataset = datasets.find(work.container, training.tenant, training.dataset_id)
    return {
        "method": made.method,
        "note": made.note,
        "train_accuracy": made.train_accuracy,
        "train_loss": made.train_loss,
        "validation_accuracy": made.validation_accuracy,
        "epochs": len(work.curve),
        "best_epoch": made.best_epoch,
        "stopped": made.stopped,
        "curve": list(work.curve),
        "examples": {
            "training": len(dealt.training), "validation": len(dealt.validation), "test": len(dealt.test),
        },
        "dataset": {
            "id": training.dataset_id, "name": dataset.name if dataset else "", "version": training.dataset_version,
        },
        "base": training.base,
        "parameters": vars(training.parameters),
        "machine": machine(engine.device),
    }  # fmt: skip


def _compared(work: Work, engine: Engine, candidate: Loaded) -> dict[str, Any] | None:
    """Return the comparison with the model's default version; None if there is no default or no picture suits both."""
    training, version = work.training, candidate.version
    material = comparisons.find_default_material(work.container, training, version)
    if material is None:
        return None
    default, pictures = material
    try:
        baseline = engine.load(default)
    except (errors.BadRequest, FileNotFoundError) as error:  # training it again may repair it
        log.warning("%s %s, the default, cannot be compared with: %s", default.name, default.version, error)
        return None
    return compare(
        work.container.storage,
        candidate,
        baseline,
        *pictures,
        lambda done: work.tell(0.96, "comparing with the default"),
    )


def _cool(network: nn.Module, temperature: float) -> None:
    """Divide the logits by the temperature, in the head, so that the scores of every wire are calibrated."""
    head = families.penultimate(network)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.div_(temperature)
