"""Dead letters: the pictures of ended jobs that have no answer, listed and run again."""

from __future__ import annotations

from typing import TypedDict, Unpack

from inferq.client.blocking import Blocking, blocking
from inferq.client.connection import Connection, read
from inferq.errors import InferqHTTPError
from shared.schemas.dead_letters import DeadLetter, DeadLetterPage, Replay

_FULL = 429
"""The status of the answer when the queue is full."""


class Wanted(TypedDict, total=False):
    """Which dead letters are meant: the fields of `DeadLetterFilter` in shared/schemas/dead_letters.py."""

    reason: str
    model: str
    since: str | float
    until: str | float


class AsyncDeadLetters:
    """The dead letters of the key's tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def replay(self, **wanted: Unpack[Wanted]) -> Replay:
        """Run them again, with as many calls as that takes; return what was queued, in all.

        Its `next` is set if the tenant's queue is full: replay the others later.
        """
        body = {name: str(value) for name, value in wanted.items() if value != ""}
        total = Replay(jobs=0, pictures=0, skipped=0, next=None)
        while True:
            try:
                part = read(Replay, await self._connection.request("POST", "/v1/dead-letters/replay", json=body))
            except InferqHTTPError as error:
                if error.status == _FULL and total.jobs:
                    return total
                raise
            total = Replay(
                jobs=total.jobs + part.jobs, pictures=total.pictures + part.pictures,
                skipped=total.skipped + part.skipped, next=part.next,
            )  # fmt: skip
            if not total.next:
                return total
            body["cursor"] = total.next

    async def list(self, *, limit: int = 50, **wanted: Unpack[Wanted]) -> list[DeadLetter]:
        """Return at most `limit`, those of the newest jobs first, from as many pages as needed."""
        return await self._connection.entries(
            "/v1/dead-letters", DeadLetterPage, lambda page: page.dead_letters, wanted, limit
        )


class DeadLetters(Blocking[AsyncDeadLetters]):
    """The dead letters of the key's tenant."""

    replay = blocking(AsyncDeadLetters.replay)
    list = blocking(AsyncDeadLetters.list)
