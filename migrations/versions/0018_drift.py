"""Models: what is counted of their answers, the reference that it is compared with, the days that have drifted"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "drift_counts",
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("bank", sa.String(64), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "day", "id", name="pk_drift_counts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_drift_counts_day", "drift_counts", ["day", "version_id"])
    op.create_table(
        "drift_references",
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(12), nullable=False),
        sa.Column("dataset", sa.String(255), nullable=False),
        sa.Column("bank", sa.String(64), nullable=False),
        sa.Column("measured_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name="pk_drift_references"),
    )
    op.create_table(
        "drift_alarms",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("effect", sa.Double(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=False),
        sa.Column("pictures", sa.BigInteger(), nullable=False),
        sa.Column("reference_pictures", sa.BigInteger(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("webhook_secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_alarms"),
        sa.UniqueConstraint("version_id", "day", "kind", name="uq_drift_alarms_version_id_day_kind"),
    )
    op.create_table(
        "model_webhooks",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_model_webhooks"),
    )


def downgrade() -> None:
    # Without their days, these deliveries have neither a URL nor a body.
    op.execute("DELETE FROM deliveries WHERE kind = 'drift'")
    for table in ("model_webhooks", "drift_alarms", "drift_references"):
        op.drop_table(table)
    op.drop_index("ix_drift_counts_day", "drift_counts")
    op.drop_table("drift_counts")
