"""Queries on webhook deliveries, and the secrets that sign them; a row is inserted in the transaction that ends the
job."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database.drift_tables import drift_alarms
from shared.adapters.database.learning_tables import trainings
from shared.adapters.database.tables import jobs, webhook_deliveries, webhook_secrets
from shared.domain.webhooks import Attempt, Delivery, DeliveryStatus, Receiver, WaitingCallback, WebhookSecret


class WebhookDeliveries:
    """The table of webhook deliveries, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: str, delivery_id: str, *, lock: bool = False) -> Delivery | None:
        """Return a delivery of the tenant, or None; with `lock` its row is locked until the transaction ends."""
        query = _SELECT.where(_tenant == tenant, _columns.job_id == delivery_id)
        row = self._connection.execute(query.with_for_update(of=webhook_deliveries) if lock else query).first()
        return _delivery(row) if row else None

    def page(
        self,
        tenant: str,
        *,
        status: str = "",
        kind: str = "",
        job_id: str = "",
        training_id: str = "",
        before: str = "",
        limit: int = 50,
    ) -> list[Delivery]:
        """Return the tenant's deliveries, those of the newest jobs and trainings first; `before` is the last id of the
        previous page."""
        query = _SELECT.where(_columns.tenant == tenant).order_by(_columns.job_id.desc()).limit(limit)
        if status:
            query = query.where(_STATUS[DeliveryStatus(status)])
        if kind:
            query = query.where(_columns.kind == kind)
        if job_id:
            query = query.where(_columns.kind == "job", _columns.job_id == job_id)
        if training_id:
            query = query.where(_columns.kind == "training", _columns.job_id == training_id)
        if before:
            query = query.where(_columns.job_id < before)
        return [_delivery(row) for row in self._connection.execute(query)]

    def resend(self, delivery_id: str, now: float) -> None:
        """Make a delivery due now, with all its attempts; what is known of its last attempt stays."""
        self._resend([delivery_id], now)

    def resend_failed(self, delivery_ids: Collection[str], now: float) -> int:
        """Make those of the deliveries due now that have failed for good, as `resend` does; return their number."""
        is_meant = _columns.job_id.in_(delivery_ids) & _STATUS[DeliveryStatus.FAILED]
        # Locked in one order, so that two calls do not wait for each other; the second finds them due, and leaves them.
        query = sa.select(_columns.job_id).where(is_meant).order_by(_columns.job_id).with_for_update()
        failed = self._connection.scalars(query).all()
        self._resend(failed, now)
        return len(failed)

    def _resend(self, delivery_ids: Collection[str], now: float) -> None:
        values = {"attempts": 0, "due_at": now, "delivered_at": None}
        self._connection.execute(sa.update(webhook_deliveries).where(_columns.job_id.in_(delivery_ids)).values(values))

    # -- for deliverers, maintenance and the diagnosis, of all tenants

    def waiting(self, limit: int, tenant: str | None = None) -> list[WaitingCallback]:
        """Return the callbacks that wait, of one tenant or of all, of more than `limit` those that are due last."""
        # Those have failed, if any has: behind a silent receiver, many are overdue that were never tried. Not
        # `due_at IS NOT NULL`, for which SQLite would read on through all that were delivered.
        last = sa.select(_columns.job_id).where(_columns.due_at > 0).order_by(_columns.due_at.desc()).limit(limit)
        if tenant is not None:  # what has failed was tried, and so has its tenant
            last = last.where(_columns.tenant == tenant)
        query = _WAITING.where(_columns.job_id.in_(last))
        return [WaitingCallback(**row._mapping) for row in self._connection.execute(query)]

    def given_up(self, limit: int, after: str, tenant: str | None = None) -> list[str]:
        """Return the tenants of the callbacks that have failed for good, of one tenant or of all, of the newest jobs,
        trainings and alarms whose id is after this one; one tenant for each callback."""
        is_meant: sa.ColumnElement[bool]
        if tenant is None:  # as the index of these says it; by `due_at` SQLite would read all that were delivered
            is_meant = sa.func.coalesce(_columns.due_at, _columns.delivered_at).is_(None)
        else:
            is_meant = _STATUS[DeliveryStatus.FAILED] & (_columns.tenant == tenant)
        query = sa.select(_columns.tenant).where(is_meant, _columns.job_id > after)
        return list(self._connection.scalars(query.order_by(_columns.job_id.desc()).limit(limit)))

    def due(
        self,
        now: float,
        limit: int = 100,
        *,
        without_tenants: Collection[str] = (),
        without: Collection[Receiver] = (),
    ) -> list[Delivery]:
        """Return the deliveries that are due, the longest overdue first, without those of some tenants and
        receivers."""
        query = _SELECT.where(_columns.due_at <= now).order_by(_columns.due_at).limit(limit)
        if without_tenants:
            query = query.where(_tenant.not_in(without_tenants))
        if without:
            excluded = [(receiver.tenant, receiver.host) for receiver in without]
            is_excluded = sa.tuple_(_tenant, _columns.host).in_(excluded)
            query = query.where(_columns.host.is_(None) | ~is_excluded)
        return [_delivery(row) for row in self._connection.execute(query)]

    def take(self, delivery: Delivery, until: float) -> bool:
        """Postpone the delivery to `until` and count an attempt; returns False if another process has taken it since
        it was read."""
        values = {"attempts": delivery.attempts + 1, "due_at": until} | _receiver_values(delivery)
        return self._update(delivery, values)

    def note_receiver(self, delivery: Delivery) -> None:
        """Store tenant and host of a delivery, by which `due` can leave it out."""
        self._update(delivery, _receiver_values(delivery))

    def record(self, delivery: Delivery, attempt: Attempt, now: float, due_at: float | None) -> bool:
        """Store the end of an attempt; `due_at` is the time of the next one, None for no other.

        Returns False if the delivery is no longer as `take` left it: it was resent, or its time had run out and another
        process took it.
        """
        values = {
            "tried_at": now,
            "delivered_at": None if attempt.problem else now,
            "due_at": due_at,
            "response_status": attempt.reply.status if attempt.reply else None,
            "error": attempt.problem,
            "body_sha256": attempt.body_sha256,
        }
        return self._update(delivery, values)

    def drop_old(self, before: float) -> int:
        """Delete the deliveries of trainings and of drift whose last attempt was before a time (Unix seconds) and that
        are not due again; return their number."""
        last = sa.func.coalesce(_columns.tried_at, _columns.delivered_at, 0.0)
        return self._connection.execute(
            sa.delete(webhook_deliveries).where(_columns.kind != "job", _columns.due_at.is_(None), last < before)
        ).rowcount

    def _update(self, delivery: Delivery, values: Mapping[str, Any]) -> bool:
        # Taking, recording and resending a delivery all change `due_at`.
        where = sa.and_(
            _columns.job_id == delivery.job_id,
            _columns.due_at == delivery.due_at,
            _columns.attempts == delivery.attempts,
        )
        return bool(self._connection.execute(sa.update(webhook_deliveries).where(where).values(values)).rowcount)


