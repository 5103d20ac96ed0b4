"""The stages of a training: a head on stored features, the last stages of the base, or a small network from scratch."""

from __future__ import annotations

import time

import torch
from torch import nn

from shared import errors
from shared.container import Storage
from shared.domain.datasets import Split
from shared.domain.splits import Splits
from worker import families, weights
from worker.engine import Loaded
from worker.training import finetune, heads, truths
from worker.training.cancellation import OutOfTime
from worker.training.cross_validation import STRENGTHS, cross_validate
from worker.training.features import features
from worker.training.fine_tuning import Trial, fine_tune
from worker.training.head import HeadTraining, fit
from worker.training.material import OutputLabels, Part, labelled_pictures, replace_head, run_network
from worker.training.outcome import TrainedNetwork, Unseen
from worker.training.run import TrainingRun
from worker.training.stage_epochs import HEAD, NETWORK, measured_in, run_epochs

SMALL = "small"
"""The architecture that is trained from scratch."""


def from_base(storage: Storage, run: TrainingRun, base: Loaded, splits: Splits, labels: OutputLabels) -> TrainedNetwork:
    """Train a linear head on the features of a frozen base; then its last stages, if that is asked for or may help.

    Few pictures are cross-validated, and then the final head learns from the validation pictures as well, unless the
    dataset declares them.
    """
    network = _load_plain(storage, base)
    training, validation = _compute_features(storage, run, base, splits, labels)
    biased, classes = heads.has_bias(network), len(labels.names)
    began = time.monotonic()
    known = training if _is_declared(validation) else training + validation
    crossed = cross_validate(
        known.features, known.labels, classes, biased=biased, groups=known.groups, check=run.check_before_learning
    )
    strength = crossed.strength if crossed else STRENGTHS[0]
    head = HeadTraining(
        (training.features, training.labels), (validation.features, validation.labels), classes,
        run.training.parameters, biased=biased, strength=strength, device=str(base.device),
        check=run.check_before_learning,
    )  # fmt: skip
    stopped = run_epochs(run, HEAD, head, (0.5, 0.6))
    weight, bias = head.result()
    held = Unseen(validation.examples, validation.features @ weight.T + bias, validation.labels)
    by_folds = None
    if crossed is None or head.best_epoch:
        learned = training
    else:
        learned, by_folds = known, Unseen(known.choose(crossed.rows).examples, crossed.logits, crossed.truths)
        if learned is not training:
            weight, bias = fit(learned.features, learned.labels, classes, biased=biased, strength=strength,
                               check=run.progress.refresh)  # fmt: skip
    replace_head(storage, run.progress, network, (weight, bias), learned.examples, base.preprocessing,
                 may_raise=not labels.is_multi_label)  # fmt: skip
    run.checkpoints.add_seconds(HEAD, began)
    frozen = TrainedNetwork(
        network, base.version.architecture, base.preprocessing, "head",
        f"A linear classifier on what {run.training.base} sees; the base itself stayed as it was.",
        stopped, head.best_epoch, *_measure(learned.features @ weight.T + bias, learned.labels),
        held.right / len(held.truths) if validation.examples else None, by_folds or held, learned.examples, by_folds,
    )  # fmt: skip

    def trial() -> Trial:
        return Trial.of(training, validation, learned, classes, biased=biased, strength=strength,
                        check=run.progress.refresh)  # fmt: skip

    return fine_tune(storage, run, frozen, trial, base.device)


def from_scratch(
    storage: Storage, run: TrainingRun, splits: Splits, labels: OutputLabels, device: torch.device
) -> TrainedNetwork:
    """Train all of a small network."""
    preprocessing = families.find(SMALL).preprocessing(SMALL)
    training, validation = (
        Part(part, torch.zeros(len(part), 0), labels.truths(part)) for part in (splits.training, splits.validation)
    )
    shown, judging = (labelled_pictures(storage, part, preprocessing) for part in (training, validation))
    began = time.monotonic()
    learner = finetune.from_scratch(
        SMALL, len(labels.names), shown, judging, run.training.parameters, flip=run.training.parameters.flip,
        device=str(device), check=run.check_before_learning,
    )  # fmt: skip
    stopped = run_epochs(run, NETWORK, learner, (0.0, 0.9))
    run.checkpoints.add_seconds(NETWORK, began)
    if not learner.best_epoch:
        if stopped == "time":
            raise OutOfTime
        raise errors.Conflict(
            "No epoch was better than guessing on the validation pictures; allow more epochs, or another learning_rate."
        )
    network = learner.result()
    held = Unseen(
        validation.examples, run_network(storage, run.progress, network, validation.examples, preprocessing),
        validation.labels,
    )  # fmt: skip
    note = "A small network trained from nothing, not from ImageNet's weights: with few photos it is less often right."
    best = measured_in(run.checkpoints.curve, NETWORK, learner.best_epoch)
    return TrainedNetwork(
        network, SMALL, preprocessing, "scratch", note, stopped, learner.best_epoch, *best, held, splits.training
    )


def _is_declared(validation: Part) -> bool:
    """Return True if the dataset itself says which pictures validate; they are then never learned from."""
    return any(example.split is Split.VALIDATION for example in validation.examples)


def _compute_features(
    storage: Storage, run: TrainingRun, base: Loaded, splits: Splits, labels: OutputLabels
) -> tuple[Part, Part]:
    """Return the training and the validation pictures with their features."""
    began = time.monotonic()
    both = (*splits.training, *splits.validation)

    def on_progress(done: int) -> None:
        run.check_before_learning()
        run.progress.report(0.5 * min(1.0, done / len(both)), f"looking at the pictures: {done} of {len(both)}")

    rows = features(storage, base, both, on_progress)
    run.checkpoints.add_seconds("features", began)
    shown, count = labels.truths(both), len(splits.training)
    return (
        Part(splits.training, rows[:count], shown[:count]),
        Part(splits.validation, rows[count:], shown[count:]),
    )


def _load_plain(storage: Storage, base: Loaded) -> nn.Module:
    """Return the base's network as it was before optimisation, which can be trained and stored."""
    version = base.version
    family = families.load(version.family)
    data = storage.read(version.weights)
    return weights.restore(family, version.architecture, base.preprocessing, data, version.config)


def _measure(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return (loss, accuracy), with equal weight for every picture."""
    return truths.losses(logits, labels).mean().item(), truths.right(logits, labels).mean().item()
