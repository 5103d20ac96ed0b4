"""Serializers of the queue and of running workers and trainers; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from shared.schemas import workers as schemas
from shared.schemas.common import moment_at
from shared.services.queue_depths import Depths


def queue(depths: Depths) -> schemas.Queue:
    """Return the queue."""
    rows = [
        schemas.QueueDepth(
            tenant="".join(tenant),
            model=model,
            version=version,
            priority=priority,
            waiting=int(depth["waiting"]),
            running=int(depth["running"]),
            oldest_seconds=depth["oldest_seconds"],
        )
        for (model, version, priority, *tenant), depth in depths.items()
    ]
    return schemas.Queue(queue=rows, waiting=sum(row.waiting for row in rows), running=sum(row.running for row in rows))


def workers(
    workers: Sequence[Mapping[str, Any]], trainers: Sequence[Mapping[str, Any]], visible: Container[str]
) -> schemas.WorkerList:
    """Return the heartbeats of workers and trainers; of a worker's models those in `visible`, as NAME/VERSION."""
    return schemas.WorkerList(
        workers=[
            schemas.Worker(
                id=worker["id"],
                since=moment_at(worker["since"]),
                device=worker["device"],
                engine=worker.get("engine", ""),
                models=[model for model in worker.get("models", ()) if model in visible],
                pictures=worker.get("pictures", 0),
                batches=worker.get("batches", 0),
                holds=worker.get("holds", 0),
                memory=worker.get("memory"),
                card_memory=_card_memory(worker.get("card_memory")),
                waits_for=worker.get("waits_for", ""),
            )
            for worker in workers
        ],
        trainers=[
            schemas.Trainer(
                id=trainer["id"],
                since=moment_at(trainer["since"]),
                device=trainer["device"],
                busy=trainer.get("busy", False),
            )
            for trainer in trainers
        ],
    )


def _card_memory(bytes_: Mapping[str, int] | None) -> schemas.CardMemory | None:
    return schemas.CardMemory(used=bytes_["used"], total=bytes_["total"]) if bytes_ else None
