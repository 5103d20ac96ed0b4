"""Queries on webhook deliveries that are due; a row is inserted in the transaction that ends the job."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.adapters.database.tables import jobs, trainings, webhook_deliveries
from shared.domain.webhooks import Delivery


class WebhookDeliveries:
    """The table of webhook deliveries, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def due(self, now: float, limit: int = 100) -> list[Delivery]:
        """Return the deliveries that are due, the longest overdue first."""
        both = sa.union_all(_due(jobs, "job", now), _due(trainings, "training", now)).subquery()
        query = sa.select(both).order_by(both.c.due_at).limit(limit)
        return [Delivery(*row[:-1]) for row in self._connection.execute(query)]

    def take(self, delivery: Delivery, until: float) -> bool:
        """Postpone the delivery to `until`; returns False if another process has taken it since it was read."""
        where = sa.and_(
            webhook_deliveries.c.job_id == delivery.job_id, webhook_deliveries.c.attempts == delivery.attempts
        )
        values = {"attempts": delivery.attempts + 1, "due_at": until}
        return bool(self._connection.execute(sa.update(webhook_deliveries).where(where).values(values)).rowcount)

    def succeeded(self, job_id: str, now: float) -> None:
        """Store that the delivery has succeeded."""
        where = webhook_deliveries.c.job_id == job_id
        self._connection.execute(
            sa.update(webhook_deliveries).where(where).values(due_at=None, delivered_at=now, error="")
        )

    def failed(self, job_id: str, error: str, *, due_at: float | None) -> None:
        """Store the error of a failed attempt; `due_at` is the time of the next attempt, None for no other."""
        values = {"error": error, "due_at": due_at}
        self._connection.execute(
            sa.update(webhook_deliveries).where(webhook_deliveries.c.job_id == job_id).values(values)
        )


def _due(table: sa.Table, kind: str, now: float) -> sa.Select[Any]:
    return (
        sa.select(
            webhook_deliveries.c.job_id,
            webhook_deliveries.c.kind,
            table.c.tenant,
            table.c.webhook,
            table.c.webhook_secret,
            webhook_deliveries.c.attempts,
            webhook_deliveries.c.due_at,
        )
        .join(table, sa.and_(table.c.id == webhook_deliveries.c.job_id, webhook_deliveries.c.kind == kind))
        .where(webhook_deliveries.c.due_at <= now)
    )
