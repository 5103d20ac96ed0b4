"""Queries on callbacks that are due; a row is made in the commit that ends the job."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.tables import deliveries, jobs
from shared.webhooks import Delivery


class Deliveries:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def due(self, now: float, limit: int = 100) -> list[Delivery]:
        query = (
            sa.select(deliveries.c.job_id, jobs.c.tenant, jobs.c.webhook, jobs.c.webhook_secret, deliveries.c.attempts)
            .join(jobs, jobs.c.id == deliveries.c.job_id)
            .where(deliveries.c.due_at <= now)
            .order_by(deliveries.c.due_at)
            .limit(limit)
        )
        return [Delivery(*row) for row in self._connection.execute(query)]

    def take(self, delivery: Delivery, until: float) -> bool:
        """Put the delivery off to `until`; False when somebody else has taken it since it was read."""
        where = sa.and_(deliveries.c.job_id == delivery.job_id, deliveries.c.attempts == delivery.attempts)
        values = {"attempts": delivery.attempts + 1, "due_at": until}
        return bool(self._connection.execute(sa.update(deliveries).where(where).values(values)).rowcount)

    def succeeded(self, job_id: str, now: float) -> None:
        where = deliveries.c.job_id == job_id
        self._connection.execute(sa.update(deliveries).where(where).values(due_at=None, delivered_at=now, error=""))

    def failed(self, job_id: str, error: str, *, due_at: float | None) -> None:
        """To be tried again at `due_at`, or never."""
        values = {"error": error, "due_at": due_at}
        self._connection.execute(sa.update(deliveries).where(deliveries.c.job_id == job_id).values(values))
