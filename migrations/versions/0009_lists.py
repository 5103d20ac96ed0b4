"""Jobs: indexes for lists by status, model and time"""

from alembic import op

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_jobs_tenant_status", "jobs", ["tenant", "status", "created_at", "id"])
    op.create_index("ix_jobs_tenant_model", "jobs", ["tenant", "model", "status", "created_at", "id"])
    op.drop_index("ix_jobs_tenant_id", "jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_tenant_id", "jobs", ["tenant", "id"])
    op.drop_index("ix_jobs_tenant_model", "jobs")
    op.drop_index("ix_jobs_tenant_status", "jobs")
