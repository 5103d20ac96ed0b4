"""The rejection rule of a training: chosen on pictures that were not learned from, measured on the test pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch

from shared import errors
from shared.container import Storage
from shared.domain import chance
from shared.domain.datasets import DatasetExample
from shared.domain.jobs import BOTH
from shared.domain.rejection import RejectionRule, bank_key, find_doubt
from worker import rejection
from worker.engine import Loaded
from worker.judging import Judge
from worker.rejection import FeatureBank
from worker.training import foreign_pictures
from worker.training.copies import groups_of
from worker.training.cross_validation import folds
from worker.training.features import features
from worker.training.outcome import TrainedNetwork
from worker.training.pictures import read


@dataclass(frozen=True)
class Chosen:
    """The rule of a version, with the training features that it compares with."""

    rule: RejectionRule
    bank: FeatureBank
    distances: torch.Tensor
    """(N,) of the pictures that the training has not learned from, in their order."""


def choose(
    storage: Storage, model: Loaded, trained: TrainedNetwork, temperature: float, precision: float, label: str,
    on_progress: Callable[[str], None],
) -> Chosen | str:  # fmt: skip
    """Return the rule for a wanted precision with `label` as in RejectionRule, and store its features; or the reason
    for none, for people.

    The distance of a picture is the one that the trial of a fine-tuning has measured, if there is one: features that
    were fitted to a picture are nearer to each other than to those of new pictures. Else it is that from the training
    features of other folds, if the head has learned from it: near-duplicates are in one fold, as they would make known
    pictures look nearer than new ones are.
    `on_progress` is called with what is being done, and may raise.
    """
    unseen = trained.unseen
    if (count := len(unseen.examples)) < rejection.fewest(precision):
        return rejection.why_none(count, precision)
    everything = tuple({example.id: example for example in (*trained.learned, *unseen.examples)}.values())
    rows = features(storage, model, everything, lambda done: on_progress(f"comparing pictures: {done}"))
    numbers = {example.id: number for number, example in enumerate(everything)}
    learned = torch.tensor([numbers[example.id] for example in trained.learned])
    labels = torch.tensor([example.label_id for example in trained.learned])
    bank = FeatureBank.build(rows[learned], labels)
    if unseen.distances is None:
        distances = bank.distances(rows)
        distances[learned] = _left_out(rows[learned], labels, folds(labels, groups_of(trained.learned)))
        own = distances[torch.tensor([numbers[example.id] for example in unseen.examples])]
    else:
        own = unseen.distances
    scores, answers = (unseen.logits.double() / temperature).softmax(dim=1).max(dim=1)
    rule = rejection.fit(scores, answers == unseen.truths, own, precision)
    if rule is None:
        return rejection.why_none(count, precision)
    data = bank.to_bytes()
    key = bank_key(model.version.id, hashlib.sha256(data).hexdigest())
    storage.write(key, data)
    return Chosen(replace(rule, bank=key, label=label), bank, own)


def _left_out(rows: torch.Tensor, labels: torch.Tensor, fold: torch.Tensor) -> torch.Tensor:
    """Return the distance of each row (N, D) from those of the other folds, (N,); 2, the largest, in no fold."""
    distances = torch.full((len(rows),), 2.0)
    for number in fold[fold >= 0].unique().tolist():
        held = fold == number
        distances[held] = FeatureBank.build(rows[~held], labels[~held]).distances(rows[held])
    return distances


def measure(
    chosen: Chosen | str, storage: Storage, model: Loaded, test: Sequence[DatasetExample], truths: torch.Tensor,
    foreign: Mapping[str, Sequence[DatasetExample]], precision: float, on_progress: Callable[[str], None],
) -> tuple[dict[str, Any], torch.Tensor | None]:  # fmt: skip
    """Return (the evidence of a rule: what it believes of the test pictures, and of foreign ones; the distances (N,) of
    the test pictures).

    `foreign` has examples of other datasets by name. Without a rule the evidence says why there is none, and there are
    no distances.
    """
    if isinstance(chosen, str):
        return {"wanted": precision, "reason": chosen}, None
    rule = chosen.rule
    scores, answers, distances = _answer(
        model, chosen, [partial(read, storage, example) for example in test], on_progress
    )
    right = answers == truths
    believed = _believed(rule, scores, distances)
    count, good = int(believed.sum()), int((believed & right).sum())
    kinds = chain(
        foreign_pictures.draw().items(), ((name, _left(storage, examples)) for name, examples in foreign.items())
    )
    evidence = {
        "wanted": precision,
        "min_score": rule.min_score,
        "max_distance": rule.max_distance,
        "pictures": len(test),
        "believed": count,
        "precision": good / count if count else None,
        "precision_interval": chance.accuracy_interval(good, count),
        "curve": rejection.curve(scores, right, distances, rule),
        "foreign": [
            {"kind": kind, "pictures": len(pictures), "rejected": _rejected(chosen, model, pictures, on_progress)}
            for kind, pictures in kinds
            if pictures
        ],
    }
    return evidence, distances


def _left(storage: Storage, examples: Sequence[DatasetExample]) -> list[bytes]:
    """Return the pictures of another dataset that are still there: it may be removed meanwhile."""
    found: list[bytes] = []
    for example in examples:
        with suppress(errors.NotFound):
            found.append(read(storage, example))
    return found


def _rejected(chosen: Chosen, model: Loaded, pictures: Sequence[bytes], on_progress: Callable[[str], None]) -> int:
    """Return the number of these pictures that are not believed."""
    scores, _, distances = _answer(model, chosen, [partial(bytes, data) for data in pictures], on_progress)
    return len(pictures) - int(_believed(chosen.rule, scores, distances).sum())


def _believed(rule: RejectionRule, scores: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Return which answers are believed, (N,) bool."""
    pairs = zip(scores.tolist(), distances.tolist(), strict=True)
    return torch.tensor([not find_doubt(rule, *pair) for pair in pairs], dtype=torch.bool)


def _answer(
    model: Loaded, chosen: Chosen, pictures: Sequence[Callable[[], bytes]], on_progress: Callable[[str], None]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best score, the number of its label, and the distance of each picture, as they are served.

    A picture is read when its batch runs: test pictures may be more than the memory holds.
    """
    judge = Judge(chosen.rule, chosen.bank)
    rows = [torch.zeros(0, len(model.version.labels) + 1)]
    for start in range(0, len(pictures), model.max_batch):
        on_progress("looking for what it does not know")
        inputs = [model.prepare(read_picture()) for read_picture in pictures[start : start + model.max_batch]]
        rows.append(judge.measured(model.forward(inputs, BOTH)))
    table = torch.cat(rows)
    scores, answers = table[:, :-1].double().softmax(dim=1).max(dim=1)
    return scores, answers, table[:, -1]
