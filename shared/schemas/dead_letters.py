"""Dead letters: which are meant, their list, and what a replay has done."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.schemas.common import Answer, Cursor, Id, Limit, Next, Request, Time
from shared.schemas.jobs import ModelReference


class DeadLetterFilter(Request, kw_only=True):
    """Which dead letters are meant; by default all."""

    reason: Annotated[
        str,
        Meta(
            description="The code of the error: `poison`, `gone`, `model_failed`, `model_unavailable`, a code of a bad "
            "picture such as `not_a_picture`; or `expired`.",
            examples=["poison"],
        ),
    ] = ""
    model: Annotated[str, Meta(description="The model.")] = ""
    since: Annotated[str, Meta(description="RFC 3339, or Unix seconds: of jobs created then or later.")] = ""
    until: Annotated[str, Meta(description="RFC 3339, or Unix seconds: of jobs created before.")] = ""
    cursor: Cursor = ""


class DeadLetterQuery(DeadLetterFilter, kw_only=True):
    """Which dead letters a page holds."""

    limit: Limit = 50


class DeadLetter(Answer, kw_only=True):
    """A picture of an ended job that has failed, or that never ran because the job expired."""

    job_id: Id
    position: Annotated[int, Meta(description="Which picture of the job; 0 is the first.")]
    name: Annotated[str, Meta(description="The name of the file.")]
    reason: Annotated[str, Meta(description="A code for programs.")]
    message: Annotated[str, Meta(description="The reason for people.")]
    model: ModelReference
    created_at: Annotated[Time, Meta(description="When the job was created.")]


class DeadLetterPage(Answer, kw_only=True):
    """One page of dead letters, those of the newest jobs first."""

    dead_letters: list[DeadLetter]
    next: Next


class Replay(Answer, kw_only=True):
    """What one call has put on the queue again."""

    jobs: int
    pictures: int
    skipped: Annotated[
        int,
        Meta(
            description="Jobs that cannot run again: their pictures or their model were removed, or more of their "
            "pictures have failed than may wait."
        ),
    ]
    next: Annotated[
        str | None, Meta(description="The cursor of a call that continues, if this one took too long; null at the end.")
    ]
