"""A trainer's side of trainings: take one up, tell how far it is, and end it, in whatever way it ends (use-cases)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared import errors, models, splits, trainings
from shared.jobs import Status
from shared.models import Version
from shared.trainings import Training

if TYPE_CHECKING:
    from shared.tools import Tools


class Ended(Exception):
    """The training is no longer RUNNING; whoever works on it drops what he has."""


def lock_name(training_id: str) -> str:
    """The lock by which a trainer holds a training."""
    return f"training:{training_id}"


def begin(tools: Tools, training: Training) -> Training:
    """The training as a trainer that holds its lock begins or resumes it; raises Ended.

    One that has killed its trainers, or whose dataset turned out not to be fit, fails here with the reason.
    """
    with tools.records.write() as r:
        found = r.trainings.by_id(training.id, lock=True)
        if found is None or found.status.terminal:
            raise Ended
        if not found.dataset_version:
            try:
                found = trainings.sealed(r, replace(found, updated_at=tools.now()), patient=True)
            except errors.NotFound as error:
                found = replace(found, status=Status.FAILED, error_code=error.code, error=error.message)
        if found.attempts >= tools.settings.max_attempts:
            dead = f"{found.attempts} trainers died over it, or gave up, without an epoch in between: {found.message}"
            found = replace(found, status=Status.FAILED, error_code="poison", error=dead)
        if found.status is Status.FAILED:
            r.trainings.end(found.id, Status.FAILED, tools.now(), error_code=found.error_code, error=found.error)
        elif found.dataset_version:
            started = found.started_at or tools.now()
            found = replace(found, status=Status.RUNNING, attempts=found.attempts + 1, started_at=started)
            r.trainings.start(found, tools.now())
    if found.status is Status.QUEUED:  # its dataset is still loading
        raise Ended
    if found.status is Status.FAILED:
        trainings.forget_checkpoint(tools, found.id)
        models.drop_made(tools, found.id)
        _ended(tools, found.id)
        raise Ended
    tools.queue.announce([found.id])
    return found


def tell(tools: Tools, training_id: str, progress: float, message: str,
         curve: Sequence[Mapping[str, Any]] | None = None) -> None:  # fmt: skip
    """Store how far a training is; raises Ended when it was cancelled meanwhile.

    `curve` is given when an epoch has been stored: the deaths before it then no longer count.
    """
    with tools.records.write() as r:
        running = r.trainings.tell(training_id, min(1.0, progress), message, curve, tools.now())
    if not running:
        raise Ended
    tools.queue.announce([], [training_id])


def put_back(tools: Tools, training_id: str, message: str) -> None:
    """Leave it to whoever comes next; that the trainer goes is no death. Raises Ended."""
    with tools.records.write() as r:
        r.trainings.put_back(training_id)
        running = r.trainings.say(training_id, message, tools.now())
    if not running:
        raise Ended
    tools.queue.announce([], [training_id])


def fail(tools: Tools, training_id: str, code: str, reason: str) -> None:
    """End a training that cannot be finished; the dataset is as it was, and no version is made.

    Nothing happens to one that has ended: another trainer may have finished it, and its plots are the evidence.
    """
    with tools.records.write() as r:
        if not r.trainings.end(training_id, Status.FAILED, tools.now(), error_code=code, error=reason):
            return
    trainings.forget_checkpoint(tools, training_id)
    models.drop_made(tools, training_id)
    _ended(tools, training_id)


def finish(tools: Tools, training: Training, version: Version, evidence: Mapping[str, Any],
           report: Mapping[str, Any] | None = None) -> Version:  # fmt: skip
    """Register the version, end the training, keep the comparison with the default so far: in one commit.

    `version` is READY and names the training; its number and place are given here. Raises Ended when the training was
    cancelled meanwhile.
    """
    try:
        made = _register(tools, training, version, evidence, report)
    except errors.Conflict:  # an import took the number a moment ago; now it is seen
        made = _register(tools, training, version, evidence, report)
    trainings.forget_checkpoint(tools, training.id)
    _ended(tools, training.id)
    return made


def _register(tools: Tools, training: Training, version: Version, evidence: Mapping[str, Any],
              report: Mapping[str, Any] | None) -> Version:  # fmt: skip
    now = tools.now()
    with tools.records.write() as r:
        if not r.trainings.hold(training.id):
            raise Ended
        named = r.versions.named(training.tenant, training.name, lock=True)
        others = [known for known in named if known.tenant == training.tenant]
        number, first = models.next_version(others), not others
        made = replace(version, version=number, is_default=first, withheld=training.withheld, created_at=now)
        r.versions.add(made)
        if report is not None:  # of what was the default then: another one may have been promoted meanwhile
            report = {**report, "candidate": {**report["candidate"], "version": number}}
            for baseline in [known for known in others if known.version == report["baseline"]["version"]]:
                r.comparisons.add_done(training, made, baseline, report, now)
        default = next((known for known in others if known.is_default), None)
        if default and training.promote:
            r.promotions.promote(made, default, now)
        r.trainings.done(training.id, made, evidence, now)
    return made


def abandon(tools: Tools, training_id: str) -> None:
    """Drop what a trainer has made and could not register: plots, weights, example. The checkpoint stays.

    Nothing of a training that is DONE, or goes on: after a lost lock another trainer may have registered a version by
    that very id, or be about to. Who fails or cancels it later drops the rest.
    """
    with tools.records.read() as r:
        found = r.trainings.by_id(training_id)
    if not found or (found.status.terminal and found.status is not Status.DONE):
        models.drop_made(tools, training_id)


def _ended(tools: Tools, training_id: str) -> None:
    tools.queue.announce([training_id])
    tools.queue.call("deliver")


def dealt(tools: Tools, training: Training) -> splits.Splits:
    """The examples that the training uses, each in its split; raises NotFound when the dataset is gone."""
    with tools.records.read() as r:
        found = r.datasets.get(training.tenant, training.dataset_id)
        if found is None:
            raise errors.NotFound(f"The dataset {training.dataset_id} is gone.")
        examples = r.datasets.examples(replace(found, version=training.dataset_version))
    asked = training.parameters
    return splits.deal(examples, asked.train_split_ratio, asked.seed, with_feedback=asked.with_feedback)
