"""Webhooks: deliveries are listed by tenant with the end of their last try, and secrets of tenants rotate"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Processes of the version before insert deliveries without these columns, so none of them needs a value.
    op.add_column("deliveries", sa.Column("tenant", sa.String(255), nullable=True))
    op.add_column("deliveries", sa.Column("host", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("tried_at", sa.Double(), nullable=True))
    op.add_column("deliveries", sa.Column("response_status", sa.Integer(), nullable=True))
    hash_column = sa.Column("body_sha256", sa.String(64), nullable=False, server_default=sa.text("''"))
    op.add_column("deliveries", hash_column)
    # No job has the id of a training.
    op.execute("UPDATE deliveries SET tenant = (SELECT tenant FROM jobs WHERE id = job_id)")
    op.execute("UPDATE deliveries SET tenant = (SELECT tenant FROM trainings WHERE id = job_id) WHERE tenant IS NULL")
    op.create_index("ix_deliveries_tenant_job_id", "deliveries", ["tenant", "job_id"])
    op.create_table(
        "webhook_secrets",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("previous_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_webhook_secrets")),
    )


def downgrade() -> None:
    op.drop_table("webhook_secrets")
    op.drop_index("ix_deliveries_tenant_job_id", "deliveries")
    for column in ("body_sha256", "response_status", "tried_at", "host", "tenant"):
        op.drop_column("deliveries", column)
