"""Trainings: how to train, and how far a training is."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from shared.domain.jobs import Status
from shared.domain.rejection import HIGHEST_PRECISION, LOWEST_PRECISION
from shared.domain.trainings import FINE_TUNING, RANGES, SCRATCH
from shared.schemas.common import (
    Answer,
    Cursor,
    Id,
    Limit,
    Metadata,
    Moment,
    Next,
    Request,
    Share,
    Terminal,
    Time,
    one_of,
)
from shared.schemas.evidence import Epoch, Evidence, Plots
from shared.schemas.jobs import ModelReference, Webhook


def _within(name: str, description: str) -> Meta:
    """Return the annotation of a parameter with its range."""
    low, high = RANGES[name]
    return Meta(description=description, ge=low, le=high)


# requests


class TrainingParameters(Request, kw_only=True):
    """How to train."""

    epochs: Annotated[int, _within("epochs", "At most.")] = 100
    learning_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.001
    batch_size: Annotated[int, _within("batch_size", "Pictures.")] = 32
    max_unimproved_epochs: Annotated[
        int,
        _within("max_unimproved_epochs", "Epochs without a lower validation loss after which a stage ends."),
    ] = 10
    train_split_ratio: Annotated[
        float,
        _within("train_split_ratio", "Share of each label that trains, unless the dataset declares splits."),
    ] = 0.8
    seed: Annotated[int, _within("seed", "The same data and seed give the same model.")] = 0
    with_feedback: Annotated[bool, Meta(description="Also learn from corrections of wrong predictions.")] = True
    fine_tune: Annotated[
        str,
        one_of(FINE_TUNING, "Of the base's last stages: `auto` keeps it if it helps by more than chance."),
    ] = "auto"
    flip: Annotated[
        bool, Meta(description="True if a mirrored picture means the same; false for digits and letters.")
    ] = True
    max_seconds: Annotated[float, _within("max_seconds", "After which it stops with the best result so far.")] = (
        24 * 3600.0
    )
    reject_below_precision: Annotated[
        Annotated[float, Meta(ge=LOWEST_PRECISION, le=HIGHEST_PRECISION)] | None,
        Meta(
            description="Have the version tell answers that it does not believe, so that this share of the others is "
            "right; by default it believes all."
        ),
    ] = None
    unknown_label: Annotated[
        str,
        Meta(description="With `reject_below_precision`: the label of such answers on wires that have no word for "
             "doubt; by default they answer the best label."),
    ] = ""  # fmt: skip


class TrainingRequest(Request, kw_only=True):
    """A training to start."""

    dataset: Annotated[str | int, Meta(description="Id or name of the dataset to learn from.")]
    name: Annotated[str, Meta(description="The name of the model; an existing model gets another version.")]
    base: Annotated[
        str, Meta(description=f"The model to start from, or `{SCRATCH}`; by default the best one available.")
    ] = ""
    base_version: Annotated[str, Meta(description="The version of `base`; by default its default version.")] = ""
    parameters: TrainingParameters = field(default_factory=TrainingParameters)
    webhook: Annotated[
        str | Webhook, Meta(description="A URL that is called when the training has ended, or an object.")
    ] = ""
    webhook_secret: Annotated[str, Meta(description="Signs the call, if `webhook` is a URL.")] = ""
    metadata: Metadata = field(default_factory=dict)


class TrainingQuery(Request, kw_only=True):
    """Which trainings a list holds."""

    status: Annotated[str, one_of(Status)] = ""
    name: Annotated[str, Meta(description="The name of the model.")] = ""
    dataset: Annotated[str, Meta(description="Id or name of the dataset.")] = ""
    limit: Limit = 50
    cursor: Cursor = ""


# answers


class TrainingDataset(Answer, kw_only=True):
    """The dataset version that is learned from."""

    id: int
    version: Annotated[int | None, Meta(description="Null while the dataset is still loading.")]


class EffectiveParameters(Answer, kw_only=True):
    """Every parameter with its value."""

    epochs: int
    learning_rate: float
    batch_size: int
    max_unimproved_epochs: int
    train_split_ratio: float
    seed: int
    with_feedback: bool
    fine_tune: str
    flip: bool
    max_seconds: float
    reject_below_precision: float | None = None
    unknown_label: str = ""


class TrainingLinks(Answer, kw_only=True):
    """The addresses that belong to a training."""

    self: str
    events: str
    plots: Plots


class TrainingState(Answer, kw_only=True, omit_defaults=True):
    """A training without its evidence."""

    id: Id
    status: Annotated[str, one_of(Status)]
    terminal: Terminal
    wire: Annotated[str, Meta(description="The wire that it came by.", examples=["native"])]
    name: Annotated[str, Meta(description="The name of the model.")]
    title: Annotated[str, Meta(description="The caller's own name for the training.")]
    dataset: TrainingDataset
    base: Annotated[
        str,
        Meta(description=f"Model and version that it starts from, or `{SCRATCH}`.", examples=["mobilenet_v2 1"]),
    ]
    parameters: EffectiveParameters
    progress: Share
    message: Annotated[str, Meta(description="The current activity, for people.")]
    position: Annotated[int | None, Meta(description="In the queue while it is QUEUED; 1 is the next.")] = None
    curve: Annotated[list[Epoch], Meta(description="One entry per epoch; empty in lists.")]
    model: Annotated[ModelReference | None, Meta(description="The version that it has made.")]
    error: Annotated[str | None, Meta(description="Why it has FAILED, for people.")]
    error_code: Annotated[str | None, Meta(description="Why it has FAILED, for programs.")]
    metadata: Metadata
    created_at: Time
    started_at: Moment
    finished_at: Moment
    links: TrainingLinks


class TrainingSummary(TrainingState, kw_only=True):
    """A training in a list: without evidence, but with its accuracy."""

    accuracy: Annotated[float | None, Meta(description="On its test pictures, if it is DONE.")] = None
    mean_average_precision: Annotated[float | None, Meta(description="The same, of a multi-label dataset.")] = None
    method: Annotated[str, Meta(description="As in the evidence.")] = ""


class Training(TrainingState, kw_only=True):
    """A training, with its evidence if it is DONE."""

    evidence: Evidence | None


class TrainingPage(Answer, kw_only=True):
    """One page of trainings, newest first."""

    trainings: list[TrainingSummary]
    next: Next
