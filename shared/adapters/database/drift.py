"""Queries on drift: the counts of each day, the references, the alarms, and the webhooks of models.

The transaction that records a batch adds a row with its counts. Counters that are updated in place were rejected: all
workers of a version would wait for the same rows. Maintenance folds many rows into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
import uuid6
from sqlalchemy.engine import Connection

from shared.adapters.database.drift_tables import drift_alarms, drift_counts, drift_references, model_webhooks
from shared.adapters.database.learning_tables import model_versions
from shared.adapters.database.tables import webhook_deliveries
from shared.adapters.database.upsert import upsert
from shared.domain import drift
from shared.domain.drift import Alarm, Counted, Profile, Reference, Source
from shared.domain.observations import Observation
from shared.domain.webhooks import ModelWebhook


class Drift:
    """The tables of drift, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- counts

    def count(self, observations: Iterable[Observation], now: float) -> None:
        """Add observations of answers that this transaction records, or that no transaction records."""
        count(self._connection, observations, now)

    def counted(self, version_id: str, since: str, until: str = "9999") -> list[Counted]:
        """Return what was counted of a version from a day to another, oldest first, without days without pictures."""
        days = drift_counts.c.day.between(since, until)
        query = sa.select(drift_counts).where(drift_counts.c.version_id == version_id, days)
        sums: dict[tuple[str, str], Profile] = {}
        for row in self._connection.execute(query):
            key = (row.day, row.bank)
            sums[key] = sums.get(key, Profile()) + Profile.from_values(row.counts)
        return [Counted(day, bank, profile) for (day, bank), profile in sorted(sums.items(), key=lambda each: each[0])]

    def counted_on(self, day: str) -> dict[str, list[Counted]]:
        """Return version id -> what was counted on a day, of all tenants."""
        query = sa.select(drift_counts.c.version_id).where(drift_counts.c.day == day).distinct()
        version_ids = sorted(self._connection.execute(query).scalars())
        return {version_id: self.counted(version_id, day, day) for version_id in version_ids}

    def unfolded(self, since: str, more_than: int) -> list[tuple[str, str]]:
        """Return (version id, day) from a day on, where there are more than so many rows."""
        query = sa.select(drift_counts.c.version_id, drift_counts.c.day).where(drift_counts.c.day >= since)
        grouped = query.group_by(drift_counts.c.day, drift_counts.c.version_id).having(sa.func.count() > more_than)
        return [(row.version_id, row.day) for row in self._connection.execute(grouped)]

    def fold(self, version_id: str, day: str, limit: int) -> int:
        """Replace rows of a day, at most `limit`, by one with their sum for each bank; return their number. Those that
        another transaction folds are left out."""
        own = sa.and_(drift_counts.c.version_id == version_id, drift_counts.c.day == day)
        query = sa.select(drift_counts).where(own).limit(limit).with_for_update(skip_locked=True)
        rows = self._connection.execute(query).all()
        self._connection.execute(sa.delete(drift_counts).where(own, drift_counts.c.id.in_([row.id for row in rows])))
        sums: dict[str, Profile] = {}
        for row in rows:
            sums[row.bank] = sums.get(row.bank, Profile()) + Profile.from_values(row.counts)
        _add(self._connection, {(version_id, bank): profile for bank, profile in sums.items()}, day)
        return len(rows)

    def drop_before(self, day: str) -> None:
        """Delete the counts and alarms of the days before."""
        self._connection.execute(sa.delete(drift_counts).where(drift_counts.c.day < day))
        self._delete_alarms(drift_alarms.c.day < day)

    def delete_of(self, version_ids: Sequence[str]) -> None:
        """Delete all that is known of the drift of these versions, which are deleted, and the webhooks of models that
        have no version left."""
        for table in (drift_counts, drift_references):
            self._connection.execute(sa.delete(table).where(table.c.version_id.in_(version_ids)))
        self._delete_alarms(drift_alarms.c.version_id.in_(version_ids))
        own = sa.and_(
            model_versions.c.tenant == model_webhooks.c.tenant, model_versions.c.name == model_webhooks.c.name
        )
        has_version = sa.exists().where(own).correlate(model_webhooks)
        self._connection.execute(sa.delete(model_webhooks).where(~has_version))

    # -- references

    def find_reference(self, version_id: str) -> Reference | None:
        """Return the reference of a version, or None."""
        query = sa.select(drift_references).where(drift_references.c.version_id == version_id)
        row = self._connection.execute(query).first()
        if row is None:
            return None
        profile = Profile.from_values(row.counts)
        return Reference(row.version_id, profile, Source(row.source), row.measured_at, row.dataset, row.bank)

    def set_reference(self, reference: Reference) -> None:
        """Set the reference of a version."""
        values = {
            "version_id": reference.version_id, "counts": reference.profile.to_values(), "source": reference.source,
            "dataset": reference.dataset, "bank": reference.bank, "measured_at": reference.measured_at,
        }  # fmt: skip
        self._connection.execute(upsert(self._connection, drift_references, values, values))

    # -- alarms, and where they are sent

    def add_alarm(self, alarm: Alarm) -> bool:
        """Insert an alarm, and make its callback due if it has a webhook; return False if the version has an alarm of
        this day and kind already."""
        known = sa.select(drift_alarms.c.id).where(
            drift_alarms.c.version_id == alarm.version_id,
            drift_alarms.c.day == alarm.day,
            drift_alarms.c.kind == alarm.kind,
        )
        if self._connection.execute(known).first():
            return False
        self._connection.execute(sa.insert(drift_alarms), asdict(alarm))
        if alarm.webhook:
            due = {
                "job_id": alarm.id, "kind": "drift", "tenant": alarm.tenant, "attempts": 0, "due_at": alarm.created_at,
                "error": "",
            }  # fmt: skip
            self._connection.execute(sa.insert(webhook_deliveries), due)
        return True

    def find_alarm(self, tenant: str, alarm_id: str) -> Alarm | None:
        """Return an alarm of the tenant, or None."""
        query = sa.select(drift_alarms).where(drift_alarms.c.tenant == tenant, drift_alarms.c.id == alarm_id)
        row = self._connection.execute(query).first()
        return Alarm(**{**row._mapping, "kind": drift.Kind(row.kind)}) if row else None

    def find_webhook(self, tenant: str, name: str) -> ModelWebhook | None:
        """Return the webhook of a model, or None."""
        own = sa.and_(model_webhooks.c.tenant == tenant, model_webhooks.c.name == name)
        row = self._connection.execute(sa.select(model_webhooks).where(own)).first()
        return ModelWebhook(row.url, row.secret) if row else None

    def set_webhook(self, tenant: str, name: str, webhook: ModelWebhook) -> None:
        """Set the webhook of a model."""
        change = {"url": webhook.url, "secret": webhook.secret}
        values = {"tenant": tenant, "name": name, **change}
        self._connection.execute(upsert(self._connection, model_webhooks, values, change))

    def delete_webhook(self, tenant: str, name: str) -> None:
        """Delete the webhook of a model."""
        own = sa.and_(model_webhooks.c.tenant == tenant, model_webhooks.c.name == name)
        self._connection.execute(sa.delete(model_webhooks).where(own))

    def _delete_alarms(self, condition: sa.ColumnElement[bool]) -> None:
        ids = sa.select(drift_alarms.c.id).where(condition)
        self._connection.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.job_id.in_(ids)))
        self._connection.execute(sa.delete(drift_alarms).where(condition))


def count(connection: Connection, observations: Iterable[Observation | None], now: float) -> None:
    """Add observations to the counts of the day, as one row for each version and bank; None is no observation."""
    _add(connection, drift.count(seen for seen in observations if seen), drift.day_of(now))


def _add(connection: Connection, profiles: Mapping[tuple[str, str], Profile], day: str) -> None:
    rows: list[dict[str, Any]] = [
        {"version_id": version_id, "day": day, "id": str(uuid6.uuid7()), "bank": bank, "counts": profile.to_values()}
        for (version_id, bank), profile in profiles.items()
    ]
    if rows:
        connection.execute(_ADD, rows)


_ADD = sa.insert(drift_counts)
