"""Webhook deliveries: an index of those of a tenant that wait, and one of those of all tenants that have failed"""

from alembic import op

from migrations.online import create_index

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    create_index("ix_deliveries_waiting", "deliveries", ["tenant", "due_at"], where="due_at IS NOT NULL")
    create_index("ix_deliveries_given_up", "deliveries", ["job_id"], where="coalesce(due_at, delivered_at) IS NULL")


def downgrade() -> None:
    op.drop_index("ix_deliveries_given_up", "deliveries")
    op.drop_index("ix_deliveries_waiting", "deliveries")
