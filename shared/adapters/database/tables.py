"""The tables as SQLAlchemy objects; Alembic's migrations create exactly these (a test compares them)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
ID = String(40)
NAME = String(255)
TIME = Double
"""Unix seconds: a plain number in every database, which avoids time zones."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("wire", String(40), nullable=False),
    Column("status", String(12), nullable=False),
    Column("model", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("options", JSON, nullable=False),
    Column("priority", String(8), nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("deadline", TIME),
    Column("created_at", TIME, nullable=False),
    Column("started_at", TIME),
    Column("finished_at", TIME),
    Column("error_code", String(80), nullable=False),
    Column("error", Text, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("idempotency_key", NAME),
    Column("fingerprint", String(64), nullable=False),
    Column("webhook", Text, nullable=False),
    Column("webhook_secret", Text, nullable=False),
    Column("blob", Text, nullable=False),
    Column("with_thresholds", Boolean, nullable=False, server_default=false()),
    Column("timeline", JSON(none_as_null=True)),
    Column("retries", Integer, nullable=False, server_default=text("0")),
    Column("search", JSON(none_as_null=True)),
    Column("explain", Text),
    UniqueConstraint("tenant", "idempotency_key"),
    # A list of jobs reads one of these for each status that it shows, newest first, see `page` in jobs.py: with the
    # status before the time, two indexes serve every combination of filters, and each costs every job a write.
    Index("ix_jobs_tenant_status", "tenant", "status", "created_at", "id"),
    Index("ix_jobs_tenant_model", "tenant", "model", "status", "created_at", "id"),
    # Most jobs are finished; maintenance, the quota and /v1/queue query only the few live jobs.
    Index(
        "ix_jobs_live",
        "version_id",
        "tenant",
        sqlite_where=text("status IN ('QUEUED', 'RUNNING')"),
        postgresql_where=text("status IN ('QUEUED', 'RUNNING')"),
    ),
    # Finds dead letters; the counter of most jobs stays 0, so this costs them nothing, as that on items.
    Index(
        "ix_jobs_failed",
        "tenant",
        "created_at",
        "id",
        "model",
        "status",
        sqlite_where=text("failed > 0"),
        postgresql_where=text("failed > 0"),
    ),
    # Finds each tenant's jobs that have been kept long enough.
    Index("ix_jobs_tenant_finished_at", "tenant", "finished_at"),
)

items = Table(
    "items",
    metadata,
    Column("job_id", ID, nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("blob", Text, nullable=False),
    Column("offset", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("status", String(12), nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error_code", String(80), nullable=False),
    Column("error", Text, nullable=False),
    Column("picture", LargeBinary),
    Column("verdict", JSON(none_as_null=True)),
    Column("explanation_size", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("job_id", "position"),
    ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
    Index(
        "ix_items_failed",
        "job_id",
        "error_code",
        sqlite_where=text("error_code > ''"),
        postgresql_where=text("error_code > ''"),
    ),
    sqlite_with_rowid=False,
)

# Only jobs that are traced have a row: a column would cost every job its write.
job_traces = Table(
    "job_traces",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("parent", String(55), nullable=False),
    Column("pushes", Integer, nullable=False),
)

webhook_deliveries = Table(
    "deliveries",
    metadata,
    # The id of a job or of a training; no foreign key can refer to two tables.
    Column("job_id", ID, primary_key=True),
    Column("kind", String(8), nullable=False, server_default="job"),
    Column("attempts", Integer, nullable=False), Column("error", Text, nullable=False),
    Column("due_at", TIME), Column("tried_at", TIME), Column("delivered_at", TIME),
    # A process of an older version inserts neither tenant nor host; the first try of the delivery fills them.
    Column("tenant", NAME), Column("host", Text), Column("response_status", Integer),
    Column("body_sha256", String(64), nullable=False, server_default=text("''")),
    Index("ix_deliveries_due_at", "due_at"),
    Index("ix_deliveries_tenant_job_id", "tenant", "job_id"),
    # Finds the few that have failed among all that were received.
    Index(
        "ix_deliveries_failed", "tenant", "job_id",
        sqlite_where=text("due_at IS NULL AND delivered_at IS NULL"),
        postgresql_where=text("due_at IS NULL AND delivered_at IS NULL"),
    ),
    # Finds the same of all tenants.
    Index(
        "ix_deliveries_given_up", "job_id",
        sqlite_where=text("coalesce(due_at, delivered_at) IS NULL"),
        postgresql_where=text("coalesce(due_at, delivered_at) IS NULL"),
    ),
    # Finds those of a tenant that wait, however many of others do.
    Index(
        "ix_deliveries_waiting", "tenant", "due_at",
        sqlite_where=text("due_at IS NOT NULL"), postgresql_where=text("due_at IS NOT NULL"),
    ),
)  # fmt: skip

webhook_secrets = Table(
    "webhook_secrets", metadata,
    Column("tenant", NAME, primary_key=True), Column("created_at", TIME, nullable=False),
    Column("secret", Text, nullable=False),
    Column("previous", Text, nullable=False), Column("previous_until", TIME, nullable=False),
)  # fmt: skip
"""The secrets that sign the webhooks of a tenant; `previous` signs as well until `previous_until`."""

stored_images = Table(
    "images",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("stage", String(8), nullable=False, server_default="live"),
    Column("name", Text, nullable=False),
    Column("blob", Text, nullable=False),
    Column("format", String(8), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_at", TIME, nullable=False),
    Index("ix_images_tenant_stage_id", "tenant", "stage", "id"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("stage", String(8), nullable=False, server_default="live"),
    Column("account", NAME, nullable=False, server_default=text("''")),
    Column("public_key", Text, nullable=False, server_default=text("''")),
    Column("created_at", TIME, nullable=False),
    Column("revoked_at", TIME),
    Column("expires_at", TIME),
    Column("last_used_at", TIME),
    # An account has a public key at most once, across all tenants; a revoked key may be registered again.
    Index(
        "uq_keys_account_public_key",
        "account",
        "public_key",
        unique=True,
        sqlite_where=text("revoked_at IS NULL AND account <> ''"),
        postgresql_where=text("revoked_at IS NULL AND account <> ''"),
    ),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("key_id", ID, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("expires_at", TIME, nullable=False),
    ForeignKeyConstraint(["key_id"], ["keys.id"], ondelete="CASCADE"),
    Index("ix_tokens_expires_at", "expires_at"),
)

tenant_limits = Table(
    "tenant_limits",
    metadata,
    Column("tenant", NAME, primary_key=True),
    Column("keep_jobs", TIME),
    Column("max_queued", Integer),
    Column("pictures_per_minute", Integer),
    Column("max_bytes", BigInteger),
)
"""The limits of tenants that differ from the settings."""

kept_bytes = Table(
    "kept_bytes",
    metadata,
    Column("tenant", NAME, nullable=False),
    Column("id", ID, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
    sqlite_with_rowid=False,
)
"""Changes of the bytes that a tenant keeps; their sum is the count, see kept_bytes.py beside this file."""

usage = Table(
    "usage",
    metadata,
    Column("tenant", NAME, nullable=False),
    Column("meter", String(40), nullable=False),
    Column("month", String(7), nullable=False),
    Column("used", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "meter", "month"),
)
"""The count of each meter in each calendar month (UTC, `2026-11`)."""

history = Table(
    "history",
    metadata,
    # Empty for what belongs to the service, such as its workers.
    Column("tenant", NAME, nullable=False),
    Column("minute", Integer, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("measure", String(8), nullable=False),
    Column("step", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "minute", "version_id", "measure", "step"),
    Index("ix_history_minute", "minute"),
    sqlite_with_rowid=False,
)
"""The counts of shared/domain/history.py of the last day."""

key_values = Table(
    "facts",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Settings that were decided once for the whole installation, such as the default model."""
