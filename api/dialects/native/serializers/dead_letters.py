"""Serializers of dead letters; these functions read only their arguments."""

from __future__ import annotations

from shared.domain.dead_letters import DeadLetter, Replay
from shared.schemas import dead_letters as schemas
from shared.schemas.common import moment_at
from shared.schemas.jobs import ModelReference


def letter(letter: DeadLetter) -> schemas.DeadLetter:
    """Return one dead letter."""
    return schemas.DeadLetter(
        job_id=letter.job_id,
        position=letter.position,
        name=letter.name,
        reason=letter.reason,
        message=letter.error,
        model=ModelReference(name=letter.model, version=letter.version),
        created_at=moment_at(letter.created_at),
    )


def replay(done: Replay) -> schemas.Replay:
    """Return what a replay has put on the queue again."""
    return schemas.Replay(jobs=done.jobs, pictures=done.pictures, skipped=done.skipped, next=done.left_after or None)
