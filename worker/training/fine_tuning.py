"""Fine-tuning in two steps: a trial on a part of the pictures is judged by the others; only a gain is repeated on all.

The other pictures have been learned from by neither the head nor the network of the trial, so that the gain is one for
pictures of the future. Ten validation pictures were rejected as judges: whether two of them change is chance.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from shared.container import Storage
from shared.domain import chance
from shared.domain.trainings import TrainingParameters
from worker.rejection import FeatureBank
from worker.training import finetune, truths
from worker.training.cross_validation import folds
from worker.training.gain import is_better
from worker.training.head import fit
from worker.training.material import Part, compute_features, labelled_pictures, replace_head, run_network
from worker.training.outcome import TrainedNetwork, Unseen
from worker.training.run import TrainingRun
from worker.training.stage_epochs import FINE_TUNING, REFIT, measured_in, run_epochs

_EPOCHS, _PATIENCE = 8, 3
_RATE = 1e-4
"""Maximum learning rate for fine-tuning."""
_AFFORDABLE = 1000
"""Maximum training pictures for which a CPU tries fine-tuning by default: with more, an epoch takes minutes."""
_FOLDS = 3
"""One of so many parts of the pictures judges the trial, and the others are learned from."""
_BEST_EPOCH, _LOGITS, _DISTANCES = "trial.best_epoch", "trial.logits", "trial.distances"
"""What the checkpoint of the second step keeps of the trial."""


@dataclass(frozen=True)
class Trial:
    """The pictures that a trial learns from, those that judge it, and the head with which it begins."""

    learned: Part
    judges: Part
    """May be empty."""
    everything: Part
    """What the result learns from, if the trial has shown a gain."""
    head: tuple[torch.Tensor, torch.Tensor]
    """Weight (C, D) and bias (C,) of a head that has learned from `learned` only."""

    @classmethod
    def of(
        cls, training: Part, validation: Part, known: Part, classes: int, *, biased: bool, strength: float,
        check: Callable[[], None] = lambda: None,
    ) -> Trial:  # fmt: skip
        """Return the trial for a head that has learned from `known`.

        If these are the training pictures only, the validation pictures are the judges; else a third of all is.
        `check` is called now and then, and may raise.
        """
        learned, judges = training, validation
        if len(known.labels) > len(training.labels):
            fold = folds(truths.strata(known.labels), known.groups, _FOLDS)
            learned, judges = (known.choose(chosen.nonzero()[:, 0]) for chosen in (fold != 0, fold == 0))
        head = fit(learned.features, learned.labels, classes, biased=biased, strength=strength, check=check)
        return cls(learned, judges, known, head)

    @property
    def before(self) -> torch.Tensor:
        """The logits (N, C) of the judges by that head."""
        weight, bias = self.head
        return self.judges.features @ weight.T + bias

    @property
    def wrong(self) -> int:
        """The number of judges that the head answers wrongly, in any label."""
        return int((truths.right(self.before, self.judges.labels) < 1).sum())


@dataclass(frozen=True)
class _Tried:
    """What a trial has found."""

    gained: bool
    best_epoch: int
    judged: Unseen
    """The answers to the judges by the best epoch."""


def fine_tune(
    storage: Storage, run: TrainingRun, frozen: TrainedNetwork, make_trial: Callable[[], Trial], device: torch.device
) -> TrainedNetwork:
    """Return `frozen` with its last stages trained as well, or unchanged with a note that says why it stays."""
    wish = run.training.parameters.fine_tune
    if wish == "never" or run.cancellation.out_of_time:
        return frozen
    began = time.monotonic()
    trial = make_trial()
    has_begun = run.checkpoints.stage in (FINE_TUNING, REFIT)  # perhaps by a trainer with a graphics card
    if wish == "auto" and not has_begun and (why := _why_not(trial, device)):
        return replace(frozen, note=f"{frozen.note} {why}")
    try:
        return _fine_tune(storage, run, frozen, trial, device)
    finally:
        run.checkpoints.add_seconds("fine_tuning", began)


def _why_not(trial: Trial, device: torch.device) -> str:
    """Return why fine-tuning is not tried by default, as a sentence; empty if it is."""
    if device.type != "cuda" and len(trial.everything.labels) > _AFFORDABLE:
        return f"Fine-tuning on more than {_AFFORDABLE:,} pictures takes long on a processor; it was not tried."
    if trial.wrong < chance.fewest_changes():
        count = len(trial.judges.labels)
        return (
            f"A head like it is wrong on {trial.wrong} of {count} pictures that it had not seen, too few to show that "
            "fine-tuning is better; it was not tried."
        )
    return ""


def _fine_tune(
    storage: Storage, run: TrainingRun, frozen: TrainedNetwork, trial: Trial, device: torch.device
) -> TrainedNetwork:
    kept = run.checkpoints.tensors
    wants_distances = run.training.parameters.reject_below_precision is not None
    if run.checkpoints.stage == REFIT and (_DISTANCES in kept or not wants_distances):  # without them: it is older
        answers = Unseen(trial.judges.examples, kept[_LOGITS], trial.judges.labels, kept.get(_DISTANCES))
        tried = _Tried(True, int(kept[_BEST_EPOCH]), answers)
    else:
        tried, alone = _try(storage, run, frozen, trial, device)
        if not tried.gained:
            why = ("The time was over before fine-tuning was better." if alone.stopped == "time"
                   else "Fine-tuning was tried, and did not help by more than chance.")  # fmt: skip
            return replace(frozen, note=f"{frozen.note} {why}")
        if len(trial.learned.labels) == len(trial.everything.labels):
            return alone
        if wants_distances:
            distances = _measure_distances(storage, run, alone, trial)
            tried = replace(tried, judged=replace(tried.judged, distances=distances))
    parameters = replace(_gentle(run), epochs=tried.best_epoch)
    nobody = trial.judges.choose(torch.zeros(0, dtype=torch.int64))
    learner = _learner(storage, run, frozen, copy.deepcopy(frozen.network), (trial.everything, nobody), parameters,
                       device)  # fmt: skip
    notes = {_BEST_EPOCH: torch.tensor(tried.best_epoch), _LOGITS: tried.judged.logits}
    if tried.judged.distances is not None:
        notes[_DISTANCES] = tried.judged.distances
    stopped = run_epochs(run, REFIT, learner, (0.75, 0.9), notes)
    if not learner.best_epoch:
        return replace(frozen, note=f"{frozen.note} The time was over before fine-tuning had seen all pictures.")
    return _outcome(run, frozen, tried.judged, learner, REFIT, stopped)


def _measure_distances(storage: Storage, run: TrainingRun, alone: TrainedNetwork, trial: Trial) -> torch.Tensor:
    """Return how far the judges (N,) are from what the trial has learned, in the features of its network."""
    learned, judges = (
        compute_features(storage, run.progress, alone.network, part.examples, alone.preprocessing)
        for part in (trial.learned, trial.judges)
    )
    return FeatureBank.build(learned, trial.learned.labels).distances(judges)


def _try(
    storage: Storage, run: TrainingRun, frozen: TrainedNetwork, trial: Trial, device: torch.device
) -> tuple[_Tried, TrainedNetwork]:
    """Return what the trial has found, and its network."""
    network = copy.deepcopy(frozen.network)
    replace_head(storage, run.progress, network, trial.head, trial.learned.examples, frozen.preprocessing,
                 may_raise=not truths.is_multi_label(trial.learned.labels))  # fmt: skip
    learner = _learner(storage, run, frozen, network, (trial.learned, trial.judges), _gentle(run), device)
    stopped = run_epochs(run, FINE_TUNING, learner, (0.6, 0.75))
    learned = learner.result()
    logits = run_network(storage, run.progress, learned, trial.judges.examples, frozen.preprocessing)
    if not trial.judges.examples:
        gained = bool(learner.best_epoch)
    elif run.training.parameters.fine_tune == "always":
        gained = learner.improved
    else:
        gained = bool(learner.best_epoch) and is_better(trial.before, logits, trial.judges.labels)
    judged = Unseen(trial.judges.examples, logits, trial.judges.labels)
    return _Tried(gained, learner.best_epoch, judged), _outcome(run, frozen, judged, learner, FINE_TUNING, stopped)


def _learner(
    storage: Storage, run: TrainingRun, frozen: TrainedNetwork, network: nn.Module, parts: tuple[Part, Part],
    parameters: TrainingParameters, device: torch.device,
) -> finetune.NetworkTraining:  # fmt: skip
    shown, judging = (labelled_pictures(storage, part, frozen.preprocessing) for part in parts)
    return finetune.last_stages(network, frozen.preprocessing, shown, judging, parameters, flip=parameters.flip,
                                device=str(device), check=run.progress.refresh)  # fmt: skip


def _gentle(run: TrainingRun) -> TrainingParameters:
    parameters = run.training.parameters
    return replace(parameters, epochs=min(parameters.epochs, _EPOCHS), max_unimproved_epochs=_PATIENCE,
                   learning_rate=min(parameters.learning_rate, _RATE))  # fmt: skip


def _outcome(
    run: TrainingRun, frozen: TrainedNetwork, judged: Unseen, learner: finetune.NetworkTraining, stage: str,
    stopped: str,
) -> TrainedNetwork:  # fmt: skip
    loss, accuracy, _ = measured_in(run.checkpoints.curve, stage, learner.best_epoch)
    return replace(
        frozen, network=learner.result(), method="fine-tuned", stopped=stopped, best_epoch=learner.best_epoch,
        note=f"The last stages of {run.training.base} with a new head, trained on varied pictures.",
        train_loss=loss, train_accuracy=accuracy,
        validation_accuracy=judged.right / len(judged.truths) if judged.examples else None, unseen=judged,
    )  # fmt: skip
