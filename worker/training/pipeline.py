"""The pipeline takes a dataset version to a model version: features, head, fine-tuning, calibration, check, test,
commit.

    pictures ──> frozen base ──> features, stored ──> linear head ──> fine-tuned, if it helps ──┐
    pictures ──> a small network, if there is no base ──────────────────────────────────────────┴──> calibrated
         ──> weights, checked ──> test pictures ──> evidence, plots, comparison with the default ──> one commit

Another trainer can resume at each stage. The test uses the network as it will be served, loaded as a worker loads it.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared import errors
from shared.container import Container, Storage
from shared.domain.datasets import DatasetExample
from shared.domain.models import ModelState, ModelVersion, ProblemType
from shared.domain.splits import Splits
from shared.domain.trainings import Training, plot_key
from shared.services import comparison_runs, datasets, models, training_runs
from worker import families, weights
from worker.drift_reference import of_training
from worker.engine import Engine, Loaded
from worker.model_check import store_examined
from worker.training import calibration, multi_label_evidence, plots, rejection_rule, thresholds, truths
from worker.training.checkpoint_store import CheckpointStore
from worker.training.compare import compare
from worker.training.evidence import evidence, evidence_of_folds, evidence_of_suspects, machine
from worker.training.material import OutputLabels
from worker.training.outcome import TrainedNetwork, Unseen
from worker.training.pictures import Missing, read
from worker.training.progress import TrainingProgress
from worker.training.rejection_rule import Chosen
from worker.training.run import TrainingRun
from worker.training.stages import SMALL, from_base, from_scratch
from worker.training.thresholds import Correction

log = logging.getLogger(__name__)


def train(container: Container, run: TrainingRun, engine: Engine) -> None:
    """Run a training, and end it as DONE with a new version.

    Raises TrainingEnded if it was cancelled, Stopped if this trainer must stop, FileNotFoundError, kinds of
    InferqError.
    """
    training, progress = run.training, run.progress
    progress.report(0.0, "reading the dataset")
    splits = training_runs.get_splits(container, training)
    labels = OutputLabels.of(splits)
    base = _load_base(container, training, engine)
    if base:
        trained = from_base(container.storage, run, base, splits, labels)
    else:
        trained = from_scratch(container.storage, run, splits, labels, engine.device)
    correction, chosen = _calibrate(trained, labels)
    with tempfile.TemporaryDirectory(prefix="inferq-train-") as folder:
        version = _store_version(container, training, trained, labels, chosen, base, Path(folder))
    try:
        model = engine.load(version)
        began = time.monotonic()
        logits = _run_test_pictures(container.storage, progress, model, splits.test)
        run.checkpoints.add_seconds("testing", began)
        tested = Unseen(splits.test, logits, labels.truths(splits.test))
        measured = _measure(trained, tested, version, correction)
        measured |= _describe_training(container, training, run.checkpoints, trained, splits, engine)
        began = time.monotonic()
        judged, measured["rejection"], distances = _choose_rejection(
            container, run, trained, model, splits.test, tested.truths, correction.temperature
        )
        version = replace(model.version, rejection=None if isinstance(judged, str) else judged.rule)
        unseen = replace(trained.unseen, logits=correction(trained.unseen.logits))
        reference = of_training(version, logits, distances, unseen, judged, container.now())
        run.checkpoints.add_seconds("rejection", began)
        began = time.monotonic()
        report = _compare_with_default(container, training, progress, engine, model)
        run.checkpoints.add_seconds("comparison", began)
        measured["seconds"] = run.checkpoints.seconds | {
            "total": round(container.now() - (training.started_at or 0.0), 3)
        }
        for name, data in plots.render(measured).items():
            container.storage.write(plot_key(training.id, name), data)
        progress.report(0.99, "registering the version")
        training_runs.finish(container, training, version, measured, report, reference)
    except BaseException:
        training_runs.abandon(container, training.id)
        raise
    finally:
        engine.forget(version.id)  # it was loaded without its version number, which the commit assigns


def _load_base(container: Container, training: Training, engine: Engine) -> Loaded | None:
    if not training.base_id:
        return None
    base = models.find_version_by_id(container, training.base_id)
    if base is None:
        raise errors.NotFound(f"The base {training.base} has been removed; choose another one.")
    try:
        return engine.load(base)
    except FileNotFoundError:
        raise Missing(f"The weights of the base {training.base} are gone; choose another one.", base.weights) from None


def _calibrate(trained: TrainedNetwork, labels: OutputLabels) -> tuple[Correction, tuple[float, ...]]:
    """Fit a correction on pictures that were not learned from, put it into the head, and return it; and the threshold
    of each label of a multi-label dataset."""
    unseen, head = trained.unseen, families.penultimate(trained.network)
    chosen: tuple[float, ...] = ()
    if labels.is_multi_label:
        counting = truths.balance(labels.truths(trained.learned), len(labels.names))
        correction = thresholds.correct(unseen.logits, unseen.truths, counting, biased=head.bias is not None)
        chosen = thresholds.choose(correction(unseen.logits), unseen.truths)
    else:
        temperature = calibration.temperature(unseen.logits, unseen.truths)
        correction = Correction(torch.zeros(len(labels.names)), temperature)
    _correct_logits(head, correction)
    return correction, chosen


def _measure(trained: TrainedNetwork, tested: Unseen, version: ModelVersion, correction: Correction) -> dict[str, Any]:
    """Return the part of the evidence that is measured on the test pictures, with logits as they are served, and on
    those that were held out of the training."""
    labels = version.labels
    if version.problem_type is ProblemType.MULTI_LABEL:
        return {
            **multi_label_evidence.evidence(
                tested.logits, tested.truths, labels, tested.examples, correction, version.thresholds
            ),
            "cross_validation": multi_label_evidence.evidence_of_folds(trained.cross_validation),
            # The correction and the thresholds suit these answers, and after fine-tuning not those of the linear heads.
            **multi_label_evidence.evidence_of_suspects(
                labels, tested, trained.unseen, correction, version.thresholds, trained.cross_validation
            ),
        }
    before = replace(tested, logits=correction.undone(tested.logits))
    return {
        **evidence(before.logits, before.truths, labels, before.examples, correction.temperature),
        "cross_validation": evidence_of_folds(trained.cross_validation),
        **evidence_of_suspects(labels, before, trained.cross_validation or trained.unseen),
    }


def _store_version(
    container: Container,
    training: Training,
    trained: TrainedNetwork,
    labels: OutputLabels,
    chosen: tuple[float, ...],
    base: Loaded | None,
    folder: Path,
) -> ModelVersion:
    """Store the weights and return the version, not registered yet.

    Its id is that of the training, so that a repeated attempt gives the same id.
    """
    path = folder / "trained.safetensors"
    weights.write(trained.network.state_dict(), path)
    version = ModelVersion(
        id=training.id,
        tenant=training.tenant,
        name=training.name,
        version="",
        family=base.version.family if base else SMALL,
        architecture=trained.architecture,
        config=base.version.config if base else {},
        state=ModelState.CHECKING,
        created_at=container.now(),
        labels=labels.names,
        preprocessing=trained.preprocessing,
        source="",
        max_batch=base.version.max_batch if base else 0,
        training_id=training.id,
        problem_type=ProblemType.MULTI_LABEL if labels.is_multi_label else ProblemType.SINGLE_LABEL,
        thresholds=chosen,
    )
    return store_examined(container.storage, version, path, folder)


def _run_test_pictures(
    storage: Storage, progress: TrainingProgress, model: Loaded, test: Sequence[DatasetExample]
) -> torch.Tensor:
    """Return the logits (N, C) of the test pictures, from the network as it will be served."""
    rows = []
    for start in range(0, len(test), model.max_batch):
        batch = test[start : start + model.max_batch]
        rows.append(model.forward([model.prepare(read(storage, example)) for example in batch]))
        progress.report(0.92, f"testing: {start + len(batch)} of {len(test)} pictures")
    return torch.cat(rows)


def _choose_rejection(
    container: Container,
    run: TrainingRun,
    trained: TrainedNetwork,
    model: Loaded,
    test: Sequence[DatasetExample],
    truths: torch.Tensor,
    temperature: float,
) -> tuple[Chosen | str, dict[str, Any] | None, torch.Tensor | None]:
    """Return (the rejection rule, or why there is none; its evidence, None if no rule is asked for; the distances (N,)
    of the test pictures, None without a rule)."""
    parameters, storage = run.training.parameters, container.storage
    if (precision := parameters.reject_below_precision) is None:
        return "no rule was asked for", None, None

    def on_progress(message: str) -> None:
        run.progress.report(0.95, message)

    chosen = rejection_rule.choose(
        storage, model, trained, temperature, precision, parameters.unknown_label, on_progress
    )
    foreign = training_runs.list_foreign(container, run.training)
    found = rejection_rule.measure(chosen, storage, model, test, truths, foreign, precision, on_progress)
    return chosen, *found


def _describe_training(
    container: Container,
    training: Training,
    checkpoints: CheckpointStore,
    trained: TrainedNetwork,
    splits: Splits,
    engine: Engine,
) -> dict[str, Any]:
    """Return the part of the evidence that is not measured on the test pictures."""
    dataset = datasets.find(container, training.tenant, training.dataset_id)
    return {
        "method": trained.method,
        "note": trained.note,
        "train_accuracy": trained.train_accuracy,
        "train_loss": trained.train_loss,
        "validation_accuracy": trained.validation_accuracy,
        "epochs": len(checkpoints.curve),
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        "curve": list(checkpoints.curve),
        "examples": {
            "training": len(splits.training), "validation": len(splits.validation), "test": len(splits.test),
        },
        "near_duplicates": {"together": splits.near_duplicates, "across": splits.across},
        "dataset": {
            "id": training.dataset_id, "name": dataset.name if dataset else "", "version": training.dataset_version,
        },
        "base": training.base,
        "parameters": vars(training.parameters),
        "machine": machine(engine.device),
    }  # fmt: skip


def _compare_with_default(
    container: Container, training: Training, progress: TrainingProgress, engine: Engine, candidate: Loaded
) -> dict[str, Any] | None:
    """Return the comparison with the model's default version; None if there is no default or no picture suits both."""
    material = comparison_runs.find_default_material(container, training, candidate.version)
    if material is None:
        return None
    default, pictures = material
    try:
        baseline = engine.load(default)
    except (errors.BadRequest, FileNotFoundError) as error:  # training it again may repair it
        log.warning("%s %s, the default, cannot be compared with: %s", default.name, default.version, error)
        return None
    return compare(
        container.storage,
        candidate,
        baseline,
        *pictures,
        lambda done: progress.report(0.96, "comparing with the default"),
    )


def _correct_logits(head: nn.Module, correction: Correction) -> None:
    """Correct the logits in the head, so that the scores of every wire are calibrated."""
    with torch.no_grad():
        if isinstance(head.bias, torch.Tensor):
            head.bias.sub_(correction.shift)
        for parameter in head.parameters():
            parameter.div_(correction.temperature)
