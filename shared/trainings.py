"""Trainings: jobs of another kind, that make a model version out of a dataset version (rules and use-cases).

A training moves as a job does: QUEUED ──> RUNNING ──> DONE, FAILED or CANCELLED. A trainer holds it by a lock that
lapses with the trainer; another one then takes it up where its last stored epoch ended, while it keeps saying RUNNING.
What it makes is registered in the same commit that ends it: there is never half a version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import uuid6

from shared import datasets, errors, models, splits
from shared.jobs import Status
from shared.models import Version

if TYPE_CHECKING:
    from shared.records import Unit
    from shared.tools import Tools

SCRATCH = "scratch"
"""Named as a base: train a small network from nothing."""
FINE_TUNING = ("auto", "always", "never")
LONGEST = 7 * 24 * 3600.0
"""Seconds that one training may ask for."""


@dataclass(frozen=True)
class Parameters:
    """How to train; raises BadOption for what is out of range."""

    epochs: int = 100
    """At most; of the linear head, and of a network trained from scratch."""
    learning_rate: float = 0.001
    batch_size: int = 32
    max_unimproved_epochs: int = 10
    """Epochs without a lower validation loss after which it is enough."""
    train_split_ratio: float = 0.8
    """Share of each label that trains, where the dataset does not say; the rest validates and tests."""
    seed: int = 0
    with_feedback: bool = True
    """Also learn from corrections of wrong predictions."""
    fine_tune: str = "auto"
    """Of the base's last stages: `never`, `always`, or `auto`, which is where it may win something and does not take
    long. What it makes is kept only if it is better on the validation pictures."""
    flip: bool = True
    """Mirrored pictures mean the same; no for digits and letters."""
    max_seconds: float = 24 * 3600.0
    """After which it stops with the best it has."""

    def __post_init__(self) -> None:
        _within("epochs", self.epochs, 1, 10_000)
        _within("batch_size", self.batch_size, 1, 1024)
        _within("max_unimproved_epochs", self.max_unimproved_epochs, 1, 10_000)
        _within("train_split_ratio", self.train_split_ratio, 0.1, 0.95)
        _within("seed", self.seed, 0, 2**31 - 1)
        _within("max_seconds", self.max_seconds, 1, LONGEST)
        if not 0 < self.learning_rate < 1:
            raise errors.BadOption(f"learning_rate must be above 0 and below 1, not {self.learning_rate}")
        if self.fine_tune not in FINE_TUNING:
            raise errors.BadOption(f"fine_tune must be one of {', '.join(FINE_TUNING)}, not {self.fine_tune!r}")


@dataclass(frozen=True)
class Request:
    """What a caller asks for, in the domain's words; every wire reads its requests into this."""

    dataset_id: int
    name: str
    """Of the model; one that there is already gets another version."""
    base: str = ""
    """A model, or SCRATCH; empty is the best that is at hand."""
    base_version: str = ""
    """Empty is the base's default version."""
    parameters: Parameters = field(default_factory=Parameters)
    title: str = ""
    """The caller's own name for the training; empty is the model's name."""
    promote: bool = False
    """Make the new version the model's default when it is done, whatever the comparison says."""
    withheld: bool = False
    """Do not answer on the wire it was trained through before it is deployed."""
    patient: bool = False
    """Accept a dataset that is still loading, or has too few pictures: the training then waits, or fails with the
    reason, instead of the request."""
    alone: bool = False
    """Refuse while another training uses the dataset."""
    webhook: str = ""
    webhook_secret: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    wire: str = "native"


