"""The history of the service: counts of the last day, by the minute"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("measure", sa.String(8), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "minute", "version_id", "measure", "step", name="pk_history"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_history_minute", "history", ["minute"])


def downgrade() -> None:
    op.drop_table("history")
