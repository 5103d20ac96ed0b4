"""Datasets: pictures that two labels claim; examples: a fingerprint, by which near-duplicates are found"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("datasets", sa.Column("contradicting", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("datasets", sa.Column("contradictions", sa.JSON(), nullable=True))
    op.add_column("examples", sa.Column("fingerprint", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the tables and drop them.
    op.drop_column("examples", "fingerprint")
    op.drop_column("datasets", "contradictions")
    op.drop_column("datasets", "contradicting")
