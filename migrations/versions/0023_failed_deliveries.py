"""Webhook deliveries: an index of those that have failed"""

from alembic import op

from migrations.online import create_index

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    create_index(
        "ix_deliveries_failed", "deliveries", ["tenant", "job_id"], where="due_at IS NULL AND delivered_at IS NULL"
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_failed", "deliveries")
