"""Use-cases of webhook deliveries list the callbacks that are due, claim a delivery, and record how a try ended."""

from __future__ import annotations

from shared.container import Container
from shared.domain import webhooks
from shared.domain.webhooks import Delivery


def list_due(container: Container) -> list[Delivery]:
    """Return the callbacks that are due now, the longest due first."""
    with container.database.read() as uow:
        return uow.webhook_deliveries.due(container.now())


def claim(container: Container, delivery: Delivery, seconds: float) -> bool:
    """Reserve a delivery for one try of `seconds`; return False when another deliverer has claimed it meanwhile."""
    with container.database.write() as uow:
        return uow.webhook_deliveries.take(delivery, container.now() + seconds)


def record(container: Container, delivery: Delivery, problem: str) -> None:
    """Store how a try ended: delivered without a problem, else due again later, or never after the last try."""
    with container.database.write() as uow:
        if not problem:
            uow.webhook_deliveries.succeeded(delivery.job_id, container.now())
            return
        wait = webhooks.delay(delivery.attempts + 1)
        uow.webhook_deliveries.failed(delivery.job_id, problem, due_at=None if wait is None else container.now() + wait)
