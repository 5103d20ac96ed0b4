"""Jobs: indexes for lists and dead letters, and how often a job was retried; tenants: their limits"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("retries", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.create_index("ix_jobs_tenant_status", "jobs", ["tenant", "status", "created_at", "id"])
    op.create_index("ix_jobs_tenant_model", "jobs", ["tenant", "model", "status", "created_at", "id"])
    op.drop_index("ix_jobs_tenant_id", "jobs")
    op.create_index("ix_jobs_tenant_finished_at", "jobs", ["tenant", "finished_at"])
    op.drop_index("ix_jobs_finished_at", "jobs")
    has_failed, is_failed = sa.text("failed > 0"), sa.text("error_code > ''")
    op.create_index(
        "ix_jobs_failed",
        "jobs",
        ["tenant", "created_at", "id", "model", "status"],
        sqlite_where=has_failed,
        postgresql_where=has_failed,
    )
    op.create_index(
        "ix_items_failed",
        "items",
        ["job_id", "error_code"],
        sqlite_where=is_failed,
        postgresql_where=is_failed,
    )
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
