"""Jobs: a timeline of the batches in which their pictures ran"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("timeline", sa.JSON(), nullable=True))


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the table and drop it.
    op.drop_column("jobs", "timeline")