@dataclass(frozen=True)
class Training:
    """One stored training; times are Unix seconds."""

    id: str
    """UUIDv7, so that ids sort by time."""
    tenant: str
    wire: str
    name: str
    title: str
    status: Status
    dataset_id: int
    dataset_version: int
    """0 while the dataset is still loading."""
    base: str
    """`NAME VERSION` of the base, or SCRATCH."""
    base_id: str
    """The version id of the base; empty for SCRATCH."""
    parameters: Parameters
    created_at: float
    updated_at: float
    promote: bool = False
    withheld: bool = False
    progress: float = 0.0
    """0 to 1."""
    message: str = ""
    """What it is doing, for people."""
    curve: tuple[Mapping[str, Any], ...] = ()
    """One entry per epoch: `stage` (head, fine-tuning, network), `epoch` (1 is the first of its stage), `train_loss`,
    `train_accuracy`, `validation_loss`, `validation_accuracy`; the last two are null without validation pictures.
    Empty in lists."""
    attempts: int = 0
    """Trainers that have begun with it since its last stored epoch."""
    version_id: str = ""
    """Of the version it has made."""
    version: str = ""
    """The name of that version, `1` is a model's first."""
    error_code: str = ""
    error: str = ""
    evidence: Mapping[str, Any] | None = None
    """What was measured, see worker/training; None until it is DONE, and in lists."""
    webhook: str = ""
    webhook_secret: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether it has had the seconds that it was given."""
        return self.started_at is not None and now > self.started_at + self.parameters.max_seconds


def submit(tools: Tools, tenant: str, asked: Request) -> Training:
    """Store a training and ring for a trainer; its dataset version is sealed.

    Raises NotFound (dataset, base), BadOption, BadDataset, Conflict (dataset not READY, or in use where `alone` is
    asked for; name being trained; an alias), ModelNotReady or ModelRefused (base).
    """
    if not models.NAME_PATTERN.fullmatch(asked.name):
        raise errors.BadOption("the name of a model is made of letters, digits, '.', '_' and '-', 100 at most")
    tools.queue.ping()  # a queue that is away is said now, not when the bell cannot be rung
    base = choose_base(tools, tenant, asked.base, asked.base_version)
    now = tools.now()
    made = Training(
        id=str(uuid6.uuid7()),
        tenant=tenant,
        wire=asked.wire,
        name=asked.name,
        title=datasets.name_of(asked.title or asked.name, "training"),
        status=Status.QUEUED,
        dataset_id=asked.dataset_id,
        dataset_version=0,
        base=f"{base.name} {base.version}" if base else SCRATCH,
        base_id=base.id if base else "",
        parameters=asked.parameters,
        created_at=now,
        updated_at=now,
        promote=asked.promote,
        withheld=asked.withheld,
        message="waiting for a trainer",
        webhook=asked.webhook,
        webhook_secret=asked.webhook_secret,
        metadata=asked.metadata,
    )
    with tools.records.write() as r:
        must_be_free(r, tenant, asked.name)
        if base and not r.versions.keep(base.id):
            raise errors.NotFound(f"The base {made.base} has just been removed; choose another one.")
        made = sealed(r, made, patient=asked.patient)
        if asked.alone and (busy := r.trainings.live_on(asked.dataset_id)):  # its row is locked by now
            raise errors.Conflict(f"The dataset is used by the training of {busy[0].name}; begin when that has ended.")
        r.trainings.add(made)
    tools.queue.call("train")
    return made


def must_be_free(r: Unit, tenant: str, name: str) -> None:
    """Raise Conflict for the name of a model that is an alias, is of the catalogue, or is being trained.

    One of the catalogue's names would from then on mean the new model, also to those who name none.
    """
    if any(known.tenant != tenant for known in r.versions.named(tenant, name)):
        raise errors.Conflict(f"{name!r} is a model of the catalogue; take another name for one of your own.")
    if r.aliases.get(tenant, name):
        raise errors.Conflict(f"{name!r} is an alias; take another name, or remove the alias first.")
    if busy := r.trainings.live_of(tenant, name):
        raise errors.Conflict(f"The model {name!r} is being trained already, by training {busy.id}.")


def sealed(r: Unit, training: Training, *, patient: bool) -> Training:
    """The training with the dataset version it will use, which nothing changes from now on.

    With `patient`: one whose dataset is still loading stays without, and one whose dataset cannot be trained on has
    failed. Raises NotFound, Conflict, BadDataset.
    """
    found = r.datasets.get(training.tenant, training.dataset_id, lock=True)
    if found is None or found.state is datasets.State.DELETING:
        raise errors.NotFound(f"There is no dataset {training.dataset_id}.")
    if found.state is datasets.State.LOADING and patient:
        return training
    try:
        if found.state is not datasets.State.READY:
            why = "is still being loaded" if found.state is datasets.State.LOADING else f"is unusable: {found.message}"
            raise errors.Conflict(f"The dataset {found.name!r} {why}.")
        # By counts: to read a hundred thousand examples takes a second, in which nobody else could write.
        splits.check(r.datasets.tallies(found), with_feedback=training.parameters.with_feedback)
    except (errors.BadDataset, errors.Conflict) as error:
        if not patient:
            raise
        return replace(training, status=Status.FAILED, error_code=error.code, error=error.message, message="",
                       started_at=training.updated_at, finished_at=training.updated_at)  # fmt: skip
    if not found.sealed:
        r.datasets.save(replace(found, sealed=True))
    return replace(training, dataset_version=found.version)


def choose_base(tools: Tools, tenant: str, name: str, version: str = "") -> Version | None:
    """The READY version to start from, None for SCRATCH; raises NotFound, ModelNotReady, ModelRefused.

    Unnamed, it is the default model if that has learned from photographs of all kinds; else STANDARD, else the newest
    such model that is at hand, else none: what `digits` or a trained model has learned helps with little else.
    """
    if name == SCRATCH:
        return None
    if name:
        found = models.find(tools, tenant, name, version)  # the default itself: a canary may answer, not be built on
        return models.servable(tools, tenant, found.name, found.version)
    with tools.records.read() as r:
        default = models.default_name(tools, r, tenant)
        ready = [known for known in r.versions.visible(tenant) if known.state is models.State.READY and _general(known)]
    rank = {models.STANDARD: 1, default: 2}
    ready.sort(key=lambda known: (known.is_default * rank.get(known.name, 0), known.created_at))
    return ready[-1] if ready else None


def _general(version: Version) -> bool:
    """Whether it was brought as an ImageNet architecture, not trained here for some labels."""
    return version.family in ("torchvision", "timm") and not version.training_id


def get(tools: Tools, tenant: str, training_id: str) -> Training:
    """The tenant's training with its evidence; raises NotFound for anybody else's, in the same words as for none."""
    with tools.records.read() as r:
        found = r.trainings.get(tenant, training_id)
    if found is None:
        raise errors.NotFound(f"There is no training {training_id}.")
    return found


def wait(tools: Tools, tenant: str, training_id: str, seconds: float) -> Training:
    """The training when it has ended, or as it is when the time is over."""
    return tools.waiters.until(
        training_id, lambda: get(tools, tenant, training_id), lambda found: found.status.terminal, seconds
    )


def cancel(tools: Tools, tenant: str, training_id: str) -> Training:
    """Cancel a training; honoured between two epochs or batches of pictures. Raises NotFound, Conflict when ended."""
    with tools.records.write() as r:
        found = r.trainings.get(tenant, training_id, lock=True)
        if found is None:
            raise errors.NotFound(f"There is no training {training_id}.")
        if found.status.terminal and found.status is not Status.CANCELLED:
            raise errors.Conflict(f"The training {training_id} has ended as {found.status} and cannot be cancelled.")
        r.trainings.end(training_id, Status.CANCELLED, tools.now())
    forget_checkpoint(tools, training_id)
    models.drop_made(tools, training_id)
    tools.queue.announce([training_id])
    return get(tools, tenant, training_id)


def remove(tools: Tools, tenant: str, training_id: str) -> None:
    """Delete what is known of an ended training; raises NotFound, Conflict while it lives or its version is there."""
    found = get(tools, tenant, training_id)
    if not found.status.terminal:
        raise errors.Conflict(f"The training {training_id} is {found.status}; cancel it first.")
    with tools.records.write() as r:
        if found.version_id and r.versions.get(found.version_id):
            raise errors.Conflict(f"The training {training_id} is the evidence of {found.name} {found.version}.")
        r.trainings.delete([training_id])
    drop_plots(tools, training_id)


def retitle(tools: Tools, training_id: str, title: str) -> None:
    """Give a training another name of the caller's own; what it is and has made stays."""
    title = datasets.name_of(title, "training")
    with tools.records.write() as r:
        r.trainings.retitle(training_id, title)


def position(tools: Tools, training: Training) -> int:
    """How many trainings are served up to and with this one; 1 is the next, 0 is not waiting."""
    with tools.records.read() as r:
        waiting = r.trainings.in_turn()
    return next((number for number, one in enumerate(waiting, 1) if one.id == training.id), 0)


def checkpoint(training_id: str) -> str:
    """Key of the blob that holds the last stored epoch."""
    return f"checkpoints/{training_id}"


def plot(training_id: str, name: str) -> str:
    """Key of the blob of a plot, such as `confusion.svg`."""
    return f"{models.plots(training_id)}/{name}"


def forget_checkpoint(tools: Tools, training_id: str) -> None:
    """Nothing more will be made of it."""
    tools.storage.delete(checkpoint(training_id))


def drop_plots(tools: Tools, training_id: str) -> None:
    """Remove the pictures of its evidence."""
    models.drop_plots(tools, training_id)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN is not, either
        raise errors.BadOption(f"{name} must be from {low:g} to {high:g}, not {value}")
