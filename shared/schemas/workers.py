"""The queue, and the workers and trainers that work on it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.domain.jobs import PRIORITIES
from shared.schemas.common import Answer, Request, Time, one_of


class QueueQuery(Request, kw_only=True):
    """How the queue is divided."""

    by: Annotated[
        str,
        one_of(
            ("tenant",),
            "Without it, per model, version and priority, over the jobs of all tenants. With `tenant`, per tenant as "
            "well: only the key's own, or with a key of the operator those of all.",
        ),
    ] = ""


class QueueDepth(Answer, kw_only=True, omit_defaults=True):
    """The pictures of one model version and priority that have no answer yet."""

    tenant: Annotated[str, Meta(description="With `by=tenant`.")] = ""
    model: Annotated[str, Meta(description="The models of other tenants are added up under one name.")]
    version: str
    priority: Annotated[str, one_of(PRIORITIES)]
    waiting: Annotated[int, Meta(description="Pictures that no worker has claimed.")]
    running: Annotated[int, Meta(description="Pictures that a worker holds.")]
    oldest_seconds: Annotated[float, Meta(description="Age of the oldest unfinished picture.")]


class Queue(Answer, kw_only=True):
    """The waiting and running pictures."""

    queue: list[QueueDepth]
    waiting: int
    running: int


class CardMemory(Answer, kw_only=True):
    """How much of the memory of a card is in use, in bytes."""

    used: int
    total: int


class Worker(Answer, kw_only=True):
    """A running worker, as its last heartbeat described it."""

    id: str
    since: Time
    device: Annotated[str, Meta(examples=["cpu", "cuda"])]
    engine: Annotated[str, Meta(description="What it runs networks with.")] = ""
    models: Annotated[list[str], Meta(description="The versions that it keeps in memory, as `NAME/VERSION`.")]
    pictures: Annotated[int, Meta(description="Pictures that it has run.")]
    batches: Annotated[int, Meta(description="Batches that it has run.")]
    holds: Annotated[int, Meta(description="Pictures that it holds now.")]
    memory: Annotated[int | None, Meta(description="Bytes of memory that its process has.")] = None
    card_memory: Annotated[
        CardMemory | None, Meta(description="The memory of its card, by all processes; null on a CPU.")
    ] = None
    waits_for: Annotated[
        str, Meta(description="Why it runs no pictures, such as a storage that does not answer; empty if it does.")
    ] = ""


class Trainer(Answer, kw_only=True):
    """A running trainer."""

    id: str
    since: Time
    device: str
    busy: Annotated[bool, Meta(description="True while it trains.")]


class WorkerList(Answer, kw_only=True):
    """Every running worker and trainer."""

    workers: list[Worker]
    trainers: list[Trainer]


class Readiness(Answer, kw_only=True):
    """Whether the service is ready; of each part `ok`, or the reason why it is not."""

    status: Annotated[str, one_of(("ready", "not ready"))]
    database: str
    queue: str
    storage: str
    workers: Annotated[str, Meta(description="Not `ok` while none runs, or none claims pictures that wait for long.")]
    model: Annotated[str, Meta(description="The default model; not `ok` while it is being checked.")]

    @property
    def is_ready(self) -> bool:
        """True if all parts are ready."""
        return self.status == "ready"
