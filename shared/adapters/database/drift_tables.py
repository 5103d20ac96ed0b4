"""The tables of drift: what is counted of the answers of versions, what it is compared with, and what has drifted."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from shared.adapters.database.tables import ID, NAME, TIME, metadata

_DAY, _BANK = String(10), String(64)

drift_counts = Table(
    "drift_counts",
    metadata,
    Column("version_id", ID, nullable=False),
    Column("day", _DAY, nullable=False),
    Column("id", ID, nullable=False),
    Column("bank", _BANK, nullable=False),
    Column("counts", JSON, nullable=False),
    PrimaryKeyConstraint("version_id", "day", "id"),
    # Finds the days that are to be folded, judged and dropped without reading the counts.
    Index("ix_drift_counts_day", "day", "version_id"),
    sqlite_with_rowid=False,
)
"""Counts of batches; the sum of a day is what was counted on it, see drift.py beside this file."""

drift_references = Table(
    "drift_references",
    metadata,
    Column("version_id", ID, primary_key=True),
    Column("counts", JSON, nullable=False),
    Column("source", String(12), nullable=False),
    Column("dataset", NAME, nullable=False),
    Column("bank", _BANK, nullable=False),
    Column("measured_at", TIME, nullable=False),
)

drift_alarms = Table(
    "drift_alarms",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("name", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("day", _DAY, nullable=False),
    Column("kind", String(12), nullable=False),
    Column("effect", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("pictures", BigInteger, nullable=False),
    Column("reference_pictures", BigInteger, nullable=False),
    Column("webhook", Text, nullable=False),
    Column("webhook_secret", Text, nullable=False),
    Column("created_at", TIME, nullable=False),
    UniqueConstraint("version_id", "day", "kind"),
)
"""Finished days on which something has drifted, with the webhook that the model had then."""

model_webhooks = Table(
    "model_webhooks",
    metadata,
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    PrimaryKeyConstraint("tenant", "name"),
)
"""Where the owners of models are called back when a day has drifted."""
