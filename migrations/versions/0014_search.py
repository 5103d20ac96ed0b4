"""Jobs: the scope of a search; the indexes that trainers keep complete"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("search", sa.JSON(), nullable=True))
    op.create_table(
        "search_indexes",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("stage", sa.String(8), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.Column("wanted_at", sa.Double(), nullable=True),
        sa.Column("indexed_at", sa.Double(), nullable=True),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "stage", "dataset_id", "version_id", name="pk_search_indexes"),
    )


def downgrade() -> None:
    op.drop_table("search_indexes")
    # Not as a batch: on SQLite that would copy the table and drop it, and its items with it.
    op.drop_column("jobs", "search")
