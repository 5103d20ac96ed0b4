"""The callbacks: what a webhook receives when a job or a training has ended."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from shared.domain.jobs import Status
from shared.schemas.common import Answer, Id, Terminal, Time, one_of
from shared.schemas.jobs import ModelReference, Progress


class EndedJob(Answer, kw_only=True):
    """A job that has ended, without its results: the receiver fetches them by the id."""

    id: Id = field(name="_id")
    terminal: Terminal = True
    status: Annotated[str, one_of(Status)]
    progress: Progress
    metadata: dict[str, Any]


class EndedTraining(Answer, kw_only=True):
    """A training that has ended, without its evidence: the receiver fetches it by the id."""

    id: Id
    terminal: Terminal = True
    status: Annotated[str, one_of(Status)]
    model: Annotated[ModelReference | None, Meta(description="The version that it has made.")]
    error: Annotated[str, Meta(description="Why it has FAILED; empty otherwise.")]
    metadata: dict[str, Any]


class JobEvent(Answer, kw_only=True):
    """The body of a job's webhook."""

    type: Annotated[str, Meta(examples=["job.done"])]
    timestamp: Time
    data: EndedJob


class TrainingEvent(Answer, kw_only=True):
    """The body of a training's webhook."""

    type: Annotated[str, Meta(examples=["training.done"])]
    timestamp: Time
    data: EndedTraining
