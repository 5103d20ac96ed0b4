"""Jobs: indexes for lists and dead letters, and how often a job was retried; tenants: their limits"""

import sqlalchemy as sa
from alembic import op

from migrations.online import create_index

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    create_index("ix_jobs_tenant_status", "jobs", ["tenant", "status", "created_at", "id"])
    create_index("ix_jobs_tenant_model", "jobs", ["tenant", "model", "status", "created_at", "id"])
    create_index("ix_jobs_tenant_finished_at", "jobs", ["tenant", "finished_at"])
    create_index("ix_jobs_failed", "jobs", ["tenant", "created_at", "id", "model", "status"], where="failed > 0")
    create_index("ix_items_failed", "items", ["job_id", "error_code"], where="error_code > ''")
    op.add_column("jobs", sa.Column("retries", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.drop_index("ix_jobs_tenant_id", "jobs")
    op.drop_index("ix_jobs_finished_at", "jobs")
    op.create_table(
        "tenant_limits",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("keep_jobs", sa.Double(), nullable=True),
        sa.Column("max_queued", sa.Integer(), nullable=True),
        sa.Column("pictures_per_minute", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", name="pk_tenant_limits"),
    )


def downgrade() -> None:
    op.drop_table("tenant_limits")
    op.drop_index("ix_items_failed", "items")
    op.drop_index("ix_jobs_failed", "jobs")
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.drop_index("ix_jobs_tenant_finished_at", "jobs")
    op.create_index("ix_jobs_tenant_id", "jobs", ["tenant", "id"])
    op.drop_index("ix_jobs_tenant_model", "jobs")
    op.drop_index("ix_jobs_tenant_status", "jobs")
    # Not as a batch: on SQLite that would copy the table and drop it, and its items with it.
    op.drop_column("jobs", "retries")
