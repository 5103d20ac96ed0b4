"""The traces of jobs that are traced"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "job_traces",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("parent", sa.String(55), nullable=False),
        sa.Column("pushes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )


def downgrade() -> None:
    op.drop_table("job_traces")
