"""Comparisons: two versions of a model side by side on the same test pictures; promotion stands on them.

    QUEUED ──> DONE, with the report     FAILED, with the reason

A training that gives a name another version makes one by itself. Pictures that either of the two has learned from are
left out: what one has seen in training says nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import uuid6

from shared import datasets, errors, models, splits
from shared.datasets import Example
from shared.jobs import Status
from shared.models import State, Version
from shared.trainings import Parameters, Training

if TYPE_CHECKING:
    from shared.records import Unit
    from shared.tools import Tools


@dataclass(frozen=True)
class Comparison:
    """Times are Unix seconds."""

    id: str
    tenant: str
    name: str
    """Of the model."""
    candidate_id: str
    """Version ids."""
    baseline_id: str
    dataset_id: int
    dataset_version: int
    status: Status
    created_at: float
    error: str = ""
    attempts: int = 0
    report: Mapping[str, Any] | None = None
    """`pictures`, `left_out`, `agreement`, `labels` (how many each knows, and both), and for `candidate` and `baseline`
    each: `version`, `accuracy`, `macro_f1`, `per_label` ({label, precision, recall, f1, support}) and `milliseconds`
    per picture, one at a time."""
    finished_at: float | None = None


def request(tools: Tools, tenant: str, name: str, candidate: str, baseline: str = "",
            dataset_id: int | None = None) -> Comparison:  # fmt: skip
    """Have a trainer compare two versions; `baseline` is the default version where none is named.

    Without a dataset it is the one that the candidate was trained on, as it is now. Raises NotFound, BadOption,
    Forbidden (the catalogue), Conflict (a version that is not READY, a dataset that is not).
    """
    tools.queue.ping()
    with tools.records.read() as r:
        known = r.versions.named(tenant, name)
        if any(version.tenant != tenant for version in known):
            raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and stays as it is.")
        chosen = models.pick(known, name, candidate)
        other = models.pick(known, name, baseline)
        trained = r.trainings.get(tenant, chosen.training_id) if chosen.training_id else None
    if chosen.id == other.id:
        raise errors.BadOption(f"version {chosen.version} of {name!r} cannot be compared with itself")
    for version in (chosen, other):
        if version.state is not State.READY:
            raise errors.Conflict(f"Version {version.version} of {name!r} is {version.state}, not ready.")
    if dataset_id is None:
        if trained is None:
            raise errors.BadOption(f"version {chosen.version} was not trained here: name a dataset to test it on")
        dataset_id = trained.dataset_id
    made = Comparison(str(uuid6.uuid7()), tenant, name, chosen.id, other.id, dataset_id, 0, Status.QUEUED, tools.now())
    with tools.records.write() as r:
        dataset = r.datasets.get(tenant, dataset_id, lock=True)
        if dataset is None:
            raise errors.NotFound(f"There is no dataset {dataset_id}.")
        if dataset.state is not datasets.State.READY:
            raise errors.Conflict(f"The dataset {dataset.name!r} is {dataset.state.lower()}, not ready.")
        made = replace(made, dataset_version=dataset.version)
        if not dataset.sealed:
            r.datasets.save(replace(dataset, sealed=True))
        r.comparisons.add(made)
    tools.queue.call("load")
    return made


def get(tools: Tools, tenant: str, comparison_id: str) -> Comparison:
    """Raises NotFound."""
    with tools.records.read() as r:
        found = r.comparisons.get(tenant, comparison_id)
    if found is None:
        raise errors.NotFound(f"There is no comparison {comparison_id}.")
    return found


def wait(tools: Tools, tenant: str, comparison_id: str, seconds: float) -> Comparison:
    """The comparison when it has ended, or as it is when the time is over."""
    return tools.waiters.until(
        comparison_id, lambda: get(tools, tenant, comparison_id), lambda found: found.status.terminal, seconds
    )


def pictures(r: Unit, candidate: Version, baseline: Version, tenant: str, dataset_id: int,
             dataset_version: int) -> tuple[list[Example], int]:  # fmt: skip
    """(the test pictures to compare on, how many were left out); raises NotFound, BadDataset.

    Left out is what either of the two has learned from, and what neither has a label for. The test split is the
    candidate's own where it was trained on this dataset.
    """
    dataset = r.datasets.get(tenant, dataset_id)
    if dataset is None:
        raise errors.NotFound(f"The dataset {dataset_id} is gone.")
    trainings = _trainings(r, candidate)
    own = trainings[0] if trainings and trainings[0].dataset_id == dataset_id else None
    parameters = own.parameters if own else Parameters()
    found = r.datasets.examples(replace(dataset, version=dataset_version))
    dealt = splits.deal(
        found, parameters.train_split_ratio, parameters.seed, with_feedback=parameters.with_feedback, checked=False
    )
    learned = set[str]().union(*(_learned(r, training) for training in (*trainings, *_trainings(r, baseline))))
    new = [one for one in dealt.test if one.sha256 not in learned]
    if not new:
        raise errors.BadDataset(
            "There is no test picture that neither of the two versions has learned from; add new pictures to the "
            "dataset, in a folder `test`, and compare again, or name another dataset."
        )
    left = [one for one in new if one.label in candidate.labels or one.label in baseline.labels]
    if not left:
        raise errors.BadDataset(
            f"Neither of the two versions knows a label of the test pictures, such as {new[0].label!r}; name another "
            "dataset."
        )
    return left, len(dealt.test) - len(left)


def _trainings(r: Unit, version: Version | None) -> list[Training]:
    """What made the version, then what made its base, and so on: it knows what they have learned."""
    found: list[Training] = []
    while version and version.training_id and (training := r.trainings.by_id(version.training_id)):
        found.append(training)
        version = r.versions.get(training.base_id)
    return found


def _learned(r: Unit, training: Training) -> set[str]:
    """SHA-256 of what a training has trained or validated on; nothing is known once its dataset is gone."""
    dataset = r.datasets.get(training.tenant, training.dataset_id)
    if dataset is None:
        return set()
    found = r.datasets.examples(replace(dataset, version=training.dataset_version))
    parameters = training.parameters
    dealt = splits.deal(found, parameters.train_split_ratio, parameters.seed, with_feedback=parameters.with_feedback)
    return {one.sha256 for one in (*dealt.training, *dealt.validation)}