class WebhookSecrets:
    """The table of the tenants' secrets, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, tenant: str, *, lock: bool = False) -> WebhookSecret | None:
        """Return the secret of the tenant, or None; with `lock` its row is locked until the transaction ends."""
        query = sa.select(webhook_secrets).where(webhook_secrets.c.tenant == tenant)
        row = self._connection.execute(query.with_for_update() if lock else query).first()
        return WebhookSecret(**row._mapping) if row else None

    def add(self, secret: WebhookSecret) -> None:
        """Insert the first secret of a tenant."""
        self._connection.execute(sa.insert(webhook_secrets), asdict(secret))

    def replace(self, secret: WebhookSecret) -> None:
        """Replace the secret of a tenant."""
        where = webhook_secrets.c.tenant == secret.tenant
        self._connection.execute(sa.update(webhook_secrets).where(where).values(asdict(secret)))


_columns = webhook_deliveries.c
# A process of an older version inserts deliveries without their tenant.
_tenant = sa.func.coalesce(_columns.tenant, jobs.c.tenant, trainings.c.tenant)  # that of an alarm is always there
_STATUS: Mapping[DeliveryStatus, sa.ColumnElement[bool]] = {
    DeliveryStatus.WAITING: _columns.due_at.is_not(None),
    DeliveryStatus.DELIVERED: _columns.due_at.is_(None) & _columns.delivered_at.is_not(None),
    DeliveryStatus.FAILED: _columns.due_at.is_(None) & _columns.delivered_at.is_(None),
}
_OWN: Sequence[str] = (
    "job_id", "kind", "attempts", "due_at", "host", "tried_at", "delivered_at", "response_status", "error",
    "body_sha256",
)  # fmt: skip
_url = sa.func.coalesce(jobs.c.webhook, trainings.c.webhook, drift_alarms.c.webhook)


def _of_ends(*selected: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return a query on deliveries with what they announce, which must still be there."""
    # The joins are by primary key, and at most one of them finds a row: no job has the id of a training or an alarm.
    return (
        sa.select(*selected)
        .outerjoin_from(webhook_deliveries, jobs, jobs.c.id == _columns.job_id)
        .outerjoin(trainings, trainings.c.id == _columns.job_id)
        .outerjoin(drift_alarms, drift_alarms.c.id == _columns.job_id)
        .where(sa.func.coalesce(jobs.c.id, trainings.c.id, drift_alarms.c.id).is_not(None))
    )


_SELECT = _of_ends(
    *(_columns[name] for name in _OWN),
    _tenant.label("tenant"),
    _url.label("url"),
    sa.func.coalesce(jobs.c.webhook_secret, trainings.c.webhook_secret, drift_alarms.c.webhook_secret).label("secret"),
    sa.func.coalesce(jobs.c.retries, 0).label("retries"),
)
_WAITING = _of_ends(
    _tenant.label("tenant"),
    _url.label("url"),
    sa.func.coalesce(jobs.c.finished_at, trainings.c.finished_at, drift_alarms.c.created_at, 0.0).label("since"),
    # One that was sent again by hand has its error from before, and no attempt.
    sa.and_(_columns.error != "", _columns.attempts > 0).label("has_failed"),
    _columns.response_status.label("status"),
)


def _receiver_values(delivery: Delivery) -> dict[str, str]:
    return {"tenant": delivery.tenant, "host": delivery.receiver.host}


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(**row._mapping)
